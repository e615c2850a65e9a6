"""What objects look like: the call that makes them, without what is at its default."""
import re

import numpy as np
import pytest

import nnfast as nf


def frozen(layer):
    layer.trainable = False
    return layer


class Own(nf.Callback):
    def __init__(self, x, limit, *more, scale=1.0, **options):
        self.x, self.limit, self.scale = x, limit, scale


@pytest.mark.parametrize(("value", "text"), [
    (nf.Dense(3), "Dense(3)"),
    (nf.Dense(3, activation="relu", use_bias=False), "Dense(3, activation='relu', use_bias=False)"),
    (nf.Dense(3, nf.Activation("elu", alpha=0.5)), "Dense(3, activation=Activation('elu', alpha=0.5))"),
    (nf.Dense(3, nf.Activation("elu")), "Dense(3, activation='elu')"),
    (nf.Dense(3, kernel_initializer="he_normal", kernel_regularizer=nf.L2(0.5)),
     "Dense(3, kernel_initializer=HeNormal(), kernel_regularizer=L2(l2=0.5))"),
    (frozen(nf.Dense(3, name="head")), "Dense(3, name='head', trainable=False)"),
    (nf.Conv2D(8, 3, padding="same"), "Conv2D(8, 3, padding='same')"),
    (nf.Conv2D(8, (3, 5), stride=(2, 2), padding=((1, 0), (2, 2))),
     "Conv2D(8, (3, 5), stride=2, padding=((1, 0), (2, 2)))"),
    (nf.Conv1D(8, 3, dilation=2), "Conv1D(8, 3, dilation=2)"),
    (nf.DepthwiseConv2D(3, depth_multiplier=2), "DepthwiseConv2D(3, depth_multiplier=2)"),
    (nf.Conv2DTranspose(8, 4, stride=2, padding="same"), "Conv2DTranspose(8, 4, stride=2, padding='same')"),
    (nf.Conv1DTranspose(8, 3, 2, output_padding=1), "Conv1DTranspose(8, 3, stride=2, output_padding=1)"),
    (nf.UpSampling2D((2, 3)), "UpSampling2D(size=(2, 3))"),
    (nf.UpSampling1D(), "UpSampling1D()"),
    (nf.MaxPool2D(2), "MaxPool2D(2)"),
    (nf.MaxPool2D(3, stride=2), "MaxPool2D(3, stride=2)"),
    (nf.AvgPool1D(2, count_include_pad=True), "AvgPool1D(2, count_include_pad=True)"),
    (nf.GlobalAvgPool(), "GlobalAvgPool()"),
    (nf.BatchNorm(momentum=0.5), "BatchNorm(momentum=0.5)"),
    (nf.LayerNorm(scale=False), "LayerNorm(scale=False)"),
    (nf.Embedding(1000, 16), "Embedding(1000, 16)"),
    (nf.Embedding(9, 2, "zeros", trainable=False), "Embedding(9, 2, kernel_initializer=Zeros(), trainable=False)"),
    (nf.Reshape((4, 4)), "Reshape((4, 4))"),
    (nf.Concatenate(), "Concatenate()"),
    (nf.Rescale(0.5), "Rescale(0.5)"),
    (nf.Lambda(np.negative, frozen), "Lambda(negative, frozen)"),
    (nf.Input((4,)), "Input((4,))"),
    (nf.Input((3, 8, 8), name="x", data_format="channels_first"),
     "Input((3, 8, 8), name='x', data_format='channels_first')"),
    (nf.Dense(2)(nf.Input(3)), "<Value of dense, shape (2,)>"),
    (nf.Adam(), "Adam(learning_rate=0.001)"),
    (nf.SGD(0.1, momentum=0.9, nesterov=True), "SGD(learning_rate=0.1, momentum=0.9, nesterov=True)"),
    (nf.SGD(frozen), "SGD(learning_rate=frozen)"),
    (nf.Adam(nf.schedules.Cosine(0.1, 100)), "Adam(learning_rate=Cosine(initial=0.1, total_steps=100))"),
    (nf.L1L2(), "L1L2(l1=0.01, l2=0.01)"),
    (nf.CrossEntropy(), "CrossEntropy()"),
    (nf.CrossEntropy(from_logits=True), "CrossEntropy(from_logits=True)"),
    (nf.Huber(), "Huber(delta=1.0)"),
    (nf.CustomLoss(frozen), "CustomLoss(function=frozen)"),
    (nf.TopKAccuracy(), "TopKAccuracy(k=5)"),
    (nf.metrics.Accuracy(), "Accuracy()"),
    (nf.EarlyStopping(), "EarlyStopping(monitor='val_loss')"),
    (nf.EarlyStopping("loss", patience=3), "EarlyStopping(monitor='loss', patience=3)"),
    (nf.LambdaCallback(on_epoch_end=frozen), "LambdaCallback(on_epoch_end=frozen)"),
    (nf.callbacks.Checkpoint("folder", every=5), "Checkpoint(folder='folder', every=5)"),
    (nf.callbacks.ReduceLROnPlateau(factor=0.5), "ReduceLROnPlateau(monitor='val_loss', factor=0.5)"),
    (nf.callbacks.GradientNorms(np.eye(2), [0, 1]), "<GradientNorms: 0 records of 0 layers, one every epoch>"),
    (nf.Callback(), "Callback()"),
    (Own(np.eye(3), 5, 6, scale=2.0), "Own(x=<array (3, 3)>, limit=5, scale=2.0)"),
    (nf.optimize.gradient_descent(lambda x: x * x, lambda x: 2 * x, 1.0, lr=0.5, max_iter=2),
     "<Descent: converged after 2 steps, f(x) = 0>"),
], ids=str)
def test_repr_is_the_call_that_makes_it(value, text):
    assert repr(value) == text


