"""Writes residualAttention.json: Residual Attention Networks in PyTorch (rules: networks.py).

Wang et al. 2017 (arXiv 1704.06904): pre-activation bottlenecks; attention modules with a trunk of two units and a mask of three,
two or one levels (stages 1, 2, 3), upsampled bilinearly with aligned corners; the module's map is (1 + mask) * trunk. Stem,
channels and output as Face_Pytorch has them. A unit has a shortcut convolution only where channels or size change;
that project's units hold one each, which goes unread: the script prints by how much that differs.

Run: python3 test/reference/residualAttention.py      (PyTorch and numpy; CPU, half a minute)
"""

import torch
from torch import nn
from torch.nn import functional as F

from networks import conv_bn, output as output_of, scaled, write

TABLES = {56: ((256, 512, 512, 512), (1, 1, 1)), 92: ((256, 512, 1024, 2048), (1, 2, 3))}


class Unit(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        n = cout // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, n, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(n), nn.Conv2d(n, n, 3, stride, 1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(n), nn.Conv2d(n, cout, 1, bias=False)
        self.shortcut = nn.Identity() if cin == cout and stride == 1 else nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        y = self.conv1(self.bn1(x).relu())
        y = self.conv2(self.bn2(y).relu())
        return self.shortcut(x) + self.conv3(self.bn3(y).relu())


def up(x, like):
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


class Level(nn.Module):
    def __init__(self, c, levels):
        super().__init__()
        self.before, self.after = Unit(c, c), Unit(c, c)
        self.inner = Level(c, levels - 1) if levels > 1 else None
        self.skip = Unit(c, c) if levels > 1 else None

    def forward(self, x):
        y = self.before(F.max_pool2d(x, 3, 2, 1))
        if self.inner is not None:
            y = up(self.inner(y), y) + y + self.skip(y)
        return self.after(y)


class Attention(nn.Module):
    def __init__(self, c, levels, added):
        super().__init__()
        self.added = added
        self.first, self.last = Unit(c, c), Unit(c, c)
        self.trunk = nn.Sequential(Unit(c, c), Unit(c, c))
        self.level = Level(c, levels)
        self.bn1, self.conv1 = nn.BatchNorm2d(c), nn.Conv2d(c, c, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(c), nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x):
        x = self.first(x)
        trunk = self.trunk(x)
        mask = self.conv1(self.bn1(up(self.level(x), x) + trunk).relu())
        mask = self.conv2(self.bn2(mask).relu()).sigmoid()
        return self.last(1 + mask + trunk if self.added else (1 + mask) * trunk)


class ResidualAttention(nn.Module):
    def __init__(self, depth=56, sumFirst=False, output="E", embeddingSize=512, inputSize=(112, 112), width=1, dropout=0.0):
        super().__init__()
        channels, modules = TABLES[depth]
        c = scaled(64, width)
        self.stem = conv_bn(3, c, 3, 1, 1, activation=nn.ReLU())
        body = []
        for stage, n in enumerate(channels):
            out = scaled(n, width)
            body.append(Unit(c, out, 1 if stage == 0 else 2))
            c = out
            body += [Attention(c, 3 - stage, sumFirst and stage == 0) for _ in range(modules[stage])] if stage < 3 else [Unit(c, c), Unit(c, c)]
        self.body = nn.Sequential(*body)
        self.output = output_of(output, inputSize[0] // 16, inputSize[1] // 16, c, embeddingSize, dropout)

    def forward(self, x):
        return self.output(self.body(F.max_pool2d(self.stem(x), 3, 2, 1)))


if __name__ == "__main__":
    for depth in TABLES:
        unused = sum(m.bn1.num_features * m.conv3.out_channels for m in ResidualAttention(depth).to("meta").modules()
                     if isinstance(m, Unit) and isinstance(m.shortcut, nn.Identity))
        print(f"{depth}: {unused:,} parameters more with a shortcut convolution in every unit")
    small = dict(inputSize=[32, 32], embeddingSize=8, dropout=0)
    write(__file__, ResidualAttention, 14, [dict(depth=d) for d in TABLES],
          [dict(small, depth=56, width=0.125, sumFirst=True), dict(small, depth=92, width=0.0625, output="GAP")])
