"""Writes resNet.json: ResNet and ResNeXt in PyTorch, counted at full size and run at a small one (rules: networks.py).

He et al. 2015, arXiv 1512.03385, table 1 (post-activation; the stride of a bottleneck in its 3x3 convolution); Xie et al. 2017,
arXiv 1611.05431, figure 3c. The stem is a 3x3 convolution of stride 1 and a 3x3 max pool of stride 2.

Run: python3 test/reference/resNet.py      (PyTorch and numpy; CPU, a few seconds)
"""

from torch import nn

from networks import Named, conv_bn, output, scaled, write

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Unit(nn.Module):
    def __init__(self, cin, middle, cout, stride, groups, bottleneck):
        super().__init__()
        if bottleneck:
            branch = [conv_bn(cin, middle, 1, activation=nn.ReLU()),
                      conv_bn(middle, middle, 3, stride, 1, groups, activation=nn.ReLU()), conv_bn(middle, cout, 1)]
        else:
            branch = [conv_bn(cin, middle, 3, stride, 1, activation=nn.ReLU()), conv_bn(middle, cout, 3, 1, 1)]
        self.branch = nn.Sequential(*branch)
        self.shortcut = conv_bn(cin, cout, 1, stride) if stride > 1 or cin != cout else None

    def forward(self, x):
        return (self.branch(x) + (x if self.shortcut is None else self.shortcut(x))).relu()


def res_net(depth=50, cardinality=1, baseWidth=None, embeddingSize=512, inputSize=(112, 112), width=1, dropout=0.0,
            **rest):
    kind = rest.pop("output", "E")
    assert not rest
    per_group = baseWidth or (4 if cardinality > 1 else 64)
    bottleneck = depth >= 50
    c = scaled(64, width)
    units = []
    stem = conv_bn(3, c, 3, 1, 1, activation=nn.ReLU())
    for stage, n in enumerate(UNITS[depth]):
        wide = per_group << stage
        middle = cardinality * max(1, round(wide * width)) if cardinality > 1 else scaled(wide, width)
        cout = 4 * scaled(64 << stage, width) if bottleneck else middle
        for i in range(n):
            units.append(Unit(c, middle, cout, 2 if i == 0 and stage > 0 else 1, cardinality, bottleneck))
            c = cout
    h, w = inputSize[0] // 16, inputSize[1] // 16
    return Named({"stem": stem, "pool": nn.MaxPool2d(3, 2, 1), "units": nn.Sequential(*units),
                  "output": output(kind, h, w, c, embeddingSize, dropout)})


if __name__ == "__main__":
    full = [dict(depth=d) for d in UNITS] + [dict(depth=d, cardinality=32) for d in (50, 101)]
    full += [dict(depth=101, cardinality=32, baseWidth=8), dict(depth=50, output="GDC"), dict(depth=50, output="GAP"),
             dict(depth=50, baseWidth=128, output="GAP"), dict(depth=50, cardinality=2, baseWidth=40, inputSize=[112, 96]),
             dict(depth=34, width=0.3, inputSize=[96, 96], embeddingSize=256)]
    small = dict(width=0.125, inputSize=[32, 16], embeddingSize=8, dropout=0)
    runs = [dict(small, depth=18), dict(small, depth=50, output="GAP"),
            dict(small, depth=50, cardinality=8, baseWidth=16, output="GDC")]
    write(__file__, res_net, 12, full, runs)
