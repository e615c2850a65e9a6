"""Writes keras_cnn.weights.h5, keras_cnn.keras and keras_mlp.weights.h5, and what Keras predicts, keras_nets.npz.

Run: python tests/oracles/make_keras_nets.py
"""
from pathlib import Path

import keras
import numpy as np


def main():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    cnn = keras.Sequential([
        keras.Input((10, 8, 3)), layers.Conv2D(4, 3, activation="relu"), layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.BatchNormalization(), layers.MaxPooling2D(2), layers.Conv2D(6, 1, use_bias=False), layers.Flatten(),
        layers.Dense(12, activation="tanh"), layers.BatchNormalization(scale=False),
        layers.Dense(4, activation="softmax"),
    ])
    # Two digits in the names of layers: their order is not that of the alphabet.
    mlp = keras.Sequential([keras.Input((5,)), *(layers.Dense(5, activation="tanh") for _ in range(12))])
    rng = np.random.default_rng(1)
    here, stored = Path(__file__).parent, {}
    for name, net, shape in (("cnn", cnn, (10, 8, 3)), ("mlp", mlp, (5,))):
        net.set_weights([(rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w) for w in net.get_weights()])
        x = rng.standard_normal((6, *shape)).astype(np.float32)
        stored |= {name + "_x": x, name + "_y": net.predict(x, verbose=0)}
        net.save_weights(here / f"keras_{name}.weights.h5")
    cnn.save(here / "keras_cnn.keras")
    np.savez_compressed(here / "keras_nets.npz", **stored)


if __name__ == "__main__":
    main()
