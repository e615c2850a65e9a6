"""Logistic regression is a network of one sigmoid unit; its loss is the likelihood.

    p = sigmoid(x theta + b),   likelihood prod_i p_i^y_i (1 - p_i)^(1 - y_i)
    -1/N log likelihood = -1/N sum_i y_i log p_i + (1 - y_i) log(1 - p_i), the binary cross-entropy

Two softmax units say the same: softmax(z)_1 = sigmoid(z_1 - z_0).

Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 4.87 to 4.91.
"""

import numpy as np

import nnfast as nf
from nnfast.examples import _data


def main(figure=None):
    images, labels = _data.digits()
    chosen = (labels == 3) | (labels == 8)
    x, y = images[chosen].reshape(-1, 64), (labels[chosen] == 8).astype(float)
    n = len(x)
    model = nf.models.logistic_regression(64, l2=1 / n, dtype="float64")
    history = model.fit(x, y, solver="lbfgs", verbose=0)
    p = model.predict(x)[:, 0]
    print(f"digits 3 and 8: {n} images, {history.message.lower()}")
    print(f"  accuracy {history.history['accuracy'][-1]:.1%}")

    likelihood = np.prod(np.where(y == 1, p, 1 - p))
    print(f"  likelihood of all labels {likelihood:.3e}, -log of it / N = {-np.log(likelihood) / n:.6f}")
    print(f"  binary cross-entropy                              {model.per_sample_loss(x, y[:, None]).mean():.6f}")

    # The same model as two softmax units with theta_0 = 0.
    theta, b = model.get_weights()
    pair = nf.models.softmax_regression(64, 2, dtype="float64")
    pair.set_weights([np.column_stack([0 * theta, theta]), np.array([0, b[0]])])
    print(f"  largest difference to a two-class softmax: {np.abs(pair.predict(x)[:, 1] - p).max():.0e}")

    if (data := _data.table("breast_cancer")) is not None:
        from sklearn.linear_model import LogisticRegression

        x2, y2, _ = data
        ours = nf.models.logistic_regression(30, l2=1 / len(x2), dtype="float64")
        ours.fit(x2, y2, solver="lbfgs", verbose=0)
        theirs = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12).fit(x2, y2)
        print(f"breast cancer: {len(x2)} cases, accuracy {ours.evaluate(x2, y2)['accuracy']:.1%}; largest difference "
              f"to scikit-learn's coefficients {np.abs(ours.get_weights()[0] - theirs.coef_.T).max():.0e}")

    if figure is not None:
        left, right = figure.subplots(1, 2)
        nf.plot.filters(model, shape=(8, 8), ax=left)
        left.set_title("theta: red pixels speak for 8, blue for 3")
        for value, name in ((0, "3"), (1, "8")):
            right.hist(p[y == value], bins=np.linspace(0, 1, 21), alpha=0.6, label=f"images of {name}")
        right.set(xlabel="p(8)", ylabel="images", yscale="log", title="what the model says")
        right.legend()
