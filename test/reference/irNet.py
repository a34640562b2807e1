"""Writes irNet.json: IR and SE-IR ResNets in PyTorch, counted at full size and run at a small one in float64.

Networks as in ArcFace (arXiv 1801.07698) and the face trainers after it: stem conv 3x3 stride 1, BN, PReLU; units of BN, conv
3x3, [BN], PReLU, conv 3x3 with the stride, BN, [attention], added to the shortcut; output BN, dropout, dense, BN.
Attention: Hu et al. 2018 (SE), Woo et al. 2018 (CAM, SAM, CBAM). Module paths are the names of our checkpoints. The layout
differs: our convolutions are [kh, kw, Cin/groups, Cout], our dense weights [in, out] with a map flattened as h, w, c.

Draw rule of the small runs, in row-major order of OUR layout, key = fold(keyOf(seed), name), products in float64:
  weights of one axis      1 + 0.2 n, n = normal(key, size)           (batch norm; PReLU: 0.25 + 0.2 n)
  biases                   0.2 n
  convolutions             n * sqrt(2 / (kh kw Cout))
  dense                    n * sqrt(2 / (in + out))
  images                   normal(fold(keyOf(seed), 'images')) [3, 32, 32, 3];   r = normal(fold(keyOf(seed), 'r')) [3, d]
A run is one forward and backward pass of sum(r * embeddings) in training (dropout 0), which moves the running statistics, and
one forward pass in evaluation. A gradient's summary is [L2 norm, sum of g[i] cos(i)] in our layout.

Parameters are tensors with a gradient; multiply-adds those of convolutions and dense layers (dense layers of SE and CAM included).

Run: python3 test/reference/irNet.py      (PyTorch and numpy; CPU, a few seconds)
"""

import json
import math
import pathlib

import numpy as np
import torch
from torch import nn

from counterRandom import fold, key_of, normal

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 74: (3, 6, 24, 3), 90: (3, 8, 30, 3), 100: (3, 13, 30, 3),
         101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
SEED = 11


def conv_bn(cin, cout, kernel, stride=1, padding=0, groups=1):
    return {"conv": nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False), "bn": nn.BatchNorm2d(cout)}


