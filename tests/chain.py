"""A Sequential model computed by reference.py in float64, layer by layer: what convolutional models are compared with.

Reads the layers' public attributes and the model's parameters; places windows with nnfast.geometry, which has tests of
its own.
"""
import re

import numpy as np
import reference


def run(model, x, t, loss, training=False, weight=None):
    """A batch forward and backward, as (y, values, total, grads, dx, state).

    y is what `predict` gives, `values` the loss of each sample, `total` their weighted mean, `grads` its gradients by
    parameter name, dx its gradient with respect to x, `state` the running statistics after the step.
    """
    w = {name: value.astype(np.float64) for name, value in model.parameters.items()}
    x = np.asarray(x, dtype=np.float64)
    steps = [Step(layer, w, training) for layer in model.layers]
    y = x
    for step in steps:
        y = step.forward(y)
    if loss == "softmax_cross_entropy":
        values, dy = reference.LOSSES[loss](steps[-1].z, t)
    else:
        values, dy = reference.LOSSES[loss](y.reshape(len(y), -1), t.reshape(len(t), -1))
        dy = dy.reshape(y.shape)
    share = np.full(len(x), 1.0 / len(x)) if weight is None else weight / weight.sum()
    d = dy * share.reshape(-1, *[1] * (dy.ndim - 1))
    grads, state = {}, {}
    for i, step in reversed(list(enumerate(steps))):
        d = step.backward(d, fused=loss == "softmax_cross_entropy" and i == len(steps) - 1)
        grads.update(step.grads)
        state.update(step.state)
    return y, values, share @ values, grads, d, state


