"""Writes convolution.npz: PyTorch's convolutions, poolings and batch normalization with odd parameters, in float64, and
the loss of each of 100 training steps of small convolutional networks, in float64 and float32.

Inputs, first weights and output gradients are integers over a power of two, so both precisions and both libraries start
from the same numbers. Everything is stored channels last, kernels as (R, S, C / groups, K).
Run: python tests/oracles/make_convolution.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

SCALE = 64.0            # stored integers are multiples of 1/64
WEIGHT_SCALE = 2.0**14
STEPS = 100

# shape (N, H, W, C), filters, kernel, stride, padding ((top, bottom), (left, right)), dilation, groups
CONVOLUTIONS = {
    "plain": [(2, 7, 8, 3), 5, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1],
    "even_kernel": [(1, 6, 9, 4), 17, (2, 4), (1, 1), ((1, 0), (2, 1)), (1, 1), 1],
    "stride_beyond_kernel": [(3, 11, 10, 2), 7, (2, 2), (3, 4), ((0, 0), (1, 1)), (1, 1), 1],
    "stride_dilation": [(2, 12, 13, 6), 9, (3, 2), (2, 3), ((2, 1), (0, 3)), (2, 4), 1],
    "groups": [(2, 6, 5, 12), 18, (3, 1), (1, 2), ((1, 1), (0, 0)), (1, 1), 3],
    "depthwise": [(2, 7, 7, 19), 19, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 19],
    "depthwise_multiplier": [(1, 5, 8, 5), 15, (3, 5), (1, 1), ((1, 1), (2, 2)), (1, 1), 5],
    "one_by_one": [(2, 4, 5, 33), 31, (1, 1), (2, 1), ((0, 0), (0, 0)), (1, 1), 1],
    "first_layer": [(1, 15, 16, 3), 20, (7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), 1],
    "wide_padding": [(1, 3, 2, 2), 3, (2, 2), (1, 1), ((3, 2), (4, 0)), (1, 1), 1],
}

# shape, kernel, stride, padding (h, w)
POOLINGS = {
    "plain": [(2, 6, 8, 5), (2, 2), (2, 2), (0, 0)],
    "overlapping": [(2, 9, 7, 3), (3, 3), (2, 2), (1, 1)],
    "odd": [(1, 11, 10, 17), (5, 2), (3, 1), (2, 1)],
    "stride_beyond_kernel": [(2, 10, 11, 4), (2, 3), (4, 5), (1, 0)],
}

NETS = {
    "lenet": {
        "input": [12, 12, 1], "classes": 5, "samples": 120, "batch": 16,
        "layers": [["conv", 6, 5, 1, 2, 1, "relu"], ["max", 2], ["conv", 11, 3, 1, 0, 1, "tanh"], ["average", 2],
                   ["flatten"], ["dense", 20, "relu"], ["dense", 5, "linear"]],
        "optimizer": ["Adam", {"learning_rate": 0.002}],
    },
    "normalized": {
        "input": [9, 8, 3], "classes": 4, "samples": 100, "batch": 20,
        "layers": [["conv", 8, 3, 2, 1, 1, "linear"], ["norm", 0.1, 1e-5], ["activation", "relu"],
                   ["conv", 8, 3, 1, 1, 8, "linear"], ["norm", 0.2, 1e-3], ["activation", "silu"],
                   ["conv", 10, 1, 1, 0, 1, "relu"], ["mean"], ["dense", 4, "linear"]],
        "optimizer": ["SGD", {"learning_rate": 0.05, "momentum": 0.9}],
    },
}

ACTIVATIONS = {"linear": lambda z: z, "relu": torch.relu, "tanh": torch.tanh, "silu": F.silu}


def first(a):
    """Channels last to channels first; kernels (R, S, C, K) to (K, C, R, S)."""
    return a.permute(0, 3, 1, 2)


def kernel(w):
    return w.permute(3, 2, 0, 1)


def last(a):
    return a.permute(0, 2, 3, 1)


def small(rng, shape):
    return rng.integers(-127, 128, shape).astype(np.int8)


def tensor(a, dtype=torch.float64, scale=SCALE, grad=True):
    return torch.tensor(a / scale, dtype=dtype, requires_grad=grad)


def convolve(x, w, b, stride, padding, dilation, groups):
    (top, bottom), (left, right) = padding
    padded = F.pad(first(x), (left, right, top, bottom))
    return last(F.conv2d(padded, kernel(w), b, stride, 0, dilation, groups))


def convolutions(rng):
    for name, (shape, filters, size, stride, padding, dilation, groups) in CONVOLUTIONS.items():
        arrays = {"x": small(rng, shape), "w": small(rng, (*size, shape[3] // groups, filters)),
                  "b": small(rng, filters)}
        x, w, b = (tensor(a) for a in arrays.values())
        y = convolve(x, w, b, stride, padding, dilation, groups)
        arrays["dy"] = small(rng, y.shape)
        y.backward(tensor(arrays["dy"], grad=False))
        yield f"conv/{name}", arrays | {"y": y, "dx": x.grad, "dw": w.grad, "db": b.grad}


def poolings(rng):
    for name, (shape, size, stride, padding) in POOLINGS.items():
        arrays = {"x": small(rng, shape)}      # 255 values: windows have ties
        for kind, function in (
            ("max", lambda x: F.max_pool2d(x, size, stride, padding)),  # noqa: B023, called at once
            ("mean", lambda x: F.avg_pool2d(x, size, stride, padding, count_include_pad=False)),  # noqa: B023
            ("mean_pad", lambda x: F.avg_pool2d(x, size, stride, padding, count_include_pad=True)),  # noqa: B023
        ):
            x = tensor(arrays["x"])
            y = last(function(first(x)))
            arrays.setdefault("dy", small(rng, y.shape))
            y.backward(tensor(arrays["dy"], grad=False))
            arrays |= {f"{kind}_y": y, f"{kind}_dx": x.grad}
        yield f"pool/{name}", arrays


def normalization(rng):
    """Three training steps' outputs and gradients, the statistics after them, and the output in inference mode."""
    arrays = {"x": small(rng, (3, 4, 3, 2, 7)), "dy": small(rng, (3, 4, 3, 2, 7)), "gamma": small(rng, 7),
              "beta": small(rng, 7)}
    layer = torch.nn.BatchNorm2d(7, eps=1e-3, momentum=0.3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(tensor(arrays["gamma"]))
        layer.bias.copy_(tensor(arrays["beta"]))
    results = {"y": [], "dx": [], "dgamma": [], "dbeta": []}
    for x, dy in zip(arrays["x"], arrays["dy"]):
        x = tensor(x)
        layer.zero_grad()
        y = last(layer(first(x)))
        y.backward(tensor(dy, grad=False))
        for key, value in zip(results, (y, x.grad, layer.weight.grad, layer.bias.grad)):
            results[key].append(value.detach().numpy().copy())
    layer.eval()
    arrays |= {key: np.array(values) for key, values in results.items()}
    arrays |= {"running_mean": layer.running_mean, "running_variance": layer.running_var,
               "inference": last(layer(first(tensor(arrays["x"][0]))))}
    yield "norm", arrays


def first_weights(spec, rng):
    """Kernels, biases, gammas and betas of a network in order, as integers over WEIGHT_SCALE."""
    weights, (height, width, channels) = [], spec["input"]

    def uniform(shape, limit):
        weights.append(np.round(rng.uniform(-limit, limit, shape) * WEIGHT_SCALE).astype(np.int16))

    for kind, *how in spec["layers"]:
        if kind == "conv":
            filters, size, stride, padding, groups, _ = how
            uniform((size, size, channels // groups, filters), 1.5 / np.sqrt(size * size * channels // groups))
            uniform(filters, 0.1)
            height, width = [(n + 2 * padding - size) // stride + 1 for n in (height, width)]
            channels = filters
        elif kind in ("max", "average"):
            height, width = height // how[0], width // how[0]
        elif kind == "norm":
            weights.append(np.round(rng.uniform(0.7, 1.3, channels) * WEIGHT_SCALE).astype(np.int16))
            uniform(channels, 0.2)
        elif kind == "flatten":
            channels = height * width * channels
        elif kind == "dense":
            uniform((channels, how[0]), 1.5 / np.sqrt(channels))
            uniform(how[0], 0.1)
            channels = how[0]
    return weights


def run(spec, x, parameters, statistics):
    """Logits; `statistics` are the running means and variances, which are updated."""
    parameters, statistics = iter(parameters), iter(statistics)
    for kind, *how in spec["layers"]:
        if kind == "conv":
            _, _, stride, padding, groups, activation = how
            w, b = next(parameters), next(parameters)
            x = convolve(x, w, b, stride, ((padding, padding), (padding, padding)), 1, groups)
            x = ACTIVATIONS[activation](x)
        elif kind in ("max", "average"):
            x = last((F.max_pool2d if kind == "max" else F.avg_pool2d)(first(x), how[0]))
        elif kind == "norm":
            momentum, epsilon = how
            gamma, beta = next(parameters), next(parameters)
            x = last(F.batch_norm(first(x), next(statistics), next(statistics), gamma, beta, True, momentum, epsilon))
        elif kind == "activation":
            x = ACTIVATIONS[how[0]](x)
        elif kind == "flatten":
            x = x.flatten(1)
        elif kind == "mean":
            x = x.mean(dim=(1, 2))
        elif kind == "dense":
            w, b = next(parameters), next(parameters)
            x = ACTIVATIONS[how[1]](x @ w + b)
    return x


def train(spec, arrays, weights, dtype):
    x, t = tensor(arrays["x"], dtype, grad=False), torch.tensor(arrays["t"].astype(np.int64))
    parameters = [tensor(w, dtype, WEIGHT_SCALE) for w in weights]
    statistics = []
    for i, (kind, *_) in enumerate(spec["layers"]):
        if kind == "norm":
            channels = [how[0] for kind, *how in spec["layers"][:i] if kind == "conv"][-1]
            statistics += [torch.zeros(channels, dtype=dtype), torch.ones(channels, dtype=dtype)]
    cls, config = spec["optimizer"]
    config = {"lr" if key == "learning_rate" else key: value for key, value in config.items()}
    optimizer = getattr(torch.optim, cls)(parameters, foreach=False, **config)
    losses = []
    for step in range(STEPS):
        rows = arrays["order"][step].astype(np.int64)
        loss = F.cross_entropy(run(spec, x[rows], parameters, statistics), t[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), [p.detach().numpy() for p in parameters], [s.numpy() for s in statistics]


def networks(rng):
    for name, spec in NETS.items():
        n, classes = spec["samples"], spec["classes"]
        t = rng.integers(0, classes, n).astype(np.int8)
        patterns = rng.normal(size=(classes, *spec["input"]))
        x = np.clip(np.round(32 * (patterns[t] + rng.normal(size=(n, *spec["input"])))), -127, 127).astype(np.int8)
        order = np.array([rng.permutation(n)[:spec["batch"]] for _ in range(STEPS)], dtype=np.uint8)
        arrays = {"x": x, "t": t, "order": order}
        weights = first_weights(spec, rng)
        arrays["losses64"], last_weights, statistics = train(spec, arrays, weights, torch.float64)
        arrays["losses32"], *_ = train(spec, arrays, weights, torch.float32)
        arrays |= {f"weight{i}": w for i, w in enumerate(weights)}
        arrays |= {"first_kernel": last_weights[0], "last_bias": last_weights[-1]}
        arrays |= {f"statistic{i}": s for i, s in enumerate(statistics)}
        print(f"{name}: loss {arrays['losses64'][0]:.4f} -> {arrays['losses64'][-1]:.4f}, float32 off by "
              f"{np.abs(arrays['losses32'] / arrays['losses64'] - 1).max():.1e}")
        yield f"net/{name}", arrays


def main():
    rng = np.random.default_rng(11)
    stored = {}
    for part in (convolutions, poolings, normalization, networks):
        for name, arrays in part(rng):
            for key, a in arrays.items():
                stored[f"{name}/{key}"] = a.detach().numpy() if isinstance(a, torch.Tensor) else a
    specs = {"conv": CONVOLUTIONS, "pool": POOLINGS, "net": NETS}
    np.savez_compressed(Path(__file__).with_name("convolution.npz"), specs=json.dumps(specs), torch=torch.__version__,
                        scale=SCALE, weight_scale=WEIGHT_SCALE, **stored)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
