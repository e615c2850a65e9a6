"""Small models and data of tests that train them."""
import nnfast as nf


def classes(rng, n=64):
    x = rng.standard_normal((n, 4))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] > 1)


def classifier(**arguments):
    model = nf.Sequential([nf.Dense(8, activation="tanh"), nf.Dense(3, activation="softmax")],
                          **{"input_shape": (4,), "seed": 0, "dtype": "float64", **arguments})
    model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"])
    return model


def regressor(loss="squared_error", optimizer=None, **arguments):
    model = nf.Sequential([nf.Dense(6, activation="tanh"), nf.Dense(2)],
                          **{"input_shape": (3,), "seed": 0, "dtype": "float64", **arguments})
    model.compile(optimizer or nf.SGD(0.05), loss)
    return model


def same_weights(a, b):
    return all((v == w).all() for v, w in zip(a.get_weights(), b.get_weights(), strict=True))


def half_plane(activation="sigmoid", slope=9.0):
    """A model whose boundary is x_1 = 0.25."""
    model = nf.Sequential([nf.Dense(1, activation=activation)], input_shape=(2,))
    model.set_weights([[[slope], [0.0]], [-0.25 * slope]])
    return model
