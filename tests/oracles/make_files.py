"""Writes the model files of the current format, format<n>_*.safetensors, and what their models predict, format<n>.npz.

A file of a released format is never written again: later versions must read it as it is. Run it for a new format only:
python tests/oracles/make_files.py
"""
from pathlib import Path

import numpy as np

import nnfast as nf
from nnfast.files import FORMAT


def models():
    dense = nf.Sequential([
        nf.Input((6,), name="petals"), nf.Rescale(0.5, -1.0),
        nf.Dense(5, activation=nf.Activation("leaky_relu", alpha=0.2), kernel_regularizer=nf.L1L2(1e-4, 1e-3)),
        nf.Dropout(0.2), nf.Dense(3, activation="softmax", name="species")], seed=7, name="iris")
    dense.compile(nf.Adam(nf.schedules.WarmUp(5, nf.schedules.Cosine(0.01, 100)), clip_norm=1.0), "cross_entropy",
                  metrics=["accuracy", nf.TopKAccuracy(2)])
    dense.class_names = ["setosa", "versicolor", "virginica"]
    image = nf.Input((2, 9, 8), name="image", data_format="channels_first")
    h = nf.Activation("relu")(nf.BatchNorm()(nf.Conv2D(4, 3, stride=2, padding="same", use_bias=False)(image)))
    h = nf.Add()([h, nf.DepthwiseConv2D(3, padding=1, activation="silu")(h)])
    h = nf.Concatenate()([nf.MaxPool2D(2)(h), nf.AvgPool2D(2, count_include_pad=True)(h)])
    out = [nf.Dense(3, activation="softmax", name="kind")(nf.Flatten()(nf.ZeroPadding2D(1)(h))),
           nf.Dense(1, name="size")(nf.Concatenate()([nf.GlobalAvgPool()(h), nf.GlobalMaxPool()(h)]))]
    conv = nf.Model(image, out, seed=3, dtype="float64", name="conv")
    conv.compile(nf.SGD(0.01, momentum=0.9, nesterov=True), {"kind": "cross_entropy", "size": nf.Huber(0.5)},
                 loss_weights={"kind": 1.0, "size": 0.25}, metrics={"kind": ["accuracy"]}, regularizer=nf.L2(1e-3))
    return {"dense": dense, "conv": conv}


def main():
    here, rng, stored = Path(__file__).parent, np.random.default_rng(0), {}
    for name, model in models().items():
        x = rng.integers(-32, 33, (24, *model.input_shapes[0])).astype(np.int8)
        labels = rng.integers(0, 3, 24).astype(np.int32)
        y = labels if name == "dense" else [labels, x[:, 0, 0, :1] / 16]
        model.fit(x / 16, y, epochs=2, batch_size=8, verbose=0)
        model.save(here / f"format{FORMAT}_{name}.safetensors")
        predicted = model.predict(x / 16)
        for i, array in enumerate(predicted if isinstance(predicted, list) else [predicted]):
            stored[f"{name}_y{i}"] = array
        stored |= {f"{name}_x": x, f"{name}_labels": labels}
        # What training does next, from the optimizer's state in the file.
        stored[f"{name}_loss"] = np.array(model.fit(x / 16, y, epochs=1, batch_size=8, verbose=0).history["loss"])
    np.savez_compressed(here / f"format{FORMAT}.npz", **stored)


if __name__ == "__main__":
    main()
