"""Writes optimizers.npz: weights after each of 50 steps of torch.optim in float64, from stored gradients.

One kernel (7, 3) and one bias (3,). The gradients do not depend on the weights, so an error cannot hide in them; their
size changes over eight decades and some are zero, so that epsilon, clipping and the division by zero all matter.
Run: python tests/oracles/make_optimizers.py
"""

import json
from pathlib import Path

import numpy as np
import torch

STEPS = 50
SHAPES = [(7, 3), (3,)]

rng = np.random.default_rng(1)
start = [rng.standard_normal(shape) for shape in SHAPES]
size = 10.0 ** rng.uniform(-6, 2, STEPS)
gradients = [
    rng.standard_normal((STEPS, *shape)) * size.reshape(-1, *[1] * len(shape)) * (rng.random((STEPS, *shape)) > 0.15)
    for shape in SHAPES
]


def rename(arguments):
    """nnfast's arguments in PyTorch's words."""
    words = {"learning_rate": "lr", "epsilon": "eps", "rho": "alpha"}
    result = {words.get(name, name): value for name, value in arguments.items()}
    if "beta1" in result or "beta2" in result:
        result["betas"] = (result.pop("beta1", 0.9), result.pop("beta2", 0.999))
    return result


def weights(cls, arguments, rates=None):
    arguments = rename(arguments)
    clip_norm = arguments.pop("clip_norm", None)
    clip_value = arguments.pop("clip_value", None)
    parameters = [torch.tensor(values, requires_grad=True) for values in start]
    optimizer = getattr(torch.optim, cls)(parameters, foreach=False, **arguments)
    result = np.empty((STEPS, sum(values.size for values in start)))
    for step in range(STEPS):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = float(rates[step])
        for parameter, values in zip(parameters, gradients):
            parameter.grad = torch.tensor(values[step])
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, clip_value)
        optimizer.step()
        result[step] = np.concatenate([parameter.detach().numpy().ravel() for parameter in parameters])
    return result


CASES = {
    "sgd": ("SGD", {"learning_rate": 0.05}),
    "sgd_momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "sgd_nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True}),
    "sgd_clip_norm": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "clip_norm": 0.5}),
    "sgd_clip_both": ("SGD", {"learning_rate": 0.05, "clip_norm": 2.0, "clip_value": 0.3}),
    "adam": ("Adam", {}),
    "adam_other": ("Adam", {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}),
    "adam_clip_value": ("Adam", {"learning_rate": 0.02, "clip_value": 0.1}),
    "adam_clip_norm": ("Adam", {"learning_rate": 0.02, "clip_norm": 1.0}),
    "adamw": ("AdamW", {}),
    "adamw_strong": ("AdamW", {"learning_rate": 0.02, "weight_decay": 0.5}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_momentum": ("RMSprop", {"learning_rate": 0.003, "rho": 0.9, "epsilon": 1e-4, "momentum": 0.7}),
    "adagrad": ("Adagrad", {"learning_rate": 0.1}),
    "adagrad_started": ("Adagrad", {"initial_accumulator_value": 0.25}),
}

arrays = {name: weights(*case) for name, case in CASES.items()}
arrays["adam_rates"] = weights("Adam", {}, rates=0.05 / (1 + 0.1 * np.arange(STEPS)))
configs = {name: {"class": cls, "config": arguments} for name, (cls, arguments) in CASES.items()}
configs["adam_rates"] = {"class": "Adam", "config": {"learning_rate": {
    "class": "InverseTime", "config": {"initial": 0.05, "decay_rate": 0.1},
}}}
np.savez_compressed(
    Path(__file__).with_name("optimizers.npz"), configs=json.dumps(configs), torch=torch.__version__,
    start_kernel=start[0], start_bias=start[1], kernel_gradients=gradients[0], bias_gradients=gradients[1], **arrays,
)
