"""Writes sphereNet.json: SphereNet in PyTorch, counted at full size and run at a small one (rules: networks.py).

Liu et al. 2017, arXiv 1704.08063, table 2: in each stage a 3x3 convolution of stride 2, then units of two more, PReLU after each
convolution and before the addition; batch norm before each PReLU and after the dense layer is Face_Pytorch's addition.

Run: python3 test/reference/sphereNet.py      (PyTorch and numpy; CPU, a few seconds)
"""

from torch import nn

from networks import Flatten, Named, scaled, write

UNITS = {20: (1, 2, 4, 1), 36: (2, 4, 8, 2), 62: (3, 7, 16, 3), 64: (3, 8, 16, 3)}


def layer(cin, cout, stride, bias, bn):
    parts = {"conv": nn.Conv2d(cin, cout, 3, stride, 1, bias=bias), "prelu": nn.PReLU(cout)}
    return Named({"conv": parts["conv"], **({"bn": nn.BatchNorm2d(cout)} if bn else {}), "prelu": parts["prelu"]})


class Unit(nn.Module):
    def __init__(self, c, bn):
        super().__init__()
        self.layer1 = layer(c, c, 1, False, bn)
        self.layer2 = layer(c, c, 1, False, bn)

    def forward(self, x):
        return x + self.layer2(self.layer1(x))


def sphere_net(depth=20, batchNorm=True, embeddingSize=512, inputSize=(112, 112), width=1):
    layers = []
    c = 3
    for stage, n in enumerate(UNITS[depth]):
        cout = scaled(64 << stage, width)
        layers.append(layer(c, cout, 2, True, batchNorm))
        layers += [Unit(cout, batchNorm) for _ in range(n)]
        c = cout
    fc = nn.Linear(c * (inputSize[0] // 16) * (inputSize[1] // 16), embeddingSize)
    return Named({"layers": nn.Sequential(*layers), "flatten": Flatten(), "fc": fc,
                  **({"embedding": nn.BatchNorm1d(embeddingSize)} if batchNorm else {})})


if __name__ == "__main__":
    full = [dict(depth=d) for d in UNITS] + [dict(depth=20, batchNorm=False, inputSize=[112, 96]), dict(depth=64, batchNorm=False),
                                             dict(depth=20, width=0.3, inputSize=[96, 96], embeddingSize=256)]
    small = dict(depth=20, width=0.125, inputSize=[32, 16], embeddingSize=8)
    write(__file__, sphere_net, 14, full, [dict(small), dict(small, batchNorm=False)])
