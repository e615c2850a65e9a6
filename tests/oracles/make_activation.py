"""Writes activation.npz: exp, log and the activations in 50 digits, rounded to float64, for the float64 kernels.

`<name>/x` holds the arguments and `<name>/y` the values. The arguments are random, log-spaced over all magnitudes of
float64 and uniform where a function bends. Needs mpmath. Run: python tests/oracles/make_activation.py
"""

from pathlib import Path

import mpmath
import numpy as np

mpmath.mp.dps = 50
rng = np.random.default_rng(4)


def over_all_magnitudes(count):
    x = np.ldexp(rng.uniform(1.0, 2.0, count), rng.integers(-1022, 1024, count))
    return np.where(rng.random(count) < 0.5, x, -x)


SELU_SCALE = mpmath.mpf("1.0507009873554804934193349852946")
SELU_ALPHA = mpmath.mpf("1.6732632423543772848170429916717")

FUNCTIONS = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "elu": mpmath.expm1,
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)) if x < 0 else x + mpmath.log1p(mpmath.exp(-x)),
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / mpmath.mpf(6),
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mpmath.expm1(x)),
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
}

# Where each is neither 0 nor its asymptote: the arguments stay inside, so every value is a normal number.
DOMAIN = {
    "exp": (-708.0, 709.7), "sigmoid": (-708.0, 40.0), "tanh": (-20.0, 20.0), "elu": (-40.0, 0.0),
    "gelu": (-37.5, 9.0), "silu": (-708.0, 40.0), "softplus": (-708.0, 40.0),
    "hard_sigmoid": (-3.5, 3.5), "hard_swish": (-3.5, 40.0), "selu": (-40.0, 40.0), "mish": (-708.0, 40.0),
}

arrays = {}
for name, function in FUNCTIONS.items():
    if name == "log":
        x = np.concatenate([abs(over_all_magnitudes(400)), rng.uniform(0.4, 2.5, 400), 1 + rng.normal(0, 1e-6, 100)])
    else:
        low, high = DOMAIN[name]
        wide = over_all_magnitudes(300)
        x = np.concatenate([wide, rng.uniform(low, high, 400), rng.uniform(-3.0, 3.0, 400), rng.normal(0, 1e-6, 100)])
        x = x[(x > low) & (x < high)]
    y = np.array([float(function(mpmath.mpf(float(v)))) for v in x])
    normal = np.abs(y) >= np.finfo(np.float64).tiny
    arrays[f"{name}/x"], arrays[f"{name}/y"] = x[normal], y[normal]

np.savez_compressed(Path(__file__).with_name("activation.npz"), **arrays)
