"""Deeper networks: the error of a unit is gathered from all units it feeds.

    delta_j = h'(z_j) sum_k w_kj delta_k        (k over all units of the next layer)

Who follows a single path through the next layer, instead of the sum over all, gets another number. The gradient of a
layer's bias is the delta of its units, so each delta can be read from the library.

Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 5.56.
"""

import numpy as np

import nnfast as nf
from nnfast import functional as F


def network(depth, width=4, seed=3):
    layers = [nf.Dense(width, activation="sigmoid") for _ in range(depth - 1)] + [nf.Dense(2)]
    model = nf.Sequential(layers, input_shape=(3,), dtype="float64", seed=seed)
    model.compile("sgd", "squared_error")
    return model


def deltas(model, x, y, one_path=False):
    """delta of every layer, from the last to the first, by the formula; one_path keeps one term of each sum."""
    kernels, biases = model.get_weights()[0::2], model.get_weights()[1::2]
    values = [x]
    for w, b in zip(kernels, biases):
        values.append(F.dense(values[-1], w, b, activation="linear" if w is kernels[-1] else "sigmoid"))
    delta = 2 * (values[-1] - y)
    found = [delta]
    for w, a in zip(kernels[:0:-1], values[-2:0:-1]):
        back = np.outer(delta[0, 0], w[:, 0]) if one_path else delta @ w.T
        delta = F.sigmoid_backward(np.ascontiguousarray(back), a)
        found.append(delta)
    return found[::-1]


def main(figure=None):
    x, y = np.array([[0.5, -1.0, 2.0]]), np.array([[1.0, 2.0]])
    for depth in (2, 3, 4):
        model = network(depth)
        _, grads = model.gradients(x, y)
        read = [grads[name] for name in grads if name.endswith("bias")]
        sums, paths = deltas(model, x, y), deltas(model, x, y, one_path=True)
        right = max(np.abs(d[0] - r).max() for d, r in zip(sums, read))
        wrong = [np.abs(d[0] - r).max() / np.abs(r).max() for d, r in zip(paths, read)]
        print(f"{depth} layers: sum over all units differs by {right:.0e}; one path only is wrong by "
              f"{', '.join(f'{100 * e:.0f} %' for e in wrong)} (first layer ... last)")
        print(f"          finite differences agree to {max(model.check_gradients(x, y).values()):.0e}")

    if figure is not None:
        ax = figure.subplots()
        places = np.arange(len(read[0]))
        ax.bar(places - 0.25, read[0], 0.25, label="nnfast")
        ax.bar(places, sums[0][0], 0.25, label="formula, sum over all units")
        ax.bar(places + 0.25, paths[0][0], 0.25, label="formula, one path only")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xlabel="unit of the first layer", ylabel="delta", xticks=places, title="the first of four layers")
        ax.legend()
