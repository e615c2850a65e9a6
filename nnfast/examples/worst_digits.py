"""Which examples and which pixels cause most of the error.

    l_i = -log p(y_i | x_i), the loss of one example, and d l_i / d x_i, its gradient over the pixels

A pixel with a positive gradient would raise the loss if it held more ink: it speaks against the right class.

Source: Simonyan, Vedaldi, Zisserman, Deep Inside Convolutional Networks (2013), section 3, with the loss in place of
the score.
"""

import numpy as np

import nnfast as nf


def trained(seed=0):
    (x, y), test = nf.datasets.digits()
    model = nf.Sequential([
        nf.Dense(64, activation="relu", kernel_regularizer=nf.L2(1e-3)),
        nf.Dense(10, activation="softmax"),
    ], input_shape=(64,), seed=seed)
    model.compile(nf.Adam(3e-3), "cross_entropy", metrics=["accuracy"])
    model.fit(x, y, epochs=30, verbose=0)
    return model, *test


def main(figure=None):
    model, x, y = trained()
    losses = model.per_sample_loss(x, y)
    p = model.predict(x)
    worst = np.argsort(losses)[::-1][:10]
    print(f"{model.evaluate(x, y)['accuracy']:.1%} of {len(y)} test images right; the ten with the largest loss have "
          f"{losses[worst].sum() / losses.sum():.0%} of the whole")
    gradient = model.input_gradient(x[worst], y[worst]).reshape(-1, 8, 8)
    print("image  is  taken for     p(right)  loss   largest gradient at pixel (row, column)")
    for i, g in zip(worst, gradient):
        row, column = np.unravel_index(np.abs(g).argmax(), g.shape)
        print(f"{i:5}  {y[i]:2}  {p[i].argmax()} (p = {p[i].max():.2f})  {p[i, y[i]]:8.3f}  {losses[i]:5.2f}  "
              f"({row}, {column})")

    if figure is not None:
        for ax, i in zip(figure.subplots(2, 5).flat, worst):
            nf.plot.saliency(model, x[i], y[i], shape=(8, 8), colorbar=False, ax=ax)
            ax.set_title(f"{y[i]} taken for {p[i].argmax()}, loss {losses[i]:.1f}", fontsize="medium")
        figure.suptitle("the ten worst digits: ink on red pixels raises the loss, on blue ones it lowers it")