def test_repr_of_layers_in_a_model_leaves_automatic_names_out():
    model = nf.Sequential([nf.Dense(2, name="first"), nf.Dense(2), nf.Dense(2)], input_shape=(3,))
    assert str(model.clone().layers) == "[Dense(2, name='first'), Dense(2), Dense(2)]"


def test_repr_of_a_layer_whose_constructor_is_not_known():
    class Block(nf.Dense):
        def __init__(self, width):
            super().__init__(2 * width)

    assert repr(Block(3)).startswith("Block(units=6, activation='linear', use_bias=True, ")


def test_repr_of_histories():
    history = nf.History()
    assert repr(history) == "<History: 0 epochs>"
    history.on_epoch_end(0, {"loss": 0.123456, "accuracy": 1.0})
    assert repr(history) == "<History: 1 epoch, last loss=0.1235, accuracy=1>"


@pytest.mark.parametrize("module, name, text", [
    (nf, "BatchNormalization", "module 'nnfast' has no attribute 'BatchNormalization'; here it is called 'BatchNorm'"),
    (nf, "Linear", "here it is called 'Dense'"), (nf, "MaxPooling2D", "here it is called 'MaxPool2D'"),
    (nf, "Conv2d", "did you mean 'Conv2D'"), (nf, "qwertz", "attribute 'qwertz'$"),
    (nf, "__path_to__", "'__path_to__'$"),
    (nf.callbacks, "ModelCheckpoint", "here it is called 'Checkpoint'"),
    (nf, "ReLU", r"; use nf\.Activation\('relu'\)$"), (nf, "LeakyReLU", r"; use nf\.Activation\('leaky_relu'\)$"),
    (nf, "ReLU6", r"; use nf\.Activation\('relu6'\)$"), (nf, "Hardswish", r"; use nf\.Activation\('hard_swish'\)$"),
    (nf, "train_test_split", r"; use nf\.data\.train_test_split$"), (nf, "AdamOptimizer", "here it is called 'Adam'$"),
    (nf, "MSELoss", r"here it is called 'SquaredError' \(summed over the outputs, not averaged\)$"),
    (nf, "BCEWithLogitsLoss", r"use nf\.BinaryCrossEntropy\(from_logits=True\) \(summed over the outputs, not"),
    (nf, "CrossEntropyLoss", r"; use nf\.CrossEntropy\(from_logits=True\)$"),
    (nf, "maxpool", "did you mean 'MaxPool.D'"),
    *[(nf, name, f"attribute '{name}'$") for name in ("nn", "Adadelta", "Adamax", "Nadam", "Conv3D", "Hardtanh")],
])
def test_names_of_other_libraries(module, name, text):
    with pytest.raises(AttributeError, match=text):
        getattr(module, name)


@pytest.mark.parametrize("get, name, text", [
    (nf.losses.get, "mse", "'squared_error' (summed over the outputs, not averaged) ("),
    (nf.losses.get, "l1", "'absolute_error' (summed over the outputs, not averaged) ("),
    (nf.losses.get, "SmoothL1Loss", "'huber' (summed over the outputs, not averaged) ("),
    (nf.losses.get, "bce", "'binary_cross_entropy' (summed over the outputs, not averaged) ("),
    (nf.losses.get, "BCEWithLogitsLoss", "use nf.BinaryCrossEntropy(from_logits=True) (summed"),
    (nf.losses.get, "sparse_categorical_crossentropy", "'cross_entropy' (known"),
    (nf.metrics.get, "sparse_categorical_accuracy", "here it is called 'accuracy' (known"),
    (nf.metrics.get, "r2_score", "here it is called 'r2' (known"),
    (nf.initializers.get, "xavier_uniform_", "here it is called 'glorot_uniform' (known"),
    (nf.initializers.get, "kaiming_normal", "here it is called 'he_normal' (known"),
    (nf.initializers.get, "he", "here it is called 'he_normal' (known"),
    (nf.optimizers.get, "AdamOptimizer", "here it is called 'adam' (known"),
    (nf.Activation, "identity", "here it is called 'linear' (known"),
    (nf.Activation, "ReLU", "did you mean 'relu'?"), (nf.Activation, "Hardsigmoid", "did you mean 'hard_sigmoid'?"),
    (nf.Activation, "hard_silu", "here it is called 'hard_swish' (known"),
    *[(get, name, f"'{name}' (known: ") for get, name in [
        (nf.metrics.get, "rmse"), (nf.metrics.get, "mape"), (nf.metrics.get, "l1"), (nf.losses.get, "hinge"),
        (nf.initializers.get, "random_normal"), (nf.initializers.get, "truncated_normal"),
        (nf.optimizers.get, "adadelta"), (nf.optimizers.get, "adamax"), (nf.Activation, "hardtanh"),
        (nf.Activation, "celu"), (nf.Activation, "softsign")]],
])
def test_names_of_other_libraries_in_tables(get, name, text):
    with pytest.raises(ValueError, match=f"unknown .*{re.escape(text)}"):
        get(name)
