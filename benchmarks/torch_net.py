"""PyTorch, eager and ``torch.compile``: a plain loop over pre-sliced batches, no shuffle, no DataLoader.

For each variant the fastest of a few spellings a PyTorch user would try is found by a short trial and then timed.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import workloads
from .timing import fastest

VARIANTS = {
    "mlp": {"eager": "step", "compile": "step"},
    "cnn": {"eager": "step", "channels_last": "step", "compile": "step"},
}
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def versions():
    return f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"


def build(problem, memory_format=torch.contiguous_format):
    layers = []
    workload = problem.workload
    for layer, shape in zip(workload.layers, workload.shapes):
        if isinstance(layer, workloads.Pool):
            layers.append({"max": nn.MaxPool2d, "avg": nn.AvgPool2d}[layer.kind](layer.size))
            continue
        if isinstance(layer, workloads.Dropout):
            layers.append(nn.Dropout(layer.rate))
            continue
        if isinstance(layer, workloads.Conv):
            layers.append(nn.Conv2d(shape[-1], layer.filters, layer.size, padding=layer.padding))
        else:
            if len(shape) > 1:
                layers.append(nn.Flatten())
            layers.append(nn.Linear(math.prod(shape), layer.units))
        if layer.activation != "linear":
            layers.append({"tanh": nn.Tanh, "relu": nn.ReLU}[layer.activation]())
    model = nn.Sequential(*layers).to(memory_format=memory_format)
    load(model, problem)
    return model


def load(model, problem):
    """Copy the problem's weights, brought to PyTorch's order of axes."""
    weighted = [shape for layer, shape in zip(problem.workload.layers, problem.workload.shapes)
                if isinstance(layer, (workloads.Conv, workloads.Dense))]
    kernels, biases = problem.parameters[0::2], problem.parameters[1::2]
    targets = list(model.parameters())
    with torch.no_grad():
        for i, (shape, kernel, bias) in enumerate(zip(weighted, kernels, biases)):
            if kernel.ndim == 4:
                kernel = kernel.transpose(3, 2, 0, 1)
            elif len(shape) > 1:  # after images: rows (h, w, c), in PyTorch (c, h, w)
                kernel = kernel.reshape(*shape, -1).transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1)
            else:
                kernel = kernel.T
            targets[2 * i].copy_(torch.from_numpy(kernel))
            targets[2 * i + 1].copy_(torch.from_numpy(bias))


def image_batch(x, memory_format):
    """A tensor of what NumPy has channels last: (N, C, H, W), in memory as the format says."""
    x = torch.from_numpy(x)
    return x.permute(0, 3, 1, 2).contiguous(memory_format=memory_format) if x.ndim == 4 else x


def labels(y):
    return torch.from_numpy(y.astype(np.int64) if y.ndim == 1 else y)


def loss_function(workload):
    if workload.loss == "cross_entropy":
        return F.cross_entropy
    return lambda outputs, y: (outputs - y).square().sum(dim=1).mean()


class OptimizerStep:
    """forward, backward, ``torch.optim`` step; the forward and loss optionally compiled."""

    def __init__(self, problem, compiled, memory_format=torch.contiguous_format, **implementation):
        self.problem, self.memory_format, self.implementation = problem, memory_format, implementation
        self.model = build(problem, memory_format)
        loss = loss_function(problem.workload)
        model = self.model
        self.forward = lambda x, y: loss(model(x), y)
        if compiled:
            self.forward = torch.compile(self.forward)

    def load(self):
        load(self.model, self.problem)

    def reset(self):
        self.load()
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

    memory_format = torch.contiguous_format

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
        load(self.model, self.problem)
        self.theta = tuple(p.detach() for p in self.model.parameters())
        self.m = tuple(torch.zeros_like(p) for p in self.theta)
        self.v = tuple(torch.zeros_like(p) for p in self.theta)
        # One element, not 0-d: torch.compile (2.13) loses in-place updates of a 0-d float64 CPU tensor.
        self.count = torch.zeros(1, dtype=torch.float64)

    def __call__(self, x, y):
        with torch.no_grad():
            return self.step(self.theta, self.m, self.v, self.count, x, y)


def spellings(problem, variant):
    """What a PyTorch user would try for the variant: {name: build}."""
    images, small = len(problem.workload.input_shape) == 3, problem.workload.flops < 1e9
    if variant == "compile":
        torch.compiler.reset()  # it compiles a function anew only eight times, then falls back to eager
        found = {"fused optimizer": lambda: OptimizerStep(problem, True, fused=True)}
        if images:
            found["fused optimizer, channels_last"] = lambda: OptimizerStep(
                problem, True, torch.channels_last, fused=True
            )
        if small or not images:  # a large network takes minutes to compile, and gains nothing by it
            found["foreach optimizer"] = lambda: OptimizerStep(problem, True, foreach=True)
            found["whole step in one graph"] = lambda: WholeStep(problem)
        return found
    memory_format = torch.channels_last if variant == "channels_last" else torch.contiguous_format
    return {
        "fused optimizer": lambda: OptimizerStep(problem, False, memory_format, fused=True),
        "foreach optimizer": lambda: OptimizerStep(problem, False, memory_format, foreach=True),
        "looped optimizer": lambda: OptimizerStep(problem, False, memory_format, foreach=False),
    }


class Trainer:
    def __init__(self, problem, variant, n_threads, choice=""):
        torch.set_num_threads(n_threads)
        self.problem = problem
        flops = problem.workload.flops
        self.trial_steps = 16 if flops < 1e9 else 2 if flops < 1e11 else 1
        self.batches, self.batches_format = None, None
        self.choice, self.step = fastest(self.spellings(variant), self.trial, choice)
        self.load_batches()

    def spellings(self, variant):
        return spellings(self.problem, variant)

    def batch(self, x, y):
        return image_batch(x, self.step.memory_format), labels(y)

    def load_batches(self):
        """The batches in the memory format of the step."""
        if self.batches_format != self.step.memory_format:
            self.batches_format = self.step.memory_format
            self.batches = [self.batch(x, y) for x, y in self.problem.batches()]

    def trial(self, step):
        self.step = step
        self.load_batches()
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
