"""What a convolutional network sees: its filters, their feature maps, and what it confuses.

    map_k = relu(x * w_k + b_k), one image per filter: bright where the image looks like the filter

Source: LeCun, Bottou, Bengio, Haffner, Gradient-Based Learning Applied to Document Recognition (1998), section II;
Zeiler, Fergus (2014).
"""

import numpy as np

import nnfast as nf


def trained(seed=0):
    (x, y), test = nf.datasets.digits(flatten=False)
    model = nf.Sequential([
        nf.Conv2D(8, 3, padding="same", activation="relu"),
        nf.MaxPool2D(2),
        nf.Conv2D(16, 3, padding="same", activation="relu"),
        nf.Flatten(),
        nf.Dense(10, activation="softmax"),
    ], input_shape=(8, 8, 1), seed=seed)
    model.compile(nf.Adam(3e-3), "cross_entropy", metrics=["accuracy"])
    model.fit(x, y, epochs=15, verbose=0)
    return model, *test


def main(figure=None):
    model, x, y = trained()
    print(f"{model.count_params():,} parameters, {model.evaluate(x, y)['accuracy']:.1%} of {len(y)} test images right")
    maps = model.submodel("conv2d").predict(x[:1])[0]
    print(f"the first layer turns an image of {x.shape[1:]} into maps of {maps.shape}")
    for k in range(maps.shape[-1]):
        row, column = np.unravel_index(maps[..., k].argmax(), maps.shape[:2])
        print(f"  filter {k}: largest at pixel ({row}, {column}), {maps[row, column, k]:.2f}; "
              f"zero on {np.mean(maps[..., k] == 0):.0%} of the image")
    # The largest value of a map is the product of the filter with the window there.
    k = maps.max(axis=(0, 1)).argmax()
    row, column = np.unravel_index(maps[..., k].argmax(), maps.shape[:2])
    window = np.pad(x[0, ..., 0], 1)[row:row + 3, column:column + 3]
    kernel, bias = model.get_weights()[:2]
    print(f"filter {k} by hand: {(window * kernel[..., 0, k]).sum() + bias[k]:.4f}, nnfast {maps[row, column, k]:.4f}")

    if figure is not None:
        figure.set_size_inches(10, 8)
        (a, b), (c, d) = figure.subplots(2, 2)
        nf.plot.filters(model, "conv2d", columns=4, titles=range(8), ax=a)
        nf.plot.feature_maps(model, x[0], "conv2d", columns=4, titles=range(8), ax=b)
        nf.plot.saliency(model, x[0], y[0], colorbar=False, ax=c)
        nf.plot.confusion_matrix(y, model.predict(x), ax=d)
        a.set_title("filters")
        b.set_title(f"feature maps of an image of {y[0]}")
        c.set_title("its loss rises with ink on red pixels")
        d.set_title("confusion matrix")
