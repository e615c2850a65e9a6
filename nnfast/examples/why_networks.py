"""Why networks: a hidden layer bends the line until the data is linear.

    y_hat = a theta + b is a straight line in a; with a = tanh(x W + c) it is a curve in x

The last layer of a network is a linear regression. What the layers before it learn is a representation in which that
is enough.

Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.1; Cybenko (1989); Hornik (1991).
"""

import numpy as np

import nnfast as nf


def curve(n=200, seed=0):
    """A wave with a little noise, (n, 1) and (n, 1)."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-3, 3, (n, 1)), axis=0)
    return x, np.sin(1.5 * x) + 0.1 * rng.standard_normal((n, 1))


def network(x, y, seed=0):
    model = nf.Sequential([
        nf.Dense(3, activation="tanh", name="hidden"),
        nf.Dense(1, name="output"),
    ], input_shape=(1,), seed=seed, dtype="float64")
    model.compile(loss="squared_error")
    model.fit(x, y, solver="lbfgs", epochs=500, verbose=0)
    return model


def main(figure=None):
    x, y = curve()
    line = nf.models.linear_regression(1, dtype="float64")
    line.fit(x, y, solver="lbfgs", verbose=0)
    model = network(x, y)
    print(f"variance of y {y.var():.4f}; noise 0.0100")
    print(f"mean squared error of a straight line {line.evaluate(x, y)['loss']:.4f} (2 parameters)")
    print(f"of a network with 3 tanh units {model.evaluate(x, y)['loss']:.4f} ({model.count_params()} parameters)")

    a = model.submodel("hidden").predict(x)
    in_hidden = nf.models.linear_regression(3, dtype="float64")
    in_hidden.fit(a, y, solver="lbfgs", verbose=0)
    print(f"of linear regression on the hidden values {in_hidden.evaluate(a, y)['loss']:.4f}: linear there")

    if figure is not None:
        left, middle, right = figure.subplots(1, 3)
        left.plot(x, y, ".", color="0.7", label="data")
        left.plot(x, line.predict(x), label="straight line")
        left.plot(x, model.predict(x), label="network")
        left.set(xlabel="x", ylabel="y", ylim=(-1.3, 2.1), title="a line and a network")
        left.legend(fontsize="small", loc="upper right")
        middle.plot(x, a)
        middle.set(xlabel="x", ylabel="a", title="the three hidden units")
        right.plot(model.predict(x), y, ".", color="0.5")
        right.axline((0, 0), slope=1, color="C1")
        right.set(xlabel=r"$a\,\theta + b$", ylabel="y", title="linear in a")
