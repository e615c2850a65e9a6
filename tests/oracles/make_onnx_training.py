"""Writes training.onnx, a network that PyTorch exported, and training.npz, the losses of 20 further steps of PyTorch's.

Inputs are stored as integers over 16. Run: python tests/oracles/make_onnx_training.py
"""
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STEPS, BATCH = 20, 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.hidden = nn.Linear(8 * 2 * 2, 12)
        self.last = nn.BatchNorm1d(12)
        self.head = nn.Linear(12 + 8, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = x + F.silu(self.point(F.leaky_relu(self.depthwise(x), 0.1)))
        x = self.pool(x)
        h = torch.tanh(self.last(self.hidden(x.flatten(1))))
        return self.head(torch.cat([h, x.mean((2, 3))], 1))


def main():
    torch.manual_seed(4)
    here = Path(__file__).parent
    rng = np.random.default_rng(0)
    x = rng.integers(-32, 33, (STEPS * BATCH, 2, 10, 8)).astype(np.int8)
    labels = rng.integers(0, 5, STEPS * BATCH).astype(np.int32)
    net = Net()
    with torch.no_grad():
        for _ in range(10):     # running statistics that are not those of a new network
            net(torch.from_numpy(rng.standard_normal((32, 2, 10, 8)).astype(np.float32)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(net.eval(), (torch.zeros(2, 2, 10, 8),), here / "training.onnx", dynamo=False,
                          dynamic_axes={"x": {0: "N"}, "y": {0: "N"}}, input_names=["x"], output_names=["y"],
                          training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    data = torch.from_numpy(x / np.float32(16))
    with torch.no_grad():
        logits = net(data[:8]).numpy()
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        loss = F.cross_entropy(net(data[rows]), torch.from_numpy(labels[rows]).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        after = net.eval()(data[:8]).numpy()
    np.savez_compressed(here / "training.npz", x=x, labels=labels, losses=losses, before=logits, after=after)
    print(losses)


if __name__ == "__main__":
    main()
