"""Writes k210Net.json: the network of MobileFaceNet-Keras-K210 in PyTorch (networks.py says how).

Separable convolutions (arXiv 1704.04861) with explicit zeros around strided ones, LeakyReLU 0.3, batch norms as in Keras (eps
1e-3, 0.99 of the running statistics kept), and from the global depthwise convolution on biases before batch norms.

Run: python3 test/reference/k210Net.py      (PyTorch and numpy; CPU, seconds)
"""

from torch import nn

from networks import Flatten, Named, scaled, write

STRIDES = (1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)


def K210(embeddingSize=128, inputSize=(112, 112), width=1, form="s", depthMultiplier=1, slope=0.3, bias=True, bnEps=1e-3,
         bnMomentum=0.01, dropout=0):
    norm = lambda c: nn.BatchNorm2d(c, bnEps, bnMomentum)

    def block(cin, cout, kernel, stride=1, groups=1, linear=False, biased=False):
        around = {"zeros": nn.ZeroPad2d(1)} if kernel == 3 else {}
        conv = nn.Conv2d(cin, cout, kernel, stride, groups=groups, bias=biased)
        return Named({**around, "conv": conv, "bn": norm(cout), **({} if linear else {"activation": nn.LeakyReLU(slope)})})

    c = scaled(64, width)
    parts, blocks = {"stem": block(3, c, 3, 2)}, []
    for i, stride in enumerate(STRIDES):
        cout, wide = scaled(64 if i < 6 else 128, width), c * depthMultiplier
        blocks.append(Named({"depthwise": block(c, wide, 3, stride, c), "pointwise": block(wide, cout, 1)}))
        c = cout
    parts["blocks"] = nn.Sequential(*blocks)
    if form == "full":
        parts["head"] = block(c, 512, 1, biased=bias)
        c = 512
    parts["globalDepthwise"] = block(c, c, (inputSize[0] // 16, inputSize[1] // 16), groups=c, linear=True, biased=bias)
    if form != "s":
        parts["squeeze"] = block(c, 128, 1, biased=bias)
        c = 128
    parts["flatten"] = Flatten()
    parts["fc"] = nn.Linear(c, embeddingSize, bias)
    parts["embedding"] = nn.BatchNorm1d(embeddingSize, bnEps, bnMomentum)
    return Named(parts)


if __name__ == "__main__":
    full = [{}, dict(form="m"), dict(form="full"), dict(inputSize=[128, 128]), dict(form="full", inputSize=[128, 128]),
            dict(width=0.5, depthMultiplier=2, bias=False)]
    small = dict(width=0.125, inputSize=[32, 48], embeddingSize=8, dropout=0)
    forms = [{}, dict(form="m", bias=False), dict(form="full", depthMultiplier=2, slope=0.1)]
    write(__file__, K210, 2, full, [{**small, **o} for o in forms])
