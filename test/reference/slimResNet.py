"""Writes slimResNet.json: ResNets v1, v2 and v2-m as InsightFace-tensorflow has them, in PyTorch (rules: networks.py).

He et al. 2015 and 2016 (arXiv 1512.03385, 1603.05027). v1 and v2 stride in the last unit of blocks 1 to 3, v2-m in the first
of each block. TensorFlow's SAME pool pads the odd pixel after; its strided convolutions are padded on both sides alike.

Run: python3 test/reference/slimResNet.py      (PyTorch and numpy; CPU, half a minute)
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from networks import Flatten, Named, scaled, write

UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
EPS = 2e-5


def block(cin, cout, k, stride=1, linear=False):
    activation = {} if linear else {"activation": nn.LeakyReLU(0.2)}
    return Named({"conv": nn.Conv2d(cin, cout, k, stride, k // 2, bias=False), "bn": nn.BatchNorm2d(cout, EPS, 0.1), **activation})


class V1(nn.Module):
    def __init__(self, cin, cout, narrow, stride):
        super().__init__()
        self.shortcut = nn.MaxPool2d(1, stride) if cin == cout else block(cin, cout, 1, stride, linear=True)
        self.branch = [block(cin, narrow, 1), block(narrow, narrow, 3, stride), block(narrow, cout, 1, linear=True)]
        self.conv1, self.conv2, self.conv3 = self.branch

    def forward(self, x):
        return (self.shortcut(x) + self.conv3(self.conv2(self.conv1(x)))).relu()


class V2(nn.Module):
    def __init__(self, cin, cout, narrow, stride, slope):
        super().__init__()
        self.preact = nn.BatchNorm2d(cin, EPS, 0.1)
        self.shortcut = None if cin == cout else nn.Conv2d(cin, cout, 1, stride)
        if narrow:
            self.conv1, self.conv2 = block(cin, narrow, 1), block(narrow, narrow, 3, stride)
            self.last = nn.Conv2d(narrow, cout, 1)
        else:
            self.conv1, self.conv2 = block(cin, cout, 3, stride), nn.Identity()
            self.last = nn.Conv2d(cout, cout, 3, padding=1)
        self.stride, self.slope = stride, slope

    def forward(self, x):
        start = F.leaky_relu(self.preact(x), self.slope)
        shortcut = self.shortcut(start) if self.shortcut else F.max_pool2d(x, 1, self.stride)
        return shortcut + self.last(self.conv2(self.conv1(start)))


class SamePool(nn.Module):
    """3x3, stride 2, SAME."""

    def forward(self, x):
        sides = []
        for n in (x.shape[3], x.shape[2]):
            total = max(0, (math.ceil(n / 2) - 1) * 2 + 3 - n)
            sides += [total // 2, total - total // 2]
        return F.max_pool2d(F.pad(x, sides, value=-math.inf), 3, 2)


class Unscaled(nn.Module):
    """Batch norm of [N, C] without a weight."""

    def __init__(self, c):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(c))
        self.norm = nn.BatchNorm1d(c, EPS, 0.1, affine=False)

    def forward(self, x):
        return self.norm(x) + self.bias


class SlimResNet(nn.Module):
    def __init__(self, version="v2-m", depth=50, embeddingSize=512, inputSize=(112, 112), width=1, dropout=0.0):
        super().__init__()
        modified = version == "v2-m"
        basic = modified and depth == 50
        c = scaled(64, width)
        self.stem = (nn.Conv2d(3, c, 3, 1, 1) if modified else block(3, c, 7, 2) if version == "v1" else nn.Conv2d(3, c, 7, 2, 3))
        self.pool = nn.Identity() if modified else SamePool()
        h, w = inputSize if modified else (math.ceil(n / 4) for n in inputSize)
        units = []
        for i, n in enumerate((3, 4, 14, 3) if basic else UNITS[depth]):
            base = scaled(64 << i, width)
            out = base if basic else 4 * base
            for k in range(n):
                stride = (2 if k == 0 else 1) if modified else (2 if k == n - 1 and i < 3 else 1)
                units.append(V1(c, out, base, stride) if version == "v1"
                             else V2(c, out, None if basic else base, stride, 0.2 if modified else 0))
                c = out
                h, w = math.ceil(h / stride), math.ceil(w / stride)
        self.units = nn.Sequential(*units)
        self.output = Named({"bn": nn.BatchNorm2d(c, EPS, 0.1), "dropout": nn.Dropout(dropout), "flatten": Flatten(),
                             "fc": nn.Linear(h * w * c, embeddingSize), "embedding": Unscaled(embeddingSize)})

    def forward(self, x):
        return self.output(self.units(self.pool(self.stem(x))))


if __name__ == "__main__":
    full = [dict(version=v, depth=d) for v in ("v1", "v2", "v2-m") for d in UNITS]
    small = dict(width=0.125, inputSize=[48, 32], embeddingSize=8, dropout=0)
    runs = [dict(small, version=v, depth=d) for v, d in (("v1", 50), ("v2", 50), ("v2-m", 50), ("v2-m", 101))]
    write(__file__, SlimResNet, 13, full, runs)
