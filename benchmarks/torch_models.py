"""The networks of ``architectures.py`` in PyTorch: a plain loop over pre-sliced batches, no shuffle, no DataLoader."""

import numpy as np
import torch
from torch import nn

from . import torch_net
from .architectures import initial
from .torch_net import versions

__all__ = ["VARIANTS", "Trainer", "reference_losses", "versions"]

VARIANTS = {"models": {"eager": "step", "channels_last": "step", "compile": "step"}}


def normalized(convolution, dimensions=2):
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[dimensions]
    return [convolution, norm(convolution.out_channels), nn.ReLU()]


def convolved(inputs, outputs, size=3, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(*normalized(convolved(inputs, outputs, stride=stride)),
                                  *normalized(convolved(outputs, outputs))[:2])
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(
            *normalized(convolved(inputs, outputs, 1, stride))[:2])

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet20(inputs):
    layers, channels = normalized(convolved(3, 16)), 16
    for filters in (16, 32, 64):
        for block in range(3):
            layers.append(Residual(channels, filters, 2 if block == 0 and filters > 16 else 1))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mobile(inputs):
    layers, channels = normalized(convolved(3, 32)), 32
    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        layers += normalized(convolved(channels, channels, 3, stride, channels))
        layers += normalized(convolved(channels, filters, 1))
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Gates(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels, squeezed):
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(),
                                  nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid())

    def forward(self, x):
        return x * self.body(x)


class Inverted(nn.Module):
    """A block of MobileNetV3."""

    def __init__(self, inputs, size, expanded, outputs, squeezed, activation, stride):
        super().__init__()
        layers = [] if expanded == inputs else activated(convolved(inputs, expanded, 1), activation)
        layers += activated(convolved(expanded, expanded, size, stride, expanded), activation)
        layers += [Gates(expanded, squeezed)] if squeezed else []
        self.body = nn.Sequential(*layers, *activated(convolved(expanded, outputs, 1))[:2])
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


def activated(convolution, activation=nn.Hardswish):
    return [convolution, nn.BatchNorm2d(convolution.out_channels, 1e-3, 0.01), activation()]


def mobilenet_v3(inputs):
    blocks = [(3, 16, 16, 8, nn.ReLU, 2), (3, 72, 24, 0, nn.ReLU, 2), (3, 88, 24, 0, nn.ReLU, 1),
              (5, 96, 40, 24, nn.Hardswish, 2), (5, 240, 40, 64, nn.Hardswish, 1), (5, 240, 40, 64, nn.Hardswish, 1),
              (5, 120, 48, 32, nn.Hardswish, 1), (5, 144, 48, 40, nn.Hardswish, 1), (5, 288, 96, 72, nn.Hardswish, 2),
              (5, 576, 96, 144, nn.Hardswish, 1), (5, 576, 96, 144, nn.Hardswish, 1)]
    layers, channels = activated(convolved(3, 16, 3, 2)), 16
    for block in blocks:
        layers.append(Inverted(channels, *block))
        channels = block[2]
    return nn.Sequential(*layers, *activated(convolved(96, 576, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, 10))


class UNet(nn.Module):
    def __init__(self, filters=(16, 32, 64, 128), classes=3):
        super().__init__()
        self.down = nn.ModuleList([level(*pair) for pair in zip((1, *filters), filters)])
        # Registered in the order in which they run.
        self.up = nn.ModuleList([
            nn.ModuleList([nn.ConvTranspose2d(below, own, 2, 2), level(2 * own, own)])
            for own, below in reversed(list(zip(filters, filters[1:])))])
        self.last = nn.Conv2d(filters[0], classes, 1)

    def forward(self, x):
        skipped = []
        for own in self.down[:-1]:
            skipped.append(own(x))
            x = torch.max_pool2d(skipped[-1], 2)
        x = self.down[-1](x)
        for (larger, own), skip in zip(self.up, reversed(skipped)):
            x = own(torch.cat([skip, larger(x)], dim=1))
        return self.last(x)


def level(inputs, outputs):
    return nn.Sequential(*normalized(convolved(inputs, outputs)), *normalized(convolved(outputs, outputs)))


def unet(inputs):
    return UNet()


def autoencoder(inputs):
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))


def signal(inputs):
    layers, channels = [], 2
    for filters in (32, 64, 128):
        layers += [*normalized(nn.Conv1d(channels, filters, 7, padding=3, bias=False), 1), nn.MaxPool1d(2)]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 5))


