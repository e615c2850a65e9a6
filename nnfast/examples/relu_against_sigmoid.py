"""ReLU against sigmoid: time of a step, and epochs until 95 % are right.

    relu(z) = max(0, z), derivative 1 or 0        sigmoid(z) = 1 / (1 + exp(-z)), derivative at most 1/4

Source: Glorot, Bordes, Bengio, Deep Sparse Rectifier Neural Networks (2011); Krizhevsky, Sutskever, Hinton (2012),
figure 1.
"""

import nnfast as nf

TARGET = 0.95
MOST_EPOCHS = 300


class Until(nf.Callback):
    """Stop when the validation accuracy reaches a target."""

    def __init__(self, target):
        self.target = target

    def on_epoch_end(self, epoch, logs):
        self.model.stop_training = logs["val_accuracy"] >= self.target


def network(activation, seed=0):
    """Four hidden layers for the digits."""
    start = "he_uniform" if activation == "relu" else "glorot_uniform"
    hidden = [nf.Dense(64, activation=activation, kernel_initializer=start) for _ in range(4)]
    model = nf.Sequential([*hidden, nf.Dense(10, activation="softmax")], input_shape=(64,), seed=seed)
    model.compile(nf.SGD(0.1, momentum=0.9), "cross_entropy", metrics=["accuracy"], n_threads=1)
    return model


def main(figure=None):
    (x, y), test = nf.datasets.digits()
    histories = {}
    for activation in ("relu", "sigmoid"):
        history = network(activation).fit(x, y, epochs=MOST_EPOCHS, validation_data=test, callbacks=Until(TARGET),
                                          verbose=0)
        seconds = min(network(activation).fit(x, y, epochs=5, verbose=0).seconds)
        print(f"{activation:7}: {history.history['val_accuracy'][-1]:.1%} of the test images right after "
              f"{len(history.epoch)} epochs; {seconds / -(-len(x) // 32) * 1e6:.0f} us a step")
        histories[activation] = history

    if figure is not None:
        left, right = figure.subplots(1, 2)
        for activation, history in histories.items():
            left.plot([epoch + 1 for epoch in history.epoch], history.history["val_accuracy"], ".-", label=activation)
            nf.plot.activation(activation, low=-4, high=4, ax=right)
        left.axhline(TARGET, color="black", linestyle=":", linewidth=1)
        left.set(xlabel="epoch", ylabel="accuracy on the test images", xscale="log", title="four hidden layers")
        left.legend()
        right.set(ylabel="f(z)", ylim=(-0.2, 4))
