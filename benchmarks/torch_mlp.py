"""PyTorch, eager and ``torch.compile``: a plain loop over pre-sliced batches, no shuffle, no DataLoader.

For each variant the fastest of a few spellings a PyTorch user would try is found by a short trial and then timed.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .timing import fastest

VARIANTS = {"eager": "step", "compile": "step"}
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def versions():
    return f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"


def build(problem):
    layers, activation = [], {"tanh": nn.Tanh, "relu": nn.ReLU}[problem.workload.activation]
    for fan_in, fan_out in zip(problem.workload.widths[:-1], problem.workload.widths[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    model = nn.Sequential(*layers[:-1])
    load(model, problem.parameters)
    return model


def load(model, parameters):
    with torch.no_grad():
        for target, value in zip(model.parameters(), parameters):
            target.copy_(torch.from_numpy(value.T if value.ndim == 2 else value))


def loss_function(workload):
    if workload.loss == "cross_entropy":
        return F.cross_entropy
    return lambda outputs, y: (outputs - y).square().sum(dim=1).mean()


class OptimizerStep:
    """forward, backward, ``torch.optim`` step; the forward and loss optionally compiled."""

    def __init__(self, problem, compiled, **implementation):
        self.problem, self.implementation = problem, implementation
        self.model = build(problem)
        loss = loss_function(problem.workload)
        model = self.model
        self.forward = lambda x, y: loss(model(x), y)
        if compiled:
            self.forward = torch.compile(self.forward)

    def reset(self):
        load(self.model, self.problem.parameters)
        workload = self.problem.workload
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[workload.optimizer]
        self.optimizer = kind(self.model.parameters(), lr=workload.learning_rate, **self.implementation)

    def __call__(self, x, y):
        loss = self.forward(x, y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


class WholeStep:
    """Gradient (``torch.func``) and update written out, so that ``torch.compile`` sees the whole step as one graph."""

    def __init__(self, problem):
        self.problem, workload = problem, problem.workload
        self.model = build(problem)
        names = [name for name, _ in self.model.named_parameters()]
        loss, model = loss_function(workload), self.model

        def value(theta, x, y):
            return loss(torch.func.functional_call(model, dict(zip(names, theta)), (x,)), y)

        def step(theta, m, v, count, x, y):
            grads, value_now = torch.func.grad_and_value(value)(theta, x, y)
            if workload.optimizer == "sgd":
                for p, g in zip(theta, grads):
                    p.sub_(g, alpha=workload.learning_rate)
                return value_now
            count.add_(1)
            root = (1 - BETA2**count).sqrt()
            rate = workload.learning_rate * root / (1 - BETA1**count)
            for p, g, m_p, v_p in zip(theta, grads, m, v):
                m_p.mul_(BETA1).add_(g, alpha=1 - BETA1)
                v_p.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
                p.sub_(rate * m_p / (v_p.sqrt() + EPSILON * root))
            return value_now

        self.step = torch.compile(step)
        self.reset()

    def reset(self):
        load(self.model, self.problem.parameters)
        self.theta = tuple(p.detach() for p in self.model.parameters())
        self.m = tuple(torch.zeros_like(p) for p in self.theta)
        self.v = tuple(torch.zeros_like(p) for p in self.theta)
        # One element, not 0-d: torch.compile (2.13) loses in-place updates of a 0-d float64 CPU tensor.
        self.count = torch.zeros(1, dtype=torch.float64)

    def __call__(self, x, y):
        with torch.no_grad():
            return self.step(self.theta, self.m, self.v, self.count, x, y)


class Trainer:
    def __init__(self, problem, variant, n_threads):
        torch.set_num_threads(n_threads)
        self.batches = [
            (torch.from_numpy(x), torch.from_numpy(y.astype(np.int64) if y.ndim == 1 else y))
            for x, y in problem.batches()
        ]
        self.trial_steps = 16 if problem.workload.flops < 1e9 else 2
        compiled = variant == "compile"
        spellings = {
            "fused optimizer": lambda: OptimizerStep(problem, compiled, fused=True),
            "foreach optimizer": lambda: OptimizerStep(problem, compiled, foreach=True),
        }
        if compiled:
            spellings["whole step in one graph"] = lambda: WholeStep(problem)
        else:
            spellings["looped optimizer"] = lambda: OptimizerStep(problem, compiled, foreach=False)
        self.choice, self.step = fastest(spellings, self.trial)

    def trial(self, step):
        step.reset()
        for x, y in self.batches[: self.trial_steps]:
            step(x, y)

    def reset(self):
        self.step.reset()

    def losses(self, n_steps):
        return [self.step(x, y).item() for x, y in self.batches[:n_steps]]

    def epochs(self, count):
        step = self.step
        for _ in range(count):
            for x, y in self.batches:
                step(x, y)


def predict(problem, n_threads):
    torch.set_num_threads(n_threads)
    model, x = build(problem), problem.x[:1]

    def call():
        with torch.inference_mode():
            return torch.softmax(model(torch.from_numpy(x)), dim=1).numpy()

    return call


def gemm(a, b, out, n_threads):
    torch.set_num_threads(n_threads)
    a, b, out = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
    return lambda: torch.mm(a, b, out=out)
