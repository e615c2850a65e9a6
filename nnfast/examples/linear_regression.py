"""Linear regression is a network of one linear unit.

    y_hat = x theta + b,   minimise 1/N sum_i (y_hat_i - y_i)^2 + l2/2 sum theta^2 + l1 sum |theta|

The intercept b is not penalised. With l2 this is ridge regression, Ridge(alpha = N l2 / 2) in scikit-learn; with l1 the
lasso, Lasso(alpha = l1 / 2), which leaves coefficients out altogether.

Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 3.3, 3.12 and 3.27; Tibshirani (1996).
"""

import numpy as np

import nnfast as nf
from nnfast.examples import _data


def least_squares(x, y):
    """The minimum without penalties from the normal equations (Bishop, eq. 3.15), to compare."""
    return np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]


def fit(x, y, **penalty):
    model = nf.models.linear_regression(x.shape[1], dtype="float64", **penalty)
    model.fit(x, y, solver="lbfgs", verbose=0)
    return model, np.concatenate([w.ravel() for w in model.get_weights()])


def main(figure=None):
    images, _ = _data.digits()
    # A pixel from its eight neighbours.
    x, y = np.delete(images[:, 3:6, 3:6].reshape(-1, 9), 4, axis=1), images[:, 4, 4]
    names = [f"({row}, {column})" for row in (3, 4, 5) for column in (3, 4, 5) if (row, column) != (4, 4)]
    model, theta = fit(x, y)
    print(f"digits: pixel (4, 4) from its neighbours, {len(x):,} images")
    print("  theta =", theta[:-1].round(3), f"b = {theta[-1]:.3f}")
    print(f"  largest difference to the normal equations: {np.abs(theta - least_squares(x, y)).max():.0e}")
    print(f"  mean squared error {model.evaluate(x, y)['loss']:.4f}, variance of y {y.var():.4f}")

    if (data := _data.table("diabetes")) is not None:
        from sklearn.linear_model import Ridge

        x, y, names = data
        difference = fit(x, y, l2=2 * 10 / len(x))[1][:-1] - Ridge(alpha=10).fit(x, y).coef_
        print(f"diabetes: progress of the disease from 10 measurements, {len(x)} patients")
        print(f"  largest difference to scikit-learn's Ridge(alpha=10): {np.abs(difference).max():.0e}")
    strengths = np.logspace(-4, 0, 9) * 2 * y.std()
    paths = {key: [fit(x, y, **{key: value})[1][:-1] for value in strengths] for key in ("l2", "l1")}
    for key, path in paths.items():
        print(f"  {key} from {strengths[0]:.2g} to {strengths[-1]:.2g}: sum |theta| {np.abs(path[0]).sum():.3g} to "
              f"{np.abs(path[-1]).sum():.2g}, zeros: {sum(path[-1] == 0)}")

    if figure is not None:
        titles = "ridge: all of them shrink", "lasso: one after another is 0"
        for ax, (key, path), title in zip(figure.subplots(1, 2, sharey=True), paths.items(), titles):
            lines = ax.plot(strengths, path)
            ax.set(xscale="log", xlabel=f"penalty {key}", title=title)
        figure.axes[0].set_ylabel("coefficients theta")
        ax.legend(lines, names, fontsize="small")
