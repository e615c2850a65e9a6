"""Writes curves.npz: the loss of each of 200 training steps of PyTorch, for several networks, in float64 and float32.

Inputs, targets and first weights are stored as integers over a power of two, so both precisions and both libraries
start from the same numbers. `order` holds the sample indices of the steps one after the other. A step's loss is that
of its batch before the update, penalties included. Run: python tests/oracles/make_curves.py
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

STEPS = 200
SCALE = 64.0            # stored integers are multiples of 1/64
WEIGHT_SCALE = 2.0**14

# "layers": units and activation; "l1", "l2" of each layer's kernel where given.
SPECS = {
    "tanh_softmax_sgd": {
        "inputs": 20, "layers": [[16, "tanh"], [5, "softmax"]], "loss": ["CrossEntropy", {}], "samples": 250,
        "batch": 32, "optimizer": ["SGD", {"learning_rate": 0.05, "momentum": 0.9}],
    },
    "control_adam": {
        "inputs": 8, "layers": [[64, "tanh"], [64, "tanh"], [4, "linear"]], "loss": ["SquaredError", {}],
        "samples": 256, "batch": 64, "optimizer": ["Adam", {"learning_rate": 0.001}],
    },
    "digits_adam": {
        "inputs": 64, "layers": [[32, "relu"], [10, "softmax"]], "loss": ["CrossEntropy", {}], "samples": 256,
        "batch": 32, "optimizer": ["Adam", {"learning_rate": 0.001}],
    },
    "sigmoid_rmsprop": {
        "inputs": 12, "layers": [[10, "sigmoid"], [3, "sigmoid"]], "loss": ["BinaryCrossEntropy", {}], "samples": 256,
        "batch": 16, "optimizer": ["RMSprop", {"learning_rate": 0.002}],
    },
    "gelu_silu_adamw": {
        "inputs": 10, "layers": [[24, "gelu"], [16, "silu"], [4, "softmax"]], "loss": ["CrossEntropy", {}],
        "samples": 256, "batch": 32,
        "optimizer": ["AdamW", {"learning_rate": 0.002, "weight_decay": 0.05, "clip_norm": 0.5}],
    },
    "penalties_nesterov": {
        "inputs": 20, "layers": [[16, "relu"], [12, "tanh"], [5, "softmax"]], "loss": ["CrossEntropy", {}],
        "l1": [0.0, 0.001, 0.0], "l2": [0.02, 0.01, 0.0], "samples": 250, "batch": 50,
        "optimizer": ["SGD", {"learning_rate": 0.03, "momentum": 0.9, "nesterov": True}],
    },
    "weights_adagrad": {
        "inputs": 8, "layers": [[12, "softplus"], [3, "linear"]], "loss": ["Huber", {"delta": 0.7}], "samples": 200,
        "batch": 32, "weighted": True, "optimizer": ["Adagrad", {"learning_rate": 0.05, "clip_value": 0.1}],
    },
    "elu_leaky_rmsprop": {
        "inputs": 6, "layers": [[17, "elu"], [9, "leaky_relu"], [2, "linear"]], "loss": ["SquaredError", {}],
        "samples": 256, "batch": 32,
        "optimizer": ["RMSprop", {"learning_rate": 0.0005, "rho": 0.95, "momentum": 0.5}],
    },
    "softmax_squared_error": {
        "inputs": 10, "layers": [[14, "tanh"], [4, "softmax"]], "loss": ["SquaredError", {}], "samples": 256,
        "batch": 32, "optimizer": ["SGD", {"learning_rate": 0.1}],
    },
    "logits_one_cycle": {
        "inputs": 10, "layers": [[15, "silu"], [4, "linear"]], "loss": ["CrossEntropy", {"from_logits": True}],
        "samples": 256, "batch": 32, "optimizer": ["SGD", {"learning_rate": {
            "class": "OneCycle", "config": {"max_rate": 0.2, "total_steps": STEPS},
        }}],
    },
    "absolute_adam": {
        "inputs": 7, "layers": [[11, "gelu"], [2, "linear"]], "loss": ["AbsoluteError", {}], "samples": 256,
        "batch": 32, "optimizer": ["Adam", {"learning_rate": 0.002}],
    },
    "selu_mish_nesterov": {
        "inputs": 9, "layers": [[18, "selu"], [12, "mish"], [3, "softmax"]], "loss": ["CrossEntropy", {}],
        "samples": 256, "batch": 32, "optimizer": ["SGD", {"learning_rate": 0.02, "momentum": 0.9, "nesterov": True}],
    },
    "hard_adam": {
        "inputs": 9, "layers": [[18, "hard_swish"], [14, "relu6"], [9, "hard_sigmoid"], [3, "linear"]],
        "loss": ["SquaredError", {}], "samples": 256, "batch": 32, "optimizer": ["Adam", {"learning_rate": 0.003}],
    },
}

ACTIVATIONS = {
    "linear": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    # F.softplus drops the exponential above 20.
    "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
    "relu6": F.relu6,
    # The gradient of F.hardsigmoid is rounded to float32.
    "hard_sigmoid": lambda z: F.relu6(z + 3) / 6,
    "hard_swish": F.hardswish,
    "selu": F.selu,
    "mish": F.mish,
    "softmax": lambda z: torch.softmax(z, -1),
}


def problem(spec, rng):
    """Data, first weights and batch order as small integers; a random network makes the targets."""
    n, units = spec["samples"], spec["layers"][-1][0]
    x = rng.integers(-127, 128, (n, spec["inputs"])).astype(np.int8)
    hidden = np.tanh((x / SCALE) @ rng.standard_normal((spec["inputs"], 8)) / math.sqrt(spec["inputs"]))
    score = hidden @ rng.standard_normal((8, units)) + 0.3 * rng.standard_normal((n, units))
    if spec["loss"][0] == "CrossEntropy" or spec["layers"][-1][1] == "softmax":
        t = score.argmax(1).astype(np.int8)
    elif spec["loss"][0] == "BinaryCrossEntropy":
        t = (score > 0).astype(np.int8)
    else:
        t = np.clip(np.round(score * SCALE / 2), -127, 127).astype(np.int8)
    arrays = {"x": x, "t": t}
    if spec.get("weighted"):
        arrays["weight"] = rng.integers(0, 6, n).astype(np.int8)
    width = spec["inputs"]
    for i, (units, _) in enumerate(spec["layers"]):
        limit = math.sqrt(6 / (width + units))
        arrays[f"kernel{i}"] = np.round(rng.uniform(-limit, limit, (width, units)) * WEIGHT_SCALE).astype(np.int16)
        arrays[f"bias{i}"] = np.round(rng.uniform(-0.05, 0.05, units) * WEIGHT_SCALE).astype(np.int16)
        width = units
    per_epoch = -(-n // spec["batch"])
    epochs = -(-STEPS // per_epoch)
    order = np.concatenate([rng.permutation(n) for _ in range(epochs)]).astype(np.uint8)
    whole, rest = divmod(STEPS, per_epoch)
    arrays["order"] = order[: whole * n + min(rest * spec["batch"], n)]
    return arrays


def batches(spec, order):
    """The sample indices of each step; the last batch of an epoch is what is left over."""
    n, size = spec["samples"], spec["batch"]
    for epoch in range(0, len(order), n):
        rows = order[epoch : epoch + n]
        yield from (rows[i : i + size] for i in range(0, len(rows), size))


def torch_optimizer(parameters, cls, config):
    words = {"learning_rate": "lr", "rho": "alpha"}
    arguments = {words.get(name, name): value for name, value in config.items() if not name.startswith("clip_")}
    scheduler = None
    if isinstance(arguments["lr"], dict):
        schedule = arguments["lr"]["config"]
        arguments["lr"] = schedule["max_rate"]
        optimizer = getattr(torch.optim, cls)(parameters, **arguments)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, schedule["max_rate"], total_steps=schedule["total_steps"], cycle_momentum=False
        )
    else:
        optimizer = getattr(torch.optim, cls)(parameters, **arguments)
    return optimizer, scheduler


def sample_losses(spec, y, z, t, classes):
    """Per-sample losses of the output y, whose last pre-activation is z."""
    name, config = spec["loss"]
    if name == "CrossEntropy":
        return F.cross_entropy(z, t.long(), reduction="none")
    if name == "BinaryCrossEntropy":
        return F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1)
    if spec["layers"][-1][1] == "softmax":
        t = F.one_hot(t.long(), classes).to(y.dtype)
    return {
        "SquaredError": lambda: (y - t).square().sum(1),
        "AbsoluteError": lambda: (y - t).abs().sum(1),
        "Huber": lambda: F.huber_loss(y, t, reduction="none", delta=config.get("delta", 1.0)).sum(1),
    }[name]()


def train(spec, arrays, dtype):
    """Losses of all steps and the last weights."""
    categorical = arrays["t"].ndim == 1
    x = torch.tensor(arrays["x"] / SCALE, dtype=dtype)
    scale = 1.0 if categorical or spec["loss"][0] == "BinaryCrossEntropy" else SCALE
    t = torch.tensor(arrays["t"] / scale, dtype=dtype)
    count = len(spec["layers"])
    parameters = [
        torch.tensor(arrays[f"{kind}{i}"] / WEIGHT_SCALE, dtype=dtype, requires_grad=True)
        for i in range(count) for kind in ("kernel", "bias")
    ]
    cls, config = spec["optimizer"]
    optimizer, scheduler = torch_optimizer(parameters, cls, config)
    losses = []
    for rows in batches(spec, arrays["order"].astype(np.int64)):
        y = x[rows]
        for i, (_, activation) in enumerate(spec["layers"]):
            z = y @ parameters[2 * i] + parameters[2 * i + 1]
            y = ACTIVATIONS[activation](z)
        values = sample_losses(spec, y, z, t[rows], spec["layers"][-1][0])
        if spec.get("weighted"):
            weight = torch.tensor(arrays["weight"][rows], dtype=dtype)
            loss = (weight * values).sum() / weight.sum()
        else:
            loss = values.mean()
        for i in range(count):
            w = parameters[2 * i]
            loss = loss + 0.5 * spec.get("l2", [0] * count)[i] * w.square().sum()
            loss = loss + spec.get("l1", [0] * count)[i] * w.abs().sum()
        optimizer.zero_grad()
        loss.backward()
        if "clip_norm" in config:
            torch.nn.utils.clip_grad_norm_(parameters, config["clip_norm"])
        if "clip_value" in config:
            torch.nn.utils.clip_grad_value_(parameters, config["clip_value"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
    return np.array(losses), [parameter.detach().numpy() for parameter in parameters]


def main():
    stored = {}
    for number, (name, spec) in enumerate(SPECS.items()):
        arrays = problem(spec, np.random.default_rng(100 + number))
        arrays["losses64"], last = train(spec, arrays, torch.float64)
        arrays["losses32"], _ = train(spec, arrays, torch.float32)
        arrays["last_kernel"], arrays["last_bias"] = last[-2:]
        stored.update({f"{name}/{key}": values for key, values in arrays.items()})
        print(f"{name}: loss {arrays['losses64'][0]:.4f} -> {arrays['losses64'][-1]:.4f}, float32 off by "
              f"{np.abs(arrays['losses32'] / arrays['losses64'] - 1).max():.1e}")
    np.savez_compressed(
        Path(__file__).with_name("curves.npz"), specs=json.dumps(SPECS), torch=torch.__version__, scale=SCALE,
        weight_scale=WEIGHT_SCALE, **stored,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
