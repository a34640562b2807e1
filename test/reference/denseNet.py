"""Writes denseNet.json: DenseNet-BC in PyTorch, counted at full size and run at a small one (rules: networks.py).

Huang et al. 2017, arXiv 1608.06993, table 1: layers of BN, ReLU, conv 1x1, BN, ReLU, conv 3x3, whose output stands beside their
input; transitions of BN, ReLU, conv 1x1, 2x2 mean; a last BN and ReLU. The stem is a 3x3 convolution of stride 1 (face) or a 7x7
one of stride 2 (imagenet), and a 3x3 max pool of stride 2.

Run: python3 test/reference/denseNet.py      (PyTorch and numpy; CPU, half a minute)
"""

import torch
from torch import nn

from networks import Named, conv_bn, output, scaled, write

LAYERS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


class Layer(nn.Module):
    def __init__(self, c, growth):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c)
        self.conv1 = nn.Conv2d(c, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x):
        y = self.conv1(self.bn1(x).relu())
        return torch.cat([x, self.conv2(self.bn2(y).relu())], 1)


def dense_net(depth=121, stem="face", growthRate=32, compression=0.5, embeddingSize=512, inputSize=(112, 112), width=1, dropout=0.0,
              **rest):
    kind = rest.pop("output", "E")
    assert not rest
    growth = scaled(growthRate, width)
    c = 2 * growth
    shape = (3, 1, 1) if stem == "face" else (7, 2, 3)
    parts = {"stem": conv_bn(3, c, *shape, activation=nn.ReLU()), "pool": nn.MaxPool2d(3, 2, 1)}
    layers = []
    for block, n in enumerate(LAYERS[depth]):
        if block:
            kept = int(c * compression)
            layers.append(Named({"bn": nn.BatchNorm2d(c), "relu": nn.ReLU(), "conv": nn.Conv2d(c, kept, 1, bias=False),
                                 "pool": nn.AvgPool2d(2)}))
            c = kept
        for _ in range(n):
            layers.append(Layer(c, growth))
            c += growth
    h, w = (s // (16 if stem == "face" else 32) for s in inputSize)
    return Named({**parts, "layers": nn.Sequential(*layers), "bn": nn.BatchNorm2d(c), "relu": nn.ReLU(),
                  "output": output(kind, h, w, c, embeddingSize, dropout)})


if __name__ == "__main__":
    full = [dict(depth=d) for d in LAYERS]
    full += [dict(depth=d, stem="imagenet", inputSize=[224, 224], output="GAP") for d in LAYERS]
    full += [dict(stem="imagenet", output="GDC"), dict(growthRate=12, compression=0.75, inputSize=[112, 96], embeddingSize=256),
             dict(width=0.25, compression=1)]
    small = dict(depth=121, width=0.25, inputSize=[32, 16], embeddingSize=8, dropout=0)
    runs = [dict(small), dict(small, stem="imagenet", output="GDC", compression=0.3, inputSize=[32, 64])]
    write(__file__, dense_net, 13, full, runs)
