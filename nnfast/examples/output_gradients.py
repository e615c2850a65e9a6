"""What comes back from the output: p - y, or a whole Jacobian.

    softmax, cross-entropy:         d loss / d z = p - y
    softmax, squared error:         d loss / d z = J' 2 (p - y),  J = diag(p) - p p'
    sigmoid, binary cross-entropy:  d loss / d z = p - y

The first and the last are simple because the logarithm undoes the exponential. With the squared error a confident
mistake has almost no gradient: p (1 - p) vanishes at both ends.

Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 4.106 and section 5.2; Goodfellow, Bengio,
Courville, Deep Learning (2016), section 6.2.2.
"""

import numpy as np

import nnfast as nf


def logit_gradient(loss, z, y):
    """d loss / d z of a softmax or sigmoid output, read as the gradient of a bias."""
    output = nf.Dense(len(z), activation="softmax" if len(z) > 1 else "sigmoid")
    model = nf.Sequential([output], input_shape=(1,), dtype="float64")
    model.set_weights([np.zeros((1, len(z))), z])
    model.compile("sgd", loss)
    return model.gradients(np.ones((1, 1)), y[None])[1]["dense/bias"]


def main(figure=None):
    z, y = np.array([2.0, 1.0, -1.0]), np.array([0.0, 1.0, 0.0])
    p = nf.functional.softmax(z)
    jacobian = np.diag(p) - np.outer(p, p)
    print("softmax, p =", p.round(4))
    for loss, formula, expected in (("cross_entropy", "p - y", p - y),
                                    ("squared_error", "J' 2 (p - y)", jacobian @ (2 * (p - y)))):
        print(f"  {loss}: {logit_gradient(loss, z, y).round(4)}, {formula} = {expected.round(4)}")

    # 100 examples at once are the mean over 100 single ones: vectorised equals the loop.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 3))
    labels = (x.sum(axis=1, keepdims=True) > 0).astype(float)
    for hidden in ("tanh", "sigmoid"):
        layers = [nf.Dense(4, activation=hidden), nf.Dense(1, activation="sigmoid")]
        model = nf.Sequential(layers, input_shape=(3,), dtype="float64")
        model.compile("sgd", "binary_cross_entropy")
        _, grads = model.gradients(x, labels)
        single = [model.gradients(x[i:i + 1], labels[i:i + 1])[1] for i in range(100)]
        worst = max(np.abs(grads[name] - np.mean([g[name] for g in single], axis=0)).max() for name in grads)
        last = np.abs(grads["dense_1/bias"] - (model.predict(x) - labels).mean(axis=0)).max()
        print(f"{hidden} hidden units: 100 x 3 at once against a loop {worst:.0e}, output p - y {last:.0e}")

    if figure is not None:
        ax = figure.subplots()
        z = np.linspace(-6, 6, 121)
        for loss in ("binary_cross_entropy", "squared_error"):
            ax.plot(z, [logit_gradient(loss, np.array([v]), np.array([1.0]))[0] for v in z], label=loss)
        ax.set(xlabel="z, for the true class 1", ylabel="d loss / d z",
               title="at z = -6 the model is wrong and sure: only the cross-entropy says so")
        ax.legend()