class Named(nn.Module):
    """Applies its parts in order; their names are those of our checkpoints."""

    def __init__(self, parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


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
        return x * self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


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
            self.shortcut = Named(conv_bn(cin, cout, 1, stride))
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


class Flatten(nn.Module):
    """As our maps lie in memory: rows, columns, channels."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class IrNet(nn.Module):
    def __init__(self, depth=50, attention="none", midBatchNorm=True, shortcut="conv", output="E", embeddingSize=512,
                 inputSize=(112, 112), width=1, dropout=0.0):
        super().__init__()
        scaled = lambda c: max(8, math.floor(c * width / 8 + 0.5) * 8)
        c = scaled(64)
        self.stem = Named({**conv_bn(3, c, 3, 1, 1), "prelu": nn.PReLU(c)})
        units = []
        for stage, n in enumerate(UNITS[depth]):
            out = scaled(64 << stage)
            for i in range(n):
                units.append(Unit(c, out, 2 if i == 0 else 1, attention, midBatchNorm, shortcut))
                c = out
        self.units = nn.Sequential(*units)
        h, w = inputSize[0] // 16, inputSize[1] // 16
        top = {"depthwise": Named(conv_bn(c, c, (h, w), groups=c))} if output == "GDC" else {"bn": nn.BatchNorm2d(c)}
        if output == "GAP":
            top["pool"] = nn.AdaptiveAvgPool2d(1)
        inputs = c * h * w if output == "E" else c
        self.output = Named({**top, "dropout": nn.Dropout(dropout), "flatten": Flatten(), "fc": nn.Linear(inputs, embeddingSize),
                             "embedding": nn.BatchNorm1d(embeddingSize)})

    def forward(self, x):
        return self.output(self.units(self.stem(x)))


def on_meta(model):
    """The same network without numbers: only shapes are computed."""
    return model.to("meta").eval()


def counts(options):
    model = on_meta(IrNet(**options))
    macs = 0

    def conv_hook(m, _, y):
        nonlocal macs
        macs += y.numel() * m.weight[0].numel()

    def dense_hook(m, _, y):
        nonlocal macs
        macs += y.numel() * m.in_features

    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            m.register_forward_hook(conv_hook)
        elif isinstance(m, nn.Linear):
            m.register_forward_hook(dense_hook)
    h, w = options.get("inputSize", (112, 112))
    model(torch.empty(1, 3, h, w, device="meta"))
    return {"options": options, "parameters": sum(p.numel() for p in model.parameters()), "multiplyAdds": macs}


def to_ours(t):
    a = t.detach().numpy()
    return a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T if a.ndim == 2 else a


def from_ours(a, shape):
    if len(shape) == 4:
        o, i, kh, kw = shape
        return a.reshape(kh, kw, i, o).transpose(3, 2, 0, 1)
    return a.reshape(shape[::-1]).T if len(shape) == 2 else a


def draw(model):
    for name, p in model.named_parameters():
        n = normal(fold(key_of(SEED), name), p.numel()).astype(np.float64)
        if p.dim() == 4:
            v = n * math.sqrt(2 / (p.shape[2] * p.shape[3] * p.shape[0]))
        elif p.dim() == 2:
            v = n * math.sqrt(2 / (p.shape[0] + p.shape[1]))
        else:
            v = 0.2 * n + (0 if name.endswith("bias") else 0.25 if "prelu" in name else 1)
        with torch.no_grad():
            p.copy_(torch.from_numpy(np.ascontiguousarray(from_ours(v.astype(np.float32).astype(np.float64), tuple(p.shape)))))


def run(options):
    model = IrNet(**options).double()
    draw(model)
    d = options["embeddingSize"]
    x = torch.from_numpy(normal(fold(key_of(SEED), "images"), 3 * 32 * 32 * 3).astype(np.float64).reshape(3, 32, 32, 3))
    x = x.permute(0, 3, 1, 2).contiguous()
    r = torch.from_numpy(normal(fold(key_of(SEED), "r"), 3 * d).astype(np.float64).reshape(3, d))
    y = model.train()(x)
    (r * y).sum().backward()
    gradients = {}
    for name, p in model.named_parameters():
        g = to_ours(p.grad).flatten()
        gradients[name] = [float(np.linalg.norm(g)), float(g @ np.cos(np.arange(g.size)))]
    with torch.no_grad():
        evaluated = model.eval()(x)
    return {"options": options, "trained": y.detach().flatten().tolist(), "evaluated": evaluated.flatten().tolist(),
            "gradients": gradients}


if __name__ == "__main__":
    full = [dict(depth=d, attention=a) for d in UNITS for a in ("none", "se")]
    full += [dict(depth=50, attention=a) for a in ("cam", "sam", "cbam")]
    full += [dict(depth=d, attention=a, midBatchNorm=False, shortcut="pool") for d in (50, 100, 152) for a in ("none", "se")]
    full += [dict(depth=50, attention=a, shortcut="pool") for a in ("none", "se")]
    full += [dict(depth=50, output="GDC"), dict(depth=50, output="GAP"), dict(depth=34, inputSize=[112, 96], embeddingSize=256),
             dict(depth=18, attention="cbam", width=0.3, output="GDC", inputSize=[96, 96])]
    small = dict(depth=18, width=0.125, inputSize=[32, 32], embeddingSize=8, dropout=0)
    runs = [dict(small), dict(small, attention="se", midBatchNorm=False, shortcut="pool"), dict(small, attention="cbam", output="GDC"),
            dict(small, attention="cam", output="GAP")]
    out = {"seed": SEED, "counts": [counts(o) for o in full], "runs": [run(o) for o in runs]}
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(out, indent=1) + "\n")
    for c in out["counts"]:
        print(c["options"], f"{c['parameters']:,} parameters, {c['multiplyAdds']:,} multiply-adds")
