"""Writes mobileFaceNetForms.json: MobileFaceNet's forms in PyTorch (networks.py says how).

Chen et al. 2018 (arXiv 1804.07573), table 1 and section 4 (-M, -S, -R); Face_Pytorch's relatives with a dense output; the
TensorFlow ports with two more linear layers and SAME padding, which for an even input and stride 2 is one row below and one
column on the right; InsightFace's y1, y2 and arcface_torch's mbf, whose maps are wider by `scale` but not the units inside.

Run: python3 test/reference/mobileFaceNetForms.py      (PyTorch and numpy; CPU, half a minute)
"""

from torch import nn

from networks import Flatten, Named, scaled, write

ACTIVATIONS = {"prelu": lambda c: {"prelu": nn.PReLU(c)}, "relu": lambda c: {"activation": nn.ReLU()},
               "leakyRelu": lambda c: {"activation": nn.LeakyReLU(0.01)}, "hardSwish": lambda c: {"activation": nn.Hardswish()}}


class Bottleneck(nn.Module):
    def __init__(self, block, cin, wide, cout, stride, padding):
        super().__init__()
        self.expand = block(cin, wide, 1)
        self.depthwise = block(wide, wide, 3, stride, padding if stride > 1 else 1, wide)
        self.project = block(wide, cout, 1, linear=True)
        self.identity = stride == 1 and cin == cout

    def forward(self, x):
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.identity else y


def MobileFaceNet(embeddingSize=128, inputSize=(112, 112), width=1, blocks=(1, 4, 6, 2), scale=1, expansion=1, firstExpansion=2,
                  activation="prelu", widen=True, pool="depthwise", output="conv", linears=False, padding="symmetric",
                  bnEps=1e-5, bnMomentum=0.1):
    def block(cin, cout, kernel, stride=1, pad=0, groups=1, linear=False):
        same = pad == "same"
        conv = nn.Conv2d(cin, cout, kernel, stride, 0 if same else pad, groups=groups, bias=False)
        before = {"same": nn.ZeroPad2d((0, 1, 0, 1))} if same else {}
        after = {} if linear else ACTIVATIONS[activation](cout)
        return Named({**before, "conv": conv, "bn": nn.BatchNorm2d(cout, bnEps, bnMomentum), **after})

    strided = "same" if padding == "same" else 1
    base, wider = scaled(64, width), scaled(128, width)
    first = base * scale
    later = embeddingSize if output == "none" and not widen else wider * scale
    parts = {"stem": block(3, first, 3, 2, strided)}
    if blocks[0] == 1:
        parts["stemDepthwise"] = block(first, first, 3, 1, 1, base)
    if linears:
        parts["stemLinear"] = block(first, first, 1, linear=True)
    plan = [(base * firstExpansion, first, 1)] * (blocks[0] if blocks[0] > 1 else 0)
    plan += [(base * 2, first, 2)] + [(base * 2, first, 1)] * blocks[1]
    plan += [(base * 4, wider * scale, 2)] + [(wider * 2, wider * scale, 1)] * blocks[2]
    plan += [(wider * 4, later, 2)] + [(wider * 2, later, 1)] * blocks[3]
    c, units = first, []
    for wide, cout, stride in plan:
        units.append(Bottleneck(block, c, scaled(wide, expansion), cout, stride, strided))
        c = cout
    parts["blocks"] = nn.Sequential(*units)
    if widen:
        wide = embeddingSize if output == "none" else scaled(512, width)
        parts["head"] = block(c, wide, 1)
        c = wide
    h, w = inputSize[0] // 16, inputSize[1] // 16
    if pool == "depthwise":
        parts["globalDepthwise"] = block(c, c, (h, w), groups=c, linear=True)
    else:
        parts["mean"] = nn.AdaptiveAvgPool2d(1)
    if linears:
        parts["globalLinear"] = block(c, c, 1, linear=True)
    if output == "conv":
        parts["embedding"] = block(c, embeddingSize, 1, linear=True)
    elif output == "linear":
        dense = {"flatten": Flatten(), "fc": nn.Linear(c, embeddingSize, bias=False)}
        parts["embedding"] = Named({**dense, "bn": nn.BatchNorm1d(embeddingSize, bnEps, bnMomentum)})
    return Named(parts if output == "linear" else {**parts, "flatten": Flatten()})


DENSE512 = dict(embeddingSize=512, output="linear")
TF = dict(linears=True, padding="same", bnEps=2e-5, bnMomentum=0.005)
MBF = dict(DENSE512, scale=2)
MBF_LARGE = dict(DENSE512, scale=4, blocks=[2, 8, 12, 4])
Y2 = dict(output="linear", embeddingSize=256, blocks=[2, 8, 16, 4], firstExpansion=1)

if __name__ == "__main__":
    full = [{}, DENSE512, dict(inputSize=[112, 96]), dict(inputSize=[96, 96]), dict(inputSize=[128, 128]),
            dict(output="none", embeddingSize=512), dict(output="none", widen=False), dict(activation="relu"), TF,
            dict(TF, embeddingSize=192), MBF, MBF_LARGE, dict(output="linear"), Y2, dict(expansion=2), dict(pool="average"),
            dict(width=0.3, expansion=1.5, activation="hardSwish")]
    small = dict(width=0.125, inputSize=[32, 48], embeddingSize=8)
    forms = [DENSE512, TF, MBF, dict(output="none", activation="relu"), dict(Y2, pool="average", widen=False, blocks=[2, 2, 1, 0])]
    write(__file__, MobileFaceNet, 11, full, [{**o, **small} for o in forms])
