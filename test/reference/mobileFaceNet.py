"""MobileFaceNet (arXiv 1804.07573, table 1) and ArcFace (arXiv 1801.07698) in PyTorch, with our parameter names.

Module paths are the names of our checkpoints (`stem.conv.weight`, `blocks.3.expand.bn.bias`, ...). The only difference is
the layout: ours is [kh, kw, Cin/groups, Cout] (depthwise [kh, kw, 1, C]), PyTorch's [Cout, Cin/groups, kh, kw].
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

# (expansion, channels, repeats, stride): the bottleneck rows 3 to 7 of the table.
ROWS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class Unit(nn.Module):
    """Convolution without bias, batch norm, and PReLU unless linear."""

    def __init__(self, cin, cout, kernel=1, stride=1, padding=0, groups=1, linear=False):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=1e-5, momentum=0.1)
        self.prelu = None if linear else nn.PReLU(cout, init=0.25)

    def forward(self, x):
        x = self.bn(self.conv(x))
        return x if self.prelu is None else self.prelu(x)


class Bottleneck(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1 (linear); identity where stride is 1 and the channels agree."""

    def __init__(self, cin, cout, expansion, stride):
        super().__init__()
        wide = cin * expansion
        self.expand = Unit(cin, wide)
        self.depthwise = Unit(wide, wide, 3, stride, 1, groups=wide)
        self.project = Unit(wide, cout, linear=True)
        self.identity = stride == 1 and cin == cout

    def forward(self, x):
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.identity else y


class MobileFaceNet(nn.Module):
    """[B, 3, 112, 112] to [B, 128]; 1,003,136 parameters."""

    def __init__(self, dim=128):
        super().__init__()
        self.stem = Unit(3, 64, 3, 2, 1)
        self.stemDepthwise = Unit(64, 64, 3, 1, 1, groups=64)
        blocks, cin = [], 64
        for expansion, cout, repeats, stride in ROWS:
            for i in range(repeats):
                blocks.append(Bottleneck(cin, cout, expansion, stride if i == 0 else 1))
                cin = cout
        self.blocks = nn.Sequential(*blocks)
        self.head = Unit(128, 512)
        self.globalDepthwise = Unit(512, 512, 7, groups=512, linear=True)
        self.embedding = Unit(512, dim, linear=True)

    def forward(self, x):
        x = self.head(self.blocks(self.stemDepthwise(self.stem(x))))
        return self.embedding(self.globalDepthwise(x)).flatten(1)


class ArcFace(nn.Module):
    """s cos(theta + m) at the label, s cos(theta) elsewhere; cos - m sin m where theta + m would pass pi ("hard").

    The sine is sqrt(max(1 - cos^2, 1e-7)): its gradient stays finite at cos = 1.
    """

    def __init__(self, dim, classes, s=32.0, m=0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dim))
        nn.init.xavier_uniform_(self.weight)
        self.s, self.m = s, m

    def forward(self, x, labels):
        cos = F.linear(F.normalize(x, eps=1e-12), F.normalize(self.weight, eps=1e-12))
        t = cos.gather(1, labels[:, None])
        sin = (1 - t * t).clamp_min(1e-7).sqrt()
        phi = t * math.cos(self.m) - sin * math.sin(self.m)
        phi = torch.where(t > math.cos(math.pi - self.m), phi, t - self.m * math.sin(self.m))
        return self.s * cos.scatter(1, labels[:, None], phi)


class FaceTrainer(nn.Module):
    """Network (MobileFaceNet unless given) and margin head together: named parameters carry our dotted names (`arcface.weight` for the head)."""

    def __init__(self, classes, dim=128, s=32.0, m=0.5, net=None):
        super().__init__()
        self.net = net or MobileFaceNet(dim)
        self.arcface = ArcFace(dim, classes, s, m)

    def forward(self, x, labels):
        return F.cross_entropy(self.arcface(self.net(x), labels), labels)

    def named(self):
        """(our name, parameter) in the order of the network."""
        return [(n.removeprefix("net."), p) for n, p in self.named_parameters()]

    def running(self):
        """(our name, running mean or variance)."""
        return [(n.removeprefix("net."), b) for n, b in self.named_buffers() if "running" in n]


def initialise(model, generator=None):
    """Parameters as src/nn/init.ts has them, from PyTorch's own generator (for the speed and accuracy runs)."""
    for name, p in model.named():
        if p.dim() == 4:
            std = math.sqrt(2 / (p.shape[2] * p.shape[3] * p.shape[0]))
            with torch.no_grad():
                p.normal_(0, std, generator=generator)
        elif p.dim() == 2:
            bound = math.sqrt(6 / (p.shape[0] + p.shape[1]))
            with torch.no_grad():
                p.uniform_(-bound, bound, generator=generator)


def decay_groups(model, body=4e-5, top=4e-4):
    """Weight decay: `body` on convolutions, `top` after the last feature map and on the class matrix, 0 on the rest."""
    groups = {body: [], top: [], 0.0: []}
    for name, p in model.named():
        last = name in ("globalDepthwise.conv.weight", "embedding.conv.weight", "arcface.weight")
        groups[top if last else body if p.dim() == 4 else 0.0].append(p)
    return [{"params": ps, "weight_decay": d} for d, ps in groups.items()]
