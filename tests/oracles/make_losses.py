"""Writes losses.npz: values and gradients of PyTorch's losses in float64, under the activation that belongs to them.

Each case: `z` (B, n) goes through `activation`, the result and the target into the loss; stored are the loss of each
sample and d loss_i / d z_i. Run: python tests/oracles/make_losses.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

B = 12
rng = np.random.default_rng(2)


def cross_entropy(z, t):
    return F.cross_entropy(z, t, reduction="none")


def bce_logits(z, t):
    return F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1)


def squared(y, t):
    return F.mse_loss(y, t, reduction="none").sum(1)


def absolute(y, t):
    return F.l1_loss(y, t, reduction="none").sum(1)


def huber(delta):
    return lambda y, t: F.huber_loss(y, t, reduction="none", delta=delta).sum(1)


ACTIVATIONS = {
    "linear": lambda z: z,
    "softmax": lambda z: torch.softmax(z, -1),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
}


def case(config, activation, z, t, function):
    """`function` sees logits where the loss takes its own activation."""
    zt = torch.tensor(z, requires_grad=True)
    target = torch.tensor(t)
    y = zt if config["class"].endswith("CrossEntropy") else ACTIVATIONS[activation](zt)
    values = function(y, target.long() if t.dtype.kind == "i" else target)
    values.sum().backward()
    return {"loss": config, "activation": activation}, {
        "z": z, "t": t, "values": values.detach().numpy(), "dz": zt.grad.numpy(),
    }


def loss(cls, **config):
    return {"class": cls, "config": config}


n = 5
z = 3 * rng.standard_normal((B, n))
labels = rng.integers(0, n, B).astype(np.int32)
one_hot = np.eye(n)[labels]
shares = rng.dirichlet(np.ones(n), B)
yes_no = (rng.random((B, n)) < 0.5).astype(np.float64)
between = rng.random((B, n))
target = rng.standard_normal((B, n))
huge = rng.choice([-1e4, -50.0, 0.0, 1.0, 50.0, 1e4], (B, n))
huge[0] = 1e4
huge[1] = -1e4
wide = rng.standard_normal((B, 37))
wide_labels = rng.integers(0, 37, B).astype(np.int32)
one = 2 * rng.standard_normal((B, 1))
# Exactly on the target, and exactly delta away from it.
kinks = target + rng.choice([-1.5, -1.0, -0.25, 0.0, 0.5, 1.0, 3.0], (B, n))

CASES = {
    "softmax_labels": case(loss("CrossEntropy"), "softmax", z, labels, cross_entropy),
    "softmax_one_hot": case(loss("CrossEntropy"), "softmax", z, one_hot, cross_entropy),
    "softmax_shares": case(loss("CrossEntropy"), "softmax", z, shares, cross_entropy),
    "softmax_huge": case(loss("CrossEntropy"), "softmax", huge, labels, cross_entropy),
    "softmax_huge_one_hot": case(loss("CrossEntropy"), "softmax", huge, one_hot, cross_entropy),
    "softmax_wide": case(loss("CrossEntropy"), "softmax", wide, wide_labels, cross_entropy),
    "logits_labels": case(loss("CrossEntropy", from_logits=True), "linear", z, labels, cross_entropy),
    "logits_shares": case(loss("CrossEntropy", from_logits=True), "linear", z, shares, cross_entropy),
    "logits_huge": case(loss("CrossEntropy", from_logits=True), "linear", huge, labels, cross_entropy),
    "sigmoid": case(loss("BinaryCrossEntropy"), "sigmoid", z, yes_no, bce_logits),
    "sigmoid_between": case(loss("BinaryCrossEntropy"), "sigmoid", z, between, bce_logits),
    "sigmoid_huge": case(loss("BinaryCrossEntropy"), "sigmoid", huge, yes_no, bce_logits),
    "sigmoid_one": case(loss("BinaryCrossEntropy"), "sigmoid", one, yes_no[:, :1].copy(), bce_logits),
    "sigmoid_logits": case(loss("BinaryCrossEntropy", from_logits=True), "linear", z, yes_no, bce_logits),
    "sigmoid_logits_huge": case(loss("BinaryCrossEntropy", from_logits=True), "linear", huge, between, bce_logits),
    "squared": case(loss("SquaredError"), "linear", z, target, squared),
    "squared_softmax": case(loss("SquaredError"), "softmax", z, one_hot, squared),
    "squared_softmax_huge": case(loss("SquaredError"), "softmax", huge, one_hot, squared),
    "squared_sigmoid": case(loss("SquaredError"), "sigmoid", z, yes_no, squared),
    "squared_tanh": case(loss("SquaredError"), "tanh", z, target, squared),
    "absolute": case(loss("AbsoluteError"), "linear", kinks, target, absolute),
    "absolute_softmax": case(loss("AbsoluteError"), "softmax", z, shares, absolute),
    "huber": case(loss("Huber"), "linear", kinks, target, huber(1.0)),
    "huber_wide": case(loss("Huber", delta=2.5), "linear", 3 * kinks, target, huber(2.5)),
    "huber_softplus": case(loss("Huber", delta=0.5), "softplus", z, target, huber(0.5)),
}


def pixel_case(labels, class_weight=None, **config):
    """A class for each pixel: z (B, H, W, n), the loss of a sample is the sum over its pixels."""
    zt = torch.tensor(maps, requires_grad=True)
    weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float64)
    values = F.cross_entropy(zt.movedim(-1, 1), torch.tensor(labels).long(), weight, reduction="none",
                             ignore_index=config.get("ignore_label", -100)).sum((1, 2))
    values.sum().backward()
    spec = {"loss": loss("CrossEntropy", **config)} | ({} if class_weight is None else {"class_weight": class_weight})
    return spec, {"z": maps, "t": labels, "values": values.detach().numpy(), "dz": zt.grad.numpy()}


maps = 3 * rng.standard_normal((5, 7, 6, n))
map_labels = rng.integers(0, n, (5, 7, 6))
some = np.where(rng.random((5, 7, 6)) < 0.3, 255, map_labels).astype(np.uint8)
PIXELS = {
    "pixels": pixel_case(map_labels),
    "pixels_ignored": pixel_case(some, ignore_label=255),
    "pixels_weighted": pixel_case(some, [1.0, 0.5, 2.0, 0.0, 1.0], ignore_label=255),
}

arrays = {f"{name}/{key}": values for name, (_, parts) in (CASES | PIXELS).items() for key, values in parts.items()}
specs = json.dumps({name: spec for name, (spec, _) in CASES.items()})
pixel_specs = json.dumps({name: spec for name, (spec, _) in PIXELS.items()})
np.savez_compressed(Path(__file__).with_name("losses.npz"), specs=specs, pixel_specs=pixel_specs,
                    torch=torch.__version__, **arrays)
