"""Softmax regression: one linear unit per class, made into probabilities.

    p_k = exp(z_k) / sum_j exp(z_j),  z = x theta + b,   loss -log p_y,   d loss / d z = p - y

In mini-batches it approaches the minimum that the full-batch solver finds at once.

Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 4.104, 4.108 and 4.109.
"""

import numpy as np

import nnfast as nf
from nnfast.examples import _data


def main(figure=None):
    (x, y), (x_test, y_test) = nf.datasets.digits()
    penalty = 1 / len(x)
    solved = nf.models.softmax_regression(64, 10, l2=penalty, dtype="float64")
    minimum = solved.fit(x, y, solver=nf.solvers.LBFGS(tolerance=1e-6), verbose=0)
    print(f"digits: minimum of the loss {minimum.history['loss'][-1]:.5f}, {len(minimum.epoch)} iterations of L-BFGS, "
          f"{solved.evaluate(x_test, y_test)['accuracy']:.1%} of the test images right")

    stepped = nf.models.softmax_regression(64, 10, l2=penalty, optimizer=nf.SGD(nf.schedules.InverseTime(0.5, 1, 500)))
    steps = stepped.fit(x, y, batch_size=32, epochs=40, verbose=0)
    print(f"in mini-batches of 32: {stepped.evaluate(x, y)['loss']:.5f} after 40 epochs, "
          f"{stepped.evaluate(x_test, y_test)['accuracy']:.1%}")

    # d loss / d z of one image, read off as the gradient of b.
    _, grads = solved.gradients(x[:1], y[:1])
    expected = solved.predict(x[:1])[0] - np.eye(10)[y[0]]
    print(f"d loss / d z - (p - y): {np.abs(grads['dense/bias'] - expected).max():.0e}")

    if (data := _data.table("iris")) is not None:
        x3, y3, _ = data
        iris = nf.models.softmax_regression(4, 3, l2=1 / len(x3))
        iris.fit(x3, y3, solver="lbfgs", verbose=0)
        print(f"iris: {iris.evaluate(x3, y3)['accuracy']:.1%} of {len(x3)} flowers right")

    if figure is not None:
        left, right = figure.subplots(1, 2)
        nf.plot.filters(solved, shape=(8, 8), columns=5, titles=range(10), ax=left)
        left.set_title("theta of each class")
        nf.plot.history(steps, ax=right)
        right.axhline(minimum.history["loss"][-1], color="black", linestyle=":", label="minimum (L-BFGS)")
        right.set(ylim=(0, None), title="training in mini-batches")
        right.legend()
