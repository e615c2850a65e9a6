"""Vanishing gradients: each sigmoid layer shrinks the error that comes back.

    delta_l = sigmoid'(z_l) * W_{l+1} delta_{l+1},   sigmoid' <= 1/4,
    so |delta_l| / |delta_{l+1}| <= |W_{l+1}| / 4    (|W| the largest singular value)

A relu passes the error on unchanged wherever it is active.

Source: Hochreiter (1991); Bengio, Simard, Frasconi (1994); Glorot, Bengio (2010), section 4.
"""

import numpy as np

import nnfast as nf


def network(activation, depth, width=32):
    start = "he_normal" if activation == "relu" else "glorot_uniform"
    layers = [nf.Dense(width, activation=activation, kernel_initializer=start) for _ in range(depth)]
    model = nf.Sequential([*layers, nf.Dense(10, activation="softmax")], input_shape=(64,), seed=1, dtype="float64")
    model.compile(nf.SGD(0.1), "cross_entropy", metrics=["accuracy"])
    return model


def shrinkage(model, x, y):
    """|delta_l| / |delta_{l+1}| of one sample for each hidden layer, and its bound |W_{l+1}| / 4."""
    _, grads = model.gradients(x, y)
    norms = np.array([np.linalg.norm(g) for name, g in grads.items() if name.endswith("bias")])
    bounds = np.array([np.linalg.norm(w, 2) / 4 for w in model.get_weights()[2::2]])
    return norms[:-1] / norms[1:], bounds


def main(figure=None):
    (x, y), _ = nf.datasets.digits()
    records = {}
    for activation in ("sigmoid", "relu"):
        for depth in (2, 4, 8):
            model = network(activation, depth)
            record = nf.callbacks.GradientNorms(x[:256], y[:256])
            history = model.fit(x, y, epochs=5, callbacks=record, verbose=0)
            norms = [values[0] for values in record.norms.values()]
            print(f"{activation:7} {depth} hidden layers: gradient norm of the first {norms[0]:.1e}, of the last "
                  f"{norms[-1]:.1e}; accuracy after 5 epochs {history.history['accuracy'][-1]:.0%}")
            records[activation, depth] = record

    model = network("sigmoid", 8)
    ratios, bounds = zip(*(shrinkage(model, x[i:i + 1], y[i:i + 1]) for i in range(50)))
    print(f"50 samples, 8 sigmoid layers: |delta_l| / |delta_l+1| is {np.mean(ratios):.2f} on average, at most "
          f"{np.max(np.divide(ratios, bounds)):.0%} of its bound |W| / 4")

    if figure is not None:
        left, right = figure.subplots(1, 2)
        for (activation, depth), record in records.items():
            nf.plot.gradient_norms(record, at=0, ax=left, label=f"{activation}, {depth} hidden layers",
                                   color="C0" if activation == "sigmoid" else "C1", alpha=depth / 8)
        left.set_title("before training")
        nf.plot.activation("sigmoid", ax=right)
        right.set_title("the derivative of the sigmoid is at most 1/4")