class Step:
    """One layer: its forward pass, and the backward pass that belongs to it."""

    def __init__(self, layer, w, training):
        self.layer, self.training, self.grads, self.state = layer, training, {}, {}
        self.kind = type(layer).__name__
        self.w = {name.split("/")[1]: value for name, value in w.items() if name.split("/")[0] == layer.name}
        self.activation = getattr(layer, "activation", None)
        if self.activation is not None and not isinstance(self.activation, str):
            self.activation, self.alpha = self.activation.activation, self.activation.alpha
        elif self.activation is not None:
            self.alpha = layer.alpha

    def forward(self, x):
        self.x = x
        self.z = z = getattr(self, re.sub("[12]D", "", self.kind))(x)
        return z if self.activation is None else reference.activation(self.activation, z, self.alpha)

    def backward(self, dy, fused):
        if self.activation is not None and not fused:
            dy = reference.activation_backward(self.activation, self.z, dy, self.alpha)
        return self.back(dy)

    def place(self):
        at = self.layer.window(self.x.shape[1:])
        return at, at.kernel, at.stride, at.padding

    def image(self, a):
        return a if a.ndim == 4 else a[:, None]

    def keep(self, **grads):
        self.grads = {f"{self.layer.name}/{name}": g for name, g in grads.items() if name in self.w}

    # Each method computes its layer and leaves the way back in self.back.

    def Dense(self, x):
        def back(dy):
            dx, dw, db = reference.dense_backward(x.reshape(-1, x.shape[-1]), self.w["kernel"],
                                                  dy.reshape(-1, dy.shape[-1]))
            self.keep(kernel=dw, bias=db)
            return dx.reshape(x.shape)

        self.back = back
        return reference.dense(x, self.w["kernel"], self.w.get("bias"))

    def Conv(self, x):
        at, *_ = self.place()
        w, groups = self.w["kernel"], self.layer.channels(x.shape[-1])[0]
        w = w if w.ndim == 4 else w[None]
        how = {"stride": at.stride, "padding": at.padding, "dilation": at.dilation, "groups": groups}
        y = reference.conv2d(self.image(x), w, self.w.get("bias"), **how)
        y = y if x.ndim == 4 else y[:, 0]

        def back(dy):
            dx, dw, db = reference.conv2d_backward(self.image(x), w, self.image(dy), **how)
            self.keep(kernel=dw.reshape(self.w["kernel"].shape), bias=db)
            return dx.reshape(x.shape)

        self.back = back
        return y

    DepthwiseConv = Conv

    def ConvTranspose(self, x):
        at, *_ = self.place()
        w = self.w["kernel"]
        w = w if w.ndim == 4 else w[None]
        how = {"stride": at.stride, "padding": at.padding, "dilation": at.dilation}
        y = reference.conv2d_transpose(self.image(x), w, at.input, self.w.get("bias"), **how)
        y = y if x.ndim == 4 else y[:, 0]

        def back(dy):
            dx, dw, db = reference.conv2d_transpose_backward(self.image(x), w, self.image(dy), **how)
            self.keep(kernel=dw.reshape(self.w["kernel"].shape), bias=db)
            return dx.reshape(x.shape)

        self.back = back
        return y

    def UpSampling(self, x):
        size = self.place()[1]
        y = reference.upsample2d(self.image(x), size)
        self.back = lambda dy: reference.upsample2d_backward(self.image(dy), size).reshape(x.shape)
        return y if x.ndim == 4 else y[:, 0]

    def MaxPool(self, x):
        _, *place = self.place()
        y = reference.max_pool2d(self.image(x), *place)
        self.back = lambda dy: reference.max_pool2d_backward(self.image(x), self.image(dy), *place).reshape(x.shape)
        return y if x.ndim == 4 else y[:, 0]

    def AvgPool(self, x):
        _, *place = self.place()
        place.append(self.layer.count_include_pad)
        v = self.image(x)
        y = reference.avg_pool2d(v, *place)
        self.back = lambda dy: reference.avg_pool2d_backward(self.image(dy), v.shape, *place).reshape(x.shape)
        return y if x.ndim == 4 else y[:, 0]

    def GlobalMaxPool(self, x):
        v = self.image(x)
        place = v.shape[1:3], (1, 1)
        self.back = lambda dy: reference.max_pool2d_backward(v, dy[:, None, None], *place).reshape(x.shape)
        return v.max(axis=(1, 2))

    def GlobalAvgPool(self, x):
        v = self.image(x)
        area = v.shape[1] * v.shape[2]
        self.back = lambda dy: np.broadcast_to(dy[:, None, None] / area, v.shape).reshape(x.shape)
        return v.mean(axis=(1, 2))

    def ZeroPadding(self, x):
        (top, bottom), (left, right) = self.layer.window(x.shape[1:]).padding
        self.back = lambda dy: dy[:, top:dy.shape[1] - bottom, left:dy.shape[2] - right]
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))

    def BatchNorm(self, x):
        channels, epsilon = x.shape[-1], self.layer.epsilon
        gamma, beta = self.w.get("gamma", np.ones(channels)), self.w.get("beta", np.zeros(channels))
        mean, variance = self.w["running_mean"], self.w["running_variance"]
        if self.training and self.layer.trainable:
            self.state = dict(zip((f"{self.layer.name}/running_mean", f"{self.layer.name}/running_variance"),
                                  reference.running(mean, variance, x, self.layer.momentum)))

            def back(dy):
                dx, dgamma, dbeta = reference.batch_norm_backward(x, gamma, dy, epsilon)
                self.keep(gamma=dgamma, beta=dbeta)
                return dx

            self.back = back
            return reference.batch_norm(x, gamma, beta, epsilon)

        def back_with_constants(dy):
            axes = tuple(range(x.ndim - 1))
            scale = 1 / np.sqrt(variance + epsilon)
            self.keep(gamma=(dy * (x - mean) * scale).sum(axis=axes), beta=dy.sum(axis=axes))
            return dy * gamma * scale

        self.back = back_with_constants
        return reference.batch_norm(x, gamma, beta, epsilon, mean, variance)

    def LayerNorm(self, x):
        gamma, beta = self.w.get("gamma", np.ones(x.shape[-1])), self.w.get("beta", np.zeros(x.shape[-1]))

        def back(dy):
            dx, dgamma, dbeta = reference.layer_norm_backward(x, gamma, dy, self.layer.epsilon)
            self.keep(gamma=dgamma, beta=dbeta)
            return dx

        self.back = back
        return reference.layer_norm(x, gamma, beta, self.layer.epsilon)

    def GroupNorm(self, x):
        gamma, beta = self.w.get("gamma", np.ones(x.shape[-1])), self.w.get("beta", np.zeros(x.shape[-1]))
        how = self.layer.epsilon, self.layer.groups

        def back(dy):
            dx, dgamma, dbeta = reference.group_norm_backward(x, gamma, dy, *how)
            self.keep(gamma=dgamma, beta=dbeta)
            return dx

        self.back = back
        return reference.group_norm(x, gamma, beta, *how)

    def Rescale(self, x):
        self.back = lambda dy: dy * self.layer.scale
        return x * self.layer.scale + self.layer.offset

    def Activation(self, x):
        self.back = lambda dy: dy
        return x

    def Flatten(self, x):
        self.back = lambda dy: dy.reshape(x.shape)
        return x.reshape(len(x), -1)

    def Reshape(self, x):
        self.back = lambda dy: dy.reshape(x.shape)
        return x.reshape(len(x), *self.layer.build([x.shape[1:]])[0])
