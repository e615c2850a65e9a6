"""Back-propagation by hand, on a network one can compute on paper.

    z = W x + b,  a = sigmoid(z),  y_hat = U a,  loss = (y_hat - y)^2
    delta = U * sigmoid'(z),   d y_hat / d W = delta x',  d y_hat / d b = delta,
    d y_hat / d U = a,         d y_hat / d x = W' delta,  d loss = 2 (y_hat - y) times these

Source: Nielsen, Neural Networks and Deep Learning (2015), chapter 2, BP1 to BP4; Rumelhart, Hinton, Williams (1986).
"""

import numpy as np

import nnfast as nf

X = np.array([2.0, 1.0, 2.0])
W = np.array([[1.0, 0.0, 1.0], [1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])
B = np.array([1.0, 1.0, 1.0])
U = np.array([-1.0, 1.0, 1.0])
Y = 1.0


def network():
    """The net in nnfast, whose kernels are (inputs, outputs): W and U turned."""
    model = nf.Sequential([
        nf.Dense(3, activation="sigmoid", name="hidden"),
        nf.Dense(1, use_bias=False, name="output"),
    ], input_shape=(3,), dtype="float64")
    model.set_weights([W.T, B, U[:, None]])
    model.compile("sgd", "squared_error")
    return model


def main(figure=None):
    z = W @ X + B
    a = nf.functional.sigmoid(z)
    y_hat = U @ a
    print(f"z = {z}, a = {a.round(4)}, y_hat = {y_hat:.4f}, loss = {(y_hat - Y) ** 2:.4f}")
    delta = U * nf.functional.sigmoid_backward(np.ones(3), a)
    print(f"delta = U * sigmoid'(z) = {delta.round(4)}")
    by_hand = {"hidden/kernel": np.outer(delta, X).T, "hidden/bias": delta, "output/kernel": a[:, None]}

    model = network()
    print(f"nnfast predicts {model.predict(X[None])[0, 0]:.4f}")
    grads, dx = model.vjp(X[None], [[1.0]])
    _, loss_grads = model.gradients(X[None], [[Y]])
    for name, expected in by_hand.items():
        print(f"d y_hat / d {name}: largest difference to the formula {np.abs(grads[name] - expected).max():.0e}, "
              f"d loss / d {name}: {np.abs(loss_grads[name] - 2 * (y_hat - Y) * expected).max():.0e}")
    print(f"d y_hat / d x = W' delta = {(W.T @ delta).round(4)}, nnfast {dx[0].round(4)}")
    errors = model.check_gradients(X[None], [[Y]])
    print(f"against finite differences: relative error at most {max(errors.values()):.0e}")

    if figure is not None:
        both = {"W": W, "d loss / d W": loss_grads["hidden/kernel"].T}
        for ax, (name, values) in zip(figure.subplots(1, 2), both.items()):
            largest = np.abs(values).max()
            ax.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest)
            for (i, j), value in np.ndenumerate(values):
                ax.text(j, i, f"{value:.4g}" if name == "W" else f"{value:.4f}", ha="center", va="center",
                        color="white" if abs(value) > 0.7 * largest else "black")
            ax.set(title=name, xlabel="input", ylabel="hidden unit", xticks=range(3), yticks=range(3))
