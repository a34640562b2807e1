"""Writes mobileNetV3.json: MobileNetV3, large and small, as backbones of faces, in PyTorch (rules: networks.py).

Howard et al. 2019 (arXiv 1905.02244), tables 1 and 2; the last map's output in place of pool, hidden layer and classifier.

Run: python3 test/reference/mobileNetV3.py      (PyTorch and numpy; CPU, half a minute)
"""

from torch import nn

from mobileNetV2 import Unit, divisible, last_map
from networks import Flatten, Named, write

# kernel, expanded, out, squeeze and excitation, hard swish, stride
LARGE = ((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
         (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
         (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1))
SMALL = ((3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2), (5, 240, 40, 1, 1, 1),
         (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1), (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1),
         (5, 576, 96, 1, 1, 1))
NORM = dict(eps=1e-3, momentum=0.01)


class Squeeze(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, divisible(c / 4)), nn.Linear(divisible(c / 4), c)

    def forward(self, x):
        return x * nn.functional.hardsigmoid(self.fc2(self.fc1(x.mean((2, 3))).relu()))[:, :, None, None]


def conv_bn(cin, cout, kernel, stride=1, padding=0, groups=1, **activation):
    return Named({"conv": nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False),
                  "bn": nn.BatchNorm2d(cout, **NORM), **activation})


def blocks(activation):
    return lambda cin, cout, kernel, stride, groups, active: conv_bn(
        cin, cout, kernel, stride, kernel // 2, groups, **({"activation": activation()} if active else {}))


def output_of(kind, h, w, c, d, dropout):
    """The last map to embeddings: E or GDC."""
    top = {"bn": nn.BatchNorm2d(c, **NORM)} if kind == "E" else {"depthwise": conv_bn(c, c, (h, w), groups=c)}
    return Named({**top, "dropout": nn.Dropout(dropout), "flatten": Flatten(), "fc": nn.Linear(c * h * w if kind == "E" else c, d),
                  "embedding": nn.BatchNorm1d(d, **NORM)})


def mobile_net(size="large", stemStride=1, embeddingSize=128, inputSize=(112, 112), width=1, dropout=0.0, **rest):
    c = divisible(16 * width)
    stem = blocks(nn.Hardswish)(3, c, 3, stemStride, 1, True)
    units = []
    for kernel, wide, out, squeeze, swish, stride in LARGE if size == "large" else SMALL:
        wide, out = divisible(wide * width), divisible(out * width)
        block = blocks(nn.Hardswish if swish else nn.ReLU)
        units.append(Unit(block, c, wide, out, kernel, stride, Squeeze(wide) if squeeze else None))
        c = out
    head = blocks(nn.Hardswish)(c, 6 * c, 1, 1, 1, True)
    top = output_of(rest.get("output", "GDC"), *last_map(inputSize, stemStride), 6 * c, embeddingSize, dropout)
    return Named({"stem": stem, "units": nn.Sequential(*units), "head": head, "output": top})


if __name__ == "__main__":
    full = [dict(size=s, **o) for s in ("large", "small") for o in
            (dict(), dict(stemStride=2), dict(output="E"), dict(width=0.75), dict(stemStride=2, inputSize=[224, 224]))]
    small = dict(width=0.25, inputSize=[48, 32], embeddingSize=8, dropout=0)
    write(__file__, mobile_net, 16, full, [dict(small, size="large"), dict(small, size="small", output="E", stemStride=2,
                                                                            inputSize=[96, 64])])
