"""Writes torch_nets.npz: names, shapes and logits of PyTorch networks whose weights `weights` draws.

The weights themselves are not stored: they come from NumPy's RandomState, whose stream is frozen, in the order of the
state dict. Run with torchvision installed: python tests/oracles/make_torch_nets.py
"""
import json
import zlib
from pathlib import Path

import numpy as np


def weights(net, shapes):
    """The state dict of a network by name, {name: shape} -> {name: array}; also its input, under the name "input"."""
    # The one generator whose stream never changes.
    random = np.random.RandomState(zlib.crc32(net.encode()))  # noqa: NPY002
    state = {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            value = 0.5 + random.random_sample(shape)
        elif len(shape) > 1 and name != "input":
            value = random.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            value = random.standard_normal(shape) + (name.endswith(".weight"))
        state[name] = value.astype(np.float32)
    return state


def networks():
    import torchvision
    from torch import nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8)
            self.point = nn.Conv2d(16, 8, 1, groups=2)
            self.features = nn.BatchNorm1d(8 * 16)
            self.head = nn.Linear(8 * 16, 5)

        def forward(self, x):
            x = self.norm(self.stem(x)).relu()
            x = x + self.point(self.depthwise(x).sigmoid())
            return self.head(self.features(x.flatten(1)))

    vgg = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
           nn.MaxPool2d(2)]
    channels = 16
    for filters in (32, 64, 64):
        vgg += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.Conv2d(filters, filters, 3, padding=1),
                nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    return {
        "mlp": (nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 10)), (20,)),
        "lenet": (nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5),
                                nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Tanh(),
                                nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)), (1, 28, 28)),
        # VGG-11 with an eighth of the filters, on 64 x 64 pixels: 2 x 2 are left where it is flattened.
        "vgg11": (nn.Sequential(*vgg, nn.Flatten(), nn.Linear(256, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512),
                                nn.ReLU(), nn.Dropout(), nn.Linear(512, 10)), (3, 64, 64)),
        "residual": (Residual(), (3, 8, 8)),
        "signal": (nn.Sequential(nn.Conv1d(4, 6, 5, dilation=2, padding=4), nn.BatchNorm1d(6), nn.ReLU(),
                                 nn.MaxPool1d(2), nn.Flatten(), nn.Linear(6 * 15, 3)), (4, 30)),
        "normalized": (nn.Sequential(nn.Conv2d(2, 5, 2), nn.Flatten(), nn.LayerNorm(60), nn.Linear(60, 9),
                                     nn.LayerNorm(9, eps=1e-3, bias=False), nn.Tanh(), nn.Linear(9, 4)), (2, 5, 4)),
        "decoder": (nn.Sequential(nn.ConvTranspose2d(6, 9, 4, stride=2, padding=1), nn.ReLU(),
                                  nn.Upsample(scale_factor=2),
                                  nn.ConvTranspose2d(9, 4, (3, 5), stride=(2, 3), padding=(1, 2),
                                                     output_padding=(1, 2), bias=False),
                                  nn.BatchNorm2d(4), nn.Tanh(), nn.ConvTranspose2d(4, 2, 3, dilation=2)), (6, 2, 1)),
        "grouped": (nn.Sequential(nn.Conv2d(2, 8, 2, bias=False), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 6, 2),
                                  nn.InstanceNorm2d(6, affine=True), nn.Tanh(), nn.AdaptiveAvgPool2d(1),
                                  nn.Flatten(), nn.Linear(6, 9), nn.GroupNorm(3, 9), nn.Tanh(),
                                  nn.Linear(9, 4)), (2, 5, 4)),
        "mobilenet_v2": (torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=5), (3, 40, 48)),
        "mobilenet_v3_small": (torchvision.models.mobilenet_v3_small(width_mult=0.5, num_classes=5), (3, 40, 48)),
        "mobilenet_v3_large": (torchvision.models.mobilenet_v3_large(width_mult=0.35, num_classes=5), (3, 40, 48)),
        "efficientnet": (torchvision.models.efficientnet_b0(num_classes=5), (3, 40, 48)),
    }


def main():
    import torch

    stored = {}
    for name, (net, shape) in networks().items():
        shapes = {key: list(value.shape) for key, value in net.state_dict().items()
                  if not key.endswith("num_batches_tracked")}
        state = weights(name, shapes | {"input": [4, *shape]})
        x = torch.from_numpy(state.pop("input")).double()
        net.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
        with torch.no_grad():
            stored[name] = net.double().eval()(x).float().numpy()
        stored[name + "_shapes"] = np.array(json.dumps(shapes | {"input": [4, *shape]}))
    np.savez_compressed(Path(__file__).with_name("torch_nets.npz"), **stored)


if __name__ == "__main__":
    main()
