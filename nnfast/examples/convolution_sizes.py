"""How many weights: a convolution against a dense layer, and the shapes of VGG.

    convolution: R S C K weights, whatever the size of the image;   dense: (H W C) (H W K)
    "same" keeps height and width, a pooling of 2 halves them: 224, 112, 56, 28, 14, 7

Layers called on `nf.Input` say shapes and parameters without making any array.
Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.2; Simonyan, Zisserman (2014), table 1, D.
"""

import math

import nnfast as nf
from nnfast.models.convolutional import VGG_BLOCKS


def parameters(value):
    """Of the layer that made this value."""
    return sum(math.prod(spec.shape) for spec in value.specs)


def vgg16():
    """(name, output shape, parameters) of the blocks and dense layers."""
    value, rows = nf.Input((224, 224, 3)), []
    for number, filters in enumerate(VGG_BLOCKS[16], start=1):
        count = 0
        for k in filters:
            value = nf.Conv2D(k, 3, padding="same", activation="relu")(value)
            count += parameters(value)
        value = nf.MaxPool2D(2)(value)
        rows.append((f"block {number}: {len(filters)} convolutions, pooling", value.shape, count))
    value = nf.Flatten()(value)
    for units in (4096, 4096, 1000):
        value = nf.Dense(units)(value)
        rows.append((f"dense {units}", value.shape, parameters(value)))
    return rows


def main(figure=None):
    maps = nf.Input((32, 32, 128))
    conv = parameters(nf.Conv2D(128, 5, padding="same", use_bias=False)(maps))
    dense = parameters(nf.Dense(32 * 32 * 128, use_bias=False)(nf.Flatten()(maps)))
    print(f"5 x 5 convolution, 128 to 128 channels: {conv:,} weights; dense on 32 x 32 pixels of them: {dense:,}")
    pixels = nf.Input((1000, 1000, 1))
    dense = parameters(nf.Dense(10**6, use_bias=False)(nf.Flatten()(pixels)))
    conv = parameters(nf.Conv2D(1, 3, padding="same", use_bias=False)(pixels))
    print(f"10^6 pixels to 10^6 units: {dense:,} weights ({dense * 4 / 1e12:g} TB), a 3 x 3 convolution {conv}")

    rows = vgg16()
    print("VGG-16 on 224 x 224 x 3")
    for name, shape, count in (*rows, ("together", (), sum(count for _, _, count in rows))):
        print(f"  {name:36} {' x '.join(map(str, shape)):15} {count:12,}")

    if figure is not None:
        ax = figure.subplots()
        for shift, counts, label in ((-0.2, [math.prod(shape) for _, shape, _ in rows], "numbers in the output"),
                                     (0.2, [count for _, _, count in rows], "parameters")):
            ax.bar([i + shift for i in range(len(rows))], counts, width=0.4, label=label)
        ax.set_xticks(range(len(rows)), [name.partition(":")[0] for name, _, _ in rows])
        ax.set(yscale="log", xlabel="part of VGG-16", ylabel="count", title="most weights are in one layer")
        ax.legend()
