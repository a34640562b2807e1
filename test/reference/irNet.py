"""Writes irNet.json: IR and SE-IR ResNets in PyTorch, counted at full size and run at a small one in float64.

Networks as in ArcFace (arXiv 1801.07698) and the face trainers after it: stem conv 3x3 stride 1, BN, PReLU; units of BN, conv
3x3, [BN], PReLU, conv 3x3 with the stride, BN, [attention], added to the shortcut; output BN, dropout, dense, BN.
Attention: Hu et al. 2018 (SE), Woo et al. 2018 (CAM, SAM, CBAM). Rules: networks.py; dense layers of SE and CAM are counted.

Run: python3 test/reference/irNet.py      (PyTorch and numpy; CPU, a few seconds)
"""

from torch import cat, nn

from networks import Named, conv_bn, output as output_of, scaled, write

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 74: (3, 6, 24, 3), 90: (3, 8, 30, 3), 100: (3, 13, 30, 3),
         101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}


class Channels(nn.Module):
    def __init__(self, c, maxima):
        super().__init__()
        self.fc1 = nn.Linear(c, max(1, c // 16), bias=False)
        self.fc2 = nn.Linear(max(1, c // 16), c, bias=False)
        self.maxima = maxima

    def forward(self, x):
        z = self.fc2(self.fc1(x.mean((2, 3))).relu())
        if self.maxima:
            z = z + self.fc2(self.fc1(x.amax((2, 3))).relu())
        return x * z.sigmoid()[:, :, None, None]


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x):
        return x * self.conv(cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


def attention_of(kind, c):
    return {
        "none": lambda: None,
        "se": lambda: Channels(c, False),
        "cam": lambda: Channels(c, True),
        "sam": Positions,
        "cbam": lambda: Named({"channel": Channels(c, True), "spatial": Positions()}),
    }[kind]()


class Unit(nn.Module):
    def __init__(self, cin, cout, stride, attention, mid, shortcut):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout) if mid else None
        self.prelu = nn.PReLU(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.attention = attention_of(attention, cout)
        if cin != cout or (stride > 1 and shortcut == "conv"):
            self.shortcut = conv_bn(cin, cout, 1, stride)
        else:
            self.shortcut = nn.MaxPool2d(1, stride)

    def forward(self, x):
        y = self.conv1(self.bn1(x))
        if self.bn2 is not None:
            y = self.bn2(y)
        y = self.bn3(self.conv2(self.prelu(y)))
        if self.attention is not None:
            y = self.attention(y)
        return self.shortcut(x) + y


class IrNet(nn.Module):
    def __init__(self, depth=50, attention="none", midBatchNorm=True, shortcut="conv", output="E", embeddingSize=512,
                 inputSize=(112, 112), width=1, dropout=0.0):
        super().__init__()
        c = scaled(64, width)
        self.stem = conv_bn(3, c, 3, 1, 1, prelu=nn.PReLU(c))
        units = []
        for stage, n in enumerate(UNITS[depth]):
            out = scaled(64 << stage, width)
            for i in range(n):
                units.append(Unit(c, out, 2 if i == 0 else 1, attention, midBatchNorm, shortcut))
                c = out
        self.units = nn.Sequential(*units)
        h, w = inputSize[0] // 16, inputSize[1] // 16
        self.output = output_of(output, h, w, c, embeddingSize, dropout)

    def forward(self, x):
        return self.output(self.units(self.stem(x)))


if __name__ == "__main__":
    full = [dict(depth=d, attention=a) for d in UNITS for a in ("none", "se")]
    full += [dict(depth=50, attention=a) for a in ("cam", "sam", "cbam")]
    full += [dict(depth=d, attention=a, midBatchNorm=False, shortcut="pool") for d in (50, 100, 152) for a in ("none", "se")]
    full += [dict(depth=50, attention=a, shortcut="pool") for a in ("none", "se")]
    full += [dict(depth=50, output="GDC"), dict(depth=50, output="GAP"), dict(depth=34, inputSize=[112, 96], embeddingSize=256),
             dict(depth=18, attention="cbam", width=0.3, output="GDC", inputSize=[96, 96])]
    small = dict(depth=18, width=0.125, inputSize=[32, 16], embeddingSize=8, dropout=0)
    runs = [dict(small), dict(small, attention="se", midBatchNorm=False, shortcut="pool"), dict(small, attention="cbam", output="GDC"),
            dict(small, attention="cam", output="GAP"), dict(small, attention="sam")]
    write(__file__, IrNet, 11, full, runs)
