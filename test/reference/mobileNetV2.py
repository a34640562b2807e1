"""Writes mobileNetV2.json: MobileNetV2 as a backbone of faces, in PyTorch (rules: networks.py).

Sandler et al. 2018 (arXiv 1801.04381), table 2; the last map's output in place of pool and classifier.

Run: python3 test/reference/mobileNetV2.py      (PyTorch and numpy; CPU, half a minute)
"""

import math

from torch import nn

from networks import Named, conv_bn, output as output_of, write

TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def divisible(v):
    n = max(8, int(v + 4) // 8 * 8)
    return n if n >= 0.9 * v else n + 8


class Unit(nn.Module):
    """Inverted residual. `block(cin, cout, kernel, stride, groups, active)` is a convolution with its batch norm."""

    def __init__(self, block, cin, wide, cout, kernel, stride, attention=None):
        super().__init__()
        self.expand = block(cin, wide, 1, 1, 1, True) if wide != cin else nn.Identity()
        self.depthwise = block(wide, wide, kernel, stride, wide, True)
        self.attention = attention or nn.Identity()
        self.project = block(wide, cout, 1, 1, 1, False)
        self.same = stride == 1 and cin == cout

    def forward(self, x):
        y = self.project(self.attention(self.depthwise(self.expand(x))))
        return x + y if self.same else y


def block(cin, cout, kernel, stride, groups, active):
    return conv_bn(cin, cout, kernel, stride, kernel // 2, groups, **({"activation": nn.ReLU6()} if active else {}))


def last_map(size, stride):
    return [math.ceil(n / (16 * stride)) for n in size]


def mobile_net(stemStride=1, embeddingSize=128, inputSize=(112, 112), width=1, dropout=0.0, **rest):
    c = divisible(32 * width)
    stem = block(3, c, 3, stemStride, 1, True)
    units = []
    for t, channels, n, s in TABLE:
        for i in range(n):
            out = divisible(channels * width)
            units.append(Unit(block, c, t * c, out, 3, s if i == 0 else 1))
            c = out
    last = divisible(1280 * max(1, width))
    return Named({"stem": stem, "units": nn.Sequential(*units), "head": block(c, last, 1, 1, 1, True),
                  "output": output_of(rest.get("output", "GDC"), *last_map(inputSize, stemStride), last, embeddingSize, dropout)})


if __name__ == "__main__":
    full = [dict(), dict(stemStride=2), dict(output="E"), dict(width=0.5, output="GAP"), dict(width=1.4, inputSize=[112, 96])]
    full.append(dict(stemStride=2, inputSize=[224, 224], output="GAP"))
    small = dict(width=0.125, inputSize=[48, 32], embeddingSize=8, dropout=0)
    write(__file__, mobile_net, 15, full, [dict(small), dict(small, output="E", stemStride=2, inputSize=[96, 64])])