class Text(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.embedding, self.convolution, self.last = nn.Embedding(words, 64), nn.Conv1d(64, 128, 5), nn.Linear(128, 2)

    def forward(self, ids):
        return self.last(torch.relu(self.convolution(self.embedding(ids).transpose(1, 2))).amax(dim=2))


def text(inputs):
    return Text(inputs[0].ids)


class Table(nn.Module):
    def __init__(self, ids):
        super().__init__()
        self.embedding = nn.Embedding(ids, 8)
        self.dense = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, numbers, ids):
        return self.dense(torch.cat([numbers, self.embedding(ids).flatten(1)], dim=1))


def table(inputs):
    return Table(inputs[1].ids)


def layer_norm(inputs):
    layers, width = [], 128
    for _ in range(3):
        layers += [nn.Linear(width, 256), nn.LayerNorm(256), nn.GELU()]
        width = 256
    return nn.Sequential(*layers, nn.Linear(width, 10))


def load(model):
    """The initial weights."""
    number = 0
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.copy_(torch.from_numpy(weights(number, module, name, tuple(parameter.shape))))
                number += 1


def weights(number, module, name, shape):
    """Of a kernel PyTorch has the last two axes first, and the others behind them."""
    if name == "bias" or len(shape) == 1:
        return initial(number, "zeros" if name == "bias" else "ones", shape)
    if isinstance(module, nn.Embedding):
        return initial(number, "embedding", shape)
    kernel = initial(number, "kernel", (*shape[2:], shape[1], shape[0]))
    return kernel.transpose(kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))


def inputs_of(x):
    return x if isinstance(x, tuple) else (x,)


def tensor(x, memory_format):
    """Of what NumPy has channels last."""
    if x.ndim == 4:
        return torch_net.image_batch(x, memory_format)
    x = torch.from_numpy(x)
    return x.transpose(1, 2).contiguous() if x.ndim == 3 and x.is_floating_point() else x


def loss_function(workload):
    if workload.classes and workload.target:    # a class for each pixel, whose losses nnfast adds up
        return lambda outputs, y: nn.functional.cross_entropy(outputs, y, reduction="none").flatten(1).sum(dim=1).mean()
    if workload.classes:
        return nn.functional.cross_entropy
    return lambda outputs, y: (outputs - y).square().flatten(1).sum(dim=1).mean()


class Step(torch_net.OptimizerStep):
    """forward, backward, ``torch.optim`` step of a network with several inputs."""

    def __init__(self, problem, compiled, memory_format=torch.contiguous_format, dtype=torch.float32, **implementation):
        self.problem, self.memory_format, self.implementation = problem, memory_format, implementation
        self.model = globals()[problem.workload.name](problem.workload.inputs)
        self.model.to(memory_format=memory_format, dtype=dtype)
        loss, model = loss_function(problem.workload), self.model
        self.forward = lambda x, y: loss(model(*x), y)
        if compiled:
            self.forward = torch.compile(self.forward)

    def load(self):
        load(self.model)


class Trainer(torch_net.Trainer):
    """As of a stack of layers: the fastest spelling of the variant."""

    def spellings(self, variant):
        problem = self.problem
        if variant == "compile":
            torch.compiler.reset()
            return {"fused optimizer": lambda: Step(problem, True, fused=True),
                    "fused optimizer, channels_last": lambda: Step(problem, True, torch.channels_last, fused=True)}
        memory_format = torch.channels_last if variant == "channels_last" else torch.contiguous_format
        return {"fused optimizer": lambda: Step(problem, False, memory_format, fused=True),
                "foreach optimizer": lambda: Step(problem, False, memory_format, foreach=True)}

    def batch(self, x, y):
        memory_format = self.step.memory_format
        y = tensor(y, memory_format) if y.dtype == np.float32 else torch.from_numpy(y.astype(np.int64))
        return tuple(tensor(part, memory_format) for part in inputs_of(x)), y


def reference_losses(problem, n_steps):
    """The loss curve in float64."""
    step = Step(problem, False, dtype=torch.float64, foreach=False)
    step.reset()
    losses = []
    for x, y in problem.batches()[:n_steps]:
        x = tuple(tensor(part, torch.contiguous_format) for part in inputs_of(x))
        x = tuple(part.double() if part.is_floating_point() else part for part in x)
        target = tensor(y, torch.contiguous_format).double() if y.dtype == np.float32 else torch.from_numpy(y).long()
        losses.append(step(x, target).item())
    return losses
