"""JAX on the CPU: one jitted step a call, and a whole shuffled epoch inside one jit (``lax.scan``).

XLA sizes its thread pool by the CPU affinity, which the worker sets before this module is imported.
The scan variant is the best a JAX user can do: the batches are shuffled on the device, Python runs once an epoch.
"""

import math
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import workloads
from .timing import fastest

if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1:
    # On one core the dispatch thread only takes turns with Python: without it tiny steps are a third faster.
    jax.config.update("jax_cpu_enable_async_dispatch", False)

VARIANTS = {"mlp": {"step": "step", "scan": "scan"}, "cnn": {"step": "step"}}
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "linear": lambda x: x}
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def versions():
    return f"jax {jax.__version__}"


def pool_by_windows(x, kind, size):
    window = (1, size, size, 1)
    if kind == "max":
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / size**2


def pool_by_reshape(x, kind, size):
    n, h, w, c = x.shape
    x = x.reshape(n, h // size, size, w // size, size, c)
    return x.max(axis=(2, 4)) if kind == "max" else x.mean(axis=(2, 4))


def forward(workload, parameters, x, pool=pool_by_windows):
    """The last layer's output, before the softmax."""
    parameters = iter(parameters)
    for layer in workload.layers:
        if isinstance(layer, workloads.Pool):
            x = pool(x, *layer)
            continue
        w, b = next(parameters), next(parameters)
        if isinstance(layer, workloads.Conv):
            dimensions = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, w, (1, 1), layer.padding.upper(), dimension_numbers=dimensions) + b
        else:
            x = x.reshape(len(x), -1) @ w + b
        x = ACTIVATIONS[layer.activation](x)
    return x


def mean_loss(workload, pool, parameters, x, y):
    outputs = forward(workload, parameters, x, pool)
    if workload.loss == "squared_error":
        return jnp.mean(jnp.sum((outputs - y) ** 2, axis=1))
    picked = jnp.take_along_axis(outputs, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(outputs, axis=1) - picked)


def initial_state(workload, parameters):
    if workload.optimizer == "sgd":
        return ()
    zeros = [jnp.zeros_like(p) for p in parameters]
    return jnp.zeros((), jnp.float32), zeros, [jnp.zeros_like(p) for p in parameters]


def train_step(workload, parameters, state, x, y, pool=pool_by_windows):
    loss, grads = jax.value_and_grad(partial(mean_loss, workload, pool))(parameters, x, y)
    if workload.optimizer == "sgd":
        return [p - workload.learning_rate * g for p, g in zip(parameters, grads)], state, loss
    count, m, v = state
    count = count + 1
    m = [BETA1 * m_p + (1 - BETA1) * g for m_p, g in zip(m, grads)]
    v = [BETA2 * v_p + (1 - BETA2) * g * g for v_p, g in zip(v, grads)]
    # 1 - beta**count; in float32 the plain formula loses four digits to cancellation in the first steps
    correction1, correction2 = (-jnp.expm1(count * math.log(beta)) for beta in (BETA1, BETA2))
    root = jnp.sqrt(correction2)
    rate = workload.learning_rate * root / correction1
    parameters = [p - rate * m_p / (jnp.sqrt(v_p) + EPSILON * root) for p, m_p, v_p in zip(parameters, m, v)]
    return parameters, (count, m, v), loss


class StepTrainer:
    def __init__(self, problem, choice):
        self.problem = problem
        self.batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in problem.batches()]
        spellings = {"donated buffers": lambda: self.jitted(pool_by_windows)}
        if any(isinstance(layer, workloads.Pool) for layer in problem.workload.layers):
            spellings["donated buffers, pooling by reshape"] = lambda: self.jitted(pool_by_reshape)
        self.choice, self.step = fastest(spellings, self.trial, choice)
        self.reset()

    def jitted(self, pool):
        return jax.jit(partial(train_step, self.problem.workload, pool=pool), donate_argnums=(0, 1))

    def trial(self, step):
        self.reset()
        self.step = step
        self.epochs(1)

    def reset(self):
        self.parameters = [jnp.array(p) for p in self.problem.parameters]
        self.state = initial_state(self.problem.workload, self.parameters)

    def losses(self, n_steps):
        losses = []
        for x, y in self.batches[:n_steps]:
            self.parameters, self.state, loss = self.step(self.parameters, self.state, x, y)
            losses.append(float(loss))
        return losses

    def epochs(self, count):
        parameters, state, step = self.parameters, self.state, self.step
        for _ in range(count):
            for x, y in self.batches:
                parameters, state, loss = step(parameters, state, x, y)
        self.parameters, self.state = jax.block_until_ready((parameters, state))


class ScanEpoch:
    """One jitted epoch. ``gather``: "step" takes each batch's rows inside the loop, "epoch" all rows before it."""

    def __init__(self, problem, gather, unroll):
        self.problem, workload = problem, problem.workload
        self.x, self.y = jnp.asarray(problem.x), jnp.asarray(problem.y)

        def run(parameters, state, x, y, order):
            order = order.reshape(-1, workload.batch_size)

            def body(carry, batch):
                xb, yb = (x[batch], y[batch]) if gather == "step" else batch
                parameters, state, loss = train_step(workload, *carry, xb, yb)
                return (parameters, state), loss

            batches = order if gather == "step" else (x[order], y[order])
            (parameters, state), losses = jax.lax.scan(body, (parameters, state), batches, unroll=unroll)
            return parameters, state, losses

        def shuffled(parameters, state, x, y, key):
            key, use = jax.random.split(key)
            parameters, state, losses = run(parameters, state, x, y, jax.random.permutation(use, len(x)))
            return parameters, state, key, jnp.mean(losses)

        self.in_order = jax.jit(run)
        self.shuffled = jax.jit(shuffled, donate_argnums=(0, 1, 4))

    def reset(self):
        self.parameters = [jnp.array(p) for p in self.problem.parameters]
        self.state = initial_state(self.problem.workload, self.parameters)
        self.key = jax.random.key(0)

    def losses(self, n_steps):
        order = np.arange(n_steps * self.problem.workload.batch_size)
        return self.in_order(self.parameters, self.state, self.x, self.y, order)[2].tolist()

    def epochs(self, count):
        for _ in range(count):
            self.parameters, self.state, self.key, loss = self.shuffled(
                self.parameters, self.state, self.x, self.y, self.key
            )
        jax.block_until_ready((self.parameters, self.state))


class ScanTrainer:
    def __init__(self, problem, choice):
        spellings = {
            "rows taken in the loop": lambda: ScanEpoch(problem, "step", 1),
            "rows taken before the loop": lambda: ScanEpoch(problem, "epoch", 1),
        }
        if problem.workload.flops < 1e8:  # unrolling pays only where the loop itself costs
            spellings["rows taken in the loop, unroll 8"] = lambda: ScanEpoch(problem, "step", 8)
        self.choice, self.epoch = fastest(spellings, self.trial, choice)
        self.reset, self.losses, self.epochs = self.epoch.reset, self.epoch.losses, self.epoch.epochs

    @staticmethod
    def trial(epoch):
        epoch.reset()
        epoch.epochs(1)


def Trainer(problem, variant, n_threads, choice=""):
    return StepTrainer(problem, choice) if variant == "step" else ScanTrainer(problem, choice)


def predict(problem, n_threads):
    parameters = [jnp.asarray(p) for p in problem.parameters]
    call = jax.jit(lambda parameters, x: jax.nn.softmax(forward(problem.workload, parameters, x)))
    x = problem.x[:1]
    return lambda: np.asarray(call(parameters, x))
