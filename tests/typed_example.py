"""What a program of a user's looks like to a type checker: mypy --strict must find nothing here (test_typing.py).

Every line that ends in a comment "error: ..." is a mistake; mypy must report it, with an error of that code.
"""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import nnfast as nf
from nnfast.typing import Array, Logs


class LossBelow(nf.Callback):
    """Ends training where the loss is small enough."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.losses: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        loss = logs["loss"]
        self.losses.append(loss)
        if loss < self.limit:
            self.model.stop_training = True


class Diary(nf.Callback):
    """Notes the epochs, with the signature that all of its methods could have."""

    epochs: list[int]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epochs = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epochs.append(epoch)


class Halving(nf.schedules.Schedule):
    """Half the rate every so many steps."""

    def __init__(self, initial: float, steps: int) -> None:
        self.initial = initial
        self.steps = steps

    def rates(self, t: Array) -> Array:
        return np.asarray(self.initial * 0.5 ** (t // self.steps))


class Matrix:
    """As a sparse one of SciPy's."""

    def tocsr(self) -> Any: ...


def log_cosh(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    d = y_pred - y_true
    return np.log(np.cosh(d)).sum(axis=1), np.tanh(d)


def text() -> nf.Sequential:
    return nf.Sequential([
        nf.Embedding(1000, output_dim=16, kernel_initializer="lecun_normal", kernel_regularizer=nf.L2(1e-5)),
        nf.Conv1D(32, 3, activation="relu"), nf.GlobalMaxPool(), nf.Dense(2, activation="softmax"),
    ], input_shape=(20,))


def segmentation(x: NDArray[np.float32], y: NDArray[np.uint8]) -> NDArray[np.float32]:
    model = nf.models.unet((32, 32, 1), classes=3, depth=2, width=0.25, batch_norm=True)
    model.compile("adam", nf.CrossEntropy(ignore_label=255), metrics=["mean_iou", nf.MeanIoU(name="again")])
    model.fit(x, y, class_weight={0: 0.5}, augment=[nf.augment.Flip(), nf.augment.Shift(2)], verbose=0)
    loss, gradient = nf.functional.softmax_cross_entropy(x, y, ignore_label=255)
    assert_type(loss, float)
    nf.plot.label_maps(y, x, class_names=["a", "b", "c"], ignore_label=255)
    return gradient


def sequential(folder: Path) -> NDArray[np.float32]:
    (x, y), (x_test, y_test) = nf.datasets.digits(flatten=False)
    model = nf.Sequential([
        nf.Rescale(2, offset=-1),
        nf.Conv2D(8, 3, stride=(1, 1), padding="same", kernel_initializer="he_normal", kernel_regularizer=nf.L2(1e-4)),
        nf.BatchNorm(),
        nf.Activation("leaky_relu", alpha=0.1),
        nf.MaxPool2D(2),
        nf.ZeroPadding2D(((1, 0), (0, 1))),
        nf.DepthwiseConv2D((3, 3), padding=1, activation=nf.Activation("elu", alpha=0.5)),
        nf.AvgPool2D(2, stride=1, padding="valid", count_include_pad=True),
        nf.Conv2DTranspose(4, (4, 4), stride=2, padding="same", output_padding=0, activation="relu"),
        nf.UpSampling2D((1, 2)),
        nf.LayerNorm(1e-5, scale=True),
        nf.Flatten(),
        nf.Dropout(0.1),
        nf.Dense(10, activation="softmax", bias_initializer=nf.initializers.Constant(0.1)),
    ], input_shape=(8, 8, 1), seed=0, dtype="float32", name="digits")
    assert_type(model, nf.Sequential)
    model.compile(nf.Adam(nf.schedules.Cosine(1e-2, total_steps=200), clip_norm=1.0), loss="cross_entropy",
                  metrics=["accuracy", nf.TopKAccuracy(3)], n_threads=1)
    stop = nf.EarlyStopping("val_accuracy", patience=2, mode="max", restore_best=True)
    norms = nf.callbacks.GradientNorms(x[:32], y[:32])
    checkpoint = nf.callbacks.Checkpoint(folder, every="epoch", monitor="val_loss", keep=2)
    history = model.fit(x, y, batch_size=64, epochs=2, validation_split=0.1, class_weight="balanced",
                        callbacks=[stop, norms, checkpoint, nf.ProgressBar(0)], verbose=0,
                        augment=[nf.augment.Shift(1), nf.augment.Noise(0.01)])
    assert_type(history, nf.History)
    assert_type(history.history, dict[str, list[float]])
    assert_type(history.epoch, list[int])
    print(f"{history.history['loss'][-1]:.3f} after {sum(history.seconds):.1f} s, {stop.best_epoch}, {norms.norms}")

    assert_type(model.evaluate(x_test, y_test), dict[str, float])
    assert_type(model.train_on_batch(x[:8], y[:8], sample_weight=[1.0] * 8)["loss"], float)
    loss, grads = model.gradients(x[:8], y[:8])
    assert_type(loss, float)
    model.apply_gradients({name: 0.5 * grad for name, grad in grads.items()})
    model.set_parameters({name: w * 0.5 for name, w in model.parameters.items()})
    model.set_weights(model.get_weights())
    model.get_layer("dense").trainable = False
    model.optimizer.learning_rate = 1e-4
    model.class_names = [str(i) for i in range(10)]
    model.metadata = {"made": "today"}
    model.save(folder / "digits.safetensors", include_optimizer=False)
    again = nf.load(str(folder / "digits.safetensors"))
    assert_type(again, nf.Model)
    copy = nf.from_json(model.to_json(indent=2)).clone(dtype="float64")
    print(again, copy.count_params(), copy.input_shape[0] + 1, model.layers[0].name.upper())
    model.submodel("conv2d").summary()
    nf.onnx.export(again, folder / "digits.onnx", data_format="channels_first")
    nf.export_c(again, folder / "digits.c", weights="auto")
    nf.interop.from_torch_state_dict(again, nf.interop.to_torch_state_dict(model))
    classes: NDArray[np.intp] = again.predict(x_test).argmax(axis=1)
    print(classes.mean(), model.input_gradient(x_test, y_test).shape, model.per_sample_loss(x_test, y_test).max())
    result: NDArray[np.float32] = model.predict(x_test.tolist(), batch_size=100)
    return result


def graph(x: NDArray[np.float32]) -> None:
    a, b = nf.Input((4,), name="a"), nf.Input(3, name="b")
    assert_type(a.shape, tuple[int, ...])
    h = nf.Dense(8, activation="tanh")(nf.Concatenate(axis=-1)([a, b]))
    h = nf.Add()([h, nf.Lambda(lambda z: z * z, lambda dy, z, y: 2 * z * dy)(h)])
    model = nf.Model([a, b], [nf.Dense(2, name="policy")(h), nf.Dense(1, name="value")(h)], seed=None)
    model.compile(nf.SGD(Halving(0.1, 100), momentum=0.9), loss={"policy": nf.Huber(0.5), "value": log_cosh},
                  metrics={"value": ["mae"]}, loss_weights=[1.0, 0.5], regularizer="l2")
    data = {"a": x[:, :4], "b": x[:, 4:7]}
    small = LossBelow(1e-3)
    model.fit(data, [x[:, :2], x[:, :1]], epochs=3, callbacks=[small, Diary()], verbose=2, shuffle=True)
    policy, value = model.predict([data["a"], data["b"]])
    grads, dxs = model.vjp(data, [np.ones_like(policy), np.ones_like(value)], training=True)
    print(small.losses, {name: grad.shape for name, grad in grads.items()}, dxs[0].shape)


def residual() -> nf.Model:
    x = image = nf.Input((8, 8, 3))
    for _ in range(2):
        x = nf.Add()([x, nf.Conv2D(3, 3, padding="same", activation="relu")(x)])
    return nf.Model(image, nf.Dense(2)(nf.GlobalAvgPool()(x)))


def batches() -> None:
    def generate() -> Any:
        for _ in range(3):
            yield np.ones((2, 3)), np.zeros((2, 1))

    model = nf.Sequential([nf.Dense(1)])
    model.compile(loss="squared_error")
    model.fit(generate, epochs=2, verbose=0)
    nf.fit_many([model], [[1.0, 2.0, 3.0]], [[0.0]], epochs=1, n_threads=2)[0].history["loss"].sort()
    nf.fit_many(range(2), [[1.0, 2.0, 3.0]], [[0.0]], model=model, epochs=1)[1].predict([[1.0, 2.0, 3.0]])


def mathematics() -> None:
    x, w = np.ones((1, 5, 5, 2)), np.ones((3, 3, 2, 4))
    y = nf.functional.conv2d(x, w, stride=2, padding=((1, 1), (1, 1)), activation="relu", n_threads=1)
    dx, dw, db = nf.functional.conv2d_backward(x, w, np.ones_like(y), 2, 1)
    print(dx.shape, dw.sum(), db[0], nf.functional.max_pool2d(y, 2).mean(), nf.functional.softmax(y[0, 0]).sum())
    loss, dlogits = nf.functional.softmax_cross_entropy(y[0, 0], np.array([0, 1, 2]))
    print(f"{loss:.2f}", dlogits.shape, nf.functional.entropy([0.5, 0.5]))
    descent = nf.optimize.gradient_descent(lambda p: float((p**2).sum()), lambda p: 2 * p, [1.0, 2.0], lr=0.1)
    print(descent.x, descent.converged, len(descent.path), descent.values[-1])
    print(nf.optimize.check_gradient(np.sin, np.cos, 1.0).error, nf.optimize.numerical_gradient(np.sin, 0.5))
    line = nf.models.linear_regression(2, l2=0.1)
    print(line.fit([[1.0, 2.0]], [1.0], solver="lbfgs", verbose=0).message, nf.models.resnet(8))
    train, test = nf.data.train_test_split(np.arange(10), test_size=3)
    print(train, test, nf.data.encode_labels(["cat", "dog"])[1], nf.data.normalization(x).name)


def estimators(x: Array, y: Array) -> None:
    net = nf.sklearn.NNClassifier((32,), learning_rate_init=0.01, early_stopping=True, class_weight={0: 2.0})
    assert_type(net.fit(x, y), nf.sklearn.NNClassifier)
    print(net.predict(x).shape, net.predict_proba(x)[0], net.coefs_[0].shape)
    print(nf.sklearn.NNRegressor(16, solver="lbfgs").fit(x, y).predict(x).mean())
    print(nf.sklearn.LinearRegression(l2=0.5).fit(x, y).coef_.shape)


def pictures(model: nf.Model, x: Array) -> None:
    nf.plot.history(model, keys=["loss"], save="loss.png")
    nf.plot.images(x, columns=4)
    nf.show_config()


def mistakes(model: nf.Model, x: Array, y: Array) -> None:
    nf.Dense("3")  # error: arg-type
    nf.Dense(3, activaton="relu")  # error: call-arg
    nf.Conv2D(8, 3, padding="sane")  # error: arg-type
    nf.Sequential([nf.Dense(2), "relu"])  # error: list-item
    nf.Denes(3)  # error: attr-defined
    nf.callbacks.Checkpont("folder")  # error: attr-defined
    nf.Adam(lr=0.1)  # error: call-arg
    nf.Adam(0.1).learnin_rate = 0.2  # error: attr-defined
    nf.EarlyStopping(mode="more")  # error: arg-type
    model.compile(nf.Dense(3), "squared_error")  # error: arg-type
    model.fit(1, y)  # error: arg-type
    model.fit(x, y, epochs="x")  # error: arg-type
    model.fit(x, y, verbose=3)  # error: arg-type
    model.fit(x, y, callbacks=[print])  # error: list-item
    model.fit(x, y, augment=nf.Dropout(0.1))  # error: arg-type
    model.fit(Matrix(), y)
    model.train_on_batch(Matrix(), y)
    model.train_on_batch(x, Matrix())  # error: arg-type
    model.input_gradient(Matrix(), y)  # error: arg-type
    model.predit(x)  # error: attr-defined
    model.evaluate(x, y)["loss"].upper()  # error: attr-defined
    model.predict(x).argmx()  # error: union-attr
    model.save(3)  # error: arg-type
    nf.load(b"file")  # error: arg-type
    nf.functional.relu([1.0])  # error: arg-type
    nf.fit_many(model, x, y)  # error: call-overload
    nf.sklearn.NNClassifier(solver="lbgfs").fit(x, y)  # error: arg-type
