"""The sigmoid: what slope and bias do, and the identities behind the logistic loss.

    sigmoid(t) = 1 / (1 + exp(-t)),   sigmoid(-t) = 1 - sigmoid(t),   sigmoid'(t) = sigmoid(t) (1 - sigmoid(t))

theta sets how steep the step is and which way it goes, b moves it to x = -b / theta. A bias is the weight of a further
input that is always 1. With p = sigmoid(t) the Bernoulli likelihood p^y (1 - p)^(1 - y) is one formula for both labels.
At y = 0 and 1 the linear form y p + (1 - y) (1 - p) has the same values, but only of the first the log is simple.

Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 2.2, 4.59, 4.60 and 4.88.
"""

import numpy as np

import nnfast as nf
from nnfast.functional import sigmoid


def main(figure=None):
    t = np.linspace(-8, 8, 401)
    print(f"sigmoid(-t) = 1 - sigmoid(t): to {np.abs(sigmoid(-t) - (1 - sigmoid(t))).max():.0e}")
    slope = nf.functional.sigmoid_backward(np.ones_like(t), sigmoid(t))
    print(f"the slope is at most {slope.max()}, at t = {t[slope.argmax()]:g}")

    # A bias equals a column of ones.
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((5, 3)), rng.standard_normal((3, 2)), rng.standard_normal(2)
    ones = np.column_stack([x, np.ones(5)])
    difference = nf.functional.dense(x, w, b) - nf.functional.dense(ones, np.vstack([w, b]))
    print(f"bias against a column of ones: {np.abs(difference).max():.0e}")

    p = sigmoid(t)
    for y in (0, 1):
        bernoulli, linear = p**y * (1 - p) ** (1 - y), y * p + (1 - y) * (1 - p)
        loss = nf.functional.sigmoid_cross_entropy(t[:, None], np.full((len(t), 1), float(y)))[0]
        print(f"y = {y}: likelihood and linear form differ by {np.abs(bernoulli - linear).max():.0e}; mean of "
              f"-log likelihood {-np.log(bernoulli).mean():.4f}, loss {loss:.4f}")
    print(f"between the labels they differ: y = 0.5, p = 0.9: likelihood {0.9**0.5 * 0.1**0.5:.2f}, linear form 0.50")

    if figure is not None:
        left, right = figure.subplots(1, 2)
        for theta, b in ((0.5, 0), (-0.5, 0), (2, 0), (-2, 0), (2, 3), (2, -3)):
            left.plot(t, sigmoid(theta * t + b), "--" if b else "-", label=f"theta = {theta}, b = {b}")
        left.set(xlabel="x", ylabel="sigmoid(theta x + b)", title="slope and place of the step")
        left.legend(fontsize="small")
        y = np.linspace(0, 1, 101)
        right.plot(y, 0.9**y * 0.1 ** (1 - y), label="$p^y (1 - p)^{1 - y}$")
        right.plot(y, 0.9 * y + 0.1 * (1 - y), "--", label="$y p + (1 - y)(1 - p)$")
        right.set(xlabel="y", ylabel="value at p = 0.9", title="equal at the labels y = 0 and y = 1")
        right.legend()
