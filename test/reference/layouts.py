"""Writes layouts.json: small networks under the module names of published projects, and what PyTorch computes with them.

Each is written here from its description under the names that its project uses; no code of theirs is in it. A case holds the
state dict's names, shapes and kinds in its order, and the embeddings of two images in evaluation: `f64`, and `drift`, the
largest distance of runs in float32 from them.

Draw rule, row-major in PyTorch's shape, key = fold(keyOf(11), name), n = normal(key, size), products in float64, rounded to
float32:  conv n sqrt(2 / (kh kw Cout));  dense n sqrt(2 / (in + out));  scale 1 + 0.2 n;  slope 0.25 + 0.2 n;  bias, mean 0.2 n;
variance 1 + 0.2 n n;  unused (a convolution that no pass reads) as conv.  Images: normal(fold(keyOf(11), 'images')) [2, H, W, 3].

Run: python3 test/reference/layouts.py      (PyTorch and numpy; CPU, a few seconds)
"""

import json
import math
import pathlib

import numpy as np
import torch
from torch import nn

from counterRandom import fold, key_of, normal
from networks import Named

SEED = 11
IMAGES = 2
seq = nn.Sequential


def conv(i, o, k=1, s=1, p=0, g=1, bias=False):
    return nn.Conv2d(i, o, k, s, p, groups=g, bias=bias)


class Add(nn.Module):
    """shortcut(x) + branch(x) of named parts; `after` follows. A shortcut without parts is the identity, or takes every other pixel."""

    def __init__(self, branch, shortcut=None, stride=1, after=None, names=("branch", "shortcut")):
        super().__init__()
        self.names = names
        if names[0] is None:
            self.order = list(branch)
            for name, part in branch.items():
                self.add_module(name, part)
        else:
            self.add_module(names[0], branch)
        if shortcut is not None:
            self.add_module(names[1], shortcut)
        self.stride, self.after = stride, after

    def forward(self, x):
        if self.names[0] is None:
            y = x
            for name in self.order:
                y = getattr(self, name)(y)
        else:
            y = getattr(self, self.names[0])(x)
        short = getattr(self, self.names[1], None)
        z = short(x) if short is not None else x[:, :, :: self.stride, :: self.stride]
        return torch.relu(y + z) if self.after == "relu" else y + z


# MobileFaceNet: units as (width inside, outputs, stride).
def table(c, blocks, scale=1):
    n, wide = c * scale, 2 * c * scale
    first = [(2 * c, n, 1)] * (blocks[0] if blocks[0] > 1 else 0)
    return [*first, (2 * c, n, 2), *[(2 * c, n, 1)] * blocks[1], (4 * c, wide, 2), *[(4 * c, wide, 1)] * blocks[2],
            (8 * c, wide, 2), *[(4 * c, wide, 1)] * blocks[3]]


def face_pytorch_mfn(c=8, blocks=(1, 4, 6, 2), size=(32, 32), d=8):
    def block(i, o, k=1, s=1, p=0, g=1, linear=False):
        parts = {"conv": conv(i, o, k, s, p, g), "bn": nn.BatchNorm2d(o)}
        return Named(parts if linear else {**parts, "prelu": nn.PReLU(o)})

    units, i = [], c
    for wide, o, s in table(c, blocks):
        body = {"conv": seq(conv(i, wide), nn.BatchNorm2d(wide), nn.PReLU(wide), conv(wide, wide, 3, s, 1, wide), nn.BatchNorm2d(wide),
                            nn.PReLU(wide), conv(wide, o), nn.BatchNorm2d(o))}
        units.append(Add(body, names=(None, "none")) if s == 1 and i == o else Named(body))
        i = o
    h, w = size[0] // 16, size[1] // 16
    return Named({"conv1": block(3, c, 3, 2, 1), "dw_conv1": block(c, c, 3, 1, 1, c), "blocks": seq(*units), "conv2": block(i, 8 * c),
                  "linear7": block(8 * c, 8 * c, (h, w), g=8 * c, linear=True), "linear1": block(8 * c, d, linear=True),
                  "flatten": nn.Flatten()})


def treb1en_mfn(c=8, blocks=(1, 4, 6, 2), size=(32, 32), d=8):
    def block(i, o, k=1, s=1, p=0, g=1, linear=False):
        parts = {"conv": conv(i, o, k, s, p, g), "bn": nn.BatchNorm2d(o)}
        return Named(parts if linear else {**parts, "prelu": nn.PReLU(o)})

    def unit(i, wide, o, s):
        parts = {"conv": block(i, wide), "conv_dw": block(wide, wide, 3, s, 1, wide), "project": block(wide, o, linear=True)}
        return Add(parts, names=(None, "none")) if s == 1 else Named(parts)

    units, i, made = table(c, blocks), c, []
    for wide, o, s in units:
        made.append(unit(i, wide, o, s))
        i = o
    parts, at = {"conv1": block(3, c, 3, 2, 1), "conv2_dw": block(c, c, 3, 1, 1, c)}, 0
    for stage in (3, 4, 5):
        parts[f"conv_{stage - 1}{stage}"] = made[at]
        parts[f"conv_{stage}"] = Named({"model": seq(*made[at + 1 : at + 1 + blocks[stage - 2]])})
        at += 1 + blocks[stage - 2]
    h, w = size[0] // 16, size[1] // 16
    return Named({**parts, "conv_6_sep": block(i, 8 * c), "conv_6_dw": block(8 * c, 8 * c, (h, w), g=8 * c, linear=True),
                  "conv_6_flatten": nn.Flatten(), "linear": nn.Linear(8 * c, d, bias=False), "bn": nn.BatchNorm1d(d)})


def mbf(c=8, blocks=(1, 4, 6, 2), scale=2, size=(32, 32), d=8):
    def block(i, o, k=1, s=1, p=0, g=1, linear=False):
        parts = [conv(i, o, k, s, p, g), nn.BatchNorm2d(o)]
        return Named({"layers": seq(*parts) if linear else seq(*parts, nn.PReLU(o))})

    def unit(i, wide, o, s, identity):
        body = {"layers": seq(block(i, wide), block(wide, wide, 3, s, 1, wide), block(wide, o, linear=True))}
        return Add(body, names=(None, "none")) if identity else Named(body)

    n, i, at = c * scale, c * scale, 0
    parts, units = [block(3, n, 3, 2, 1)], table(c, blocks, scale)
    if blocks[0] == 1:
        parts.append(block(n, n, 3, 1, 1, c))
    else:
        parts.append(Named({"layers": seq(*(unit(n, 2 * c, n, 1, True) for _ in range(blocks[0])))}))
        at = blocks[0]
    for count in blocks[1:]:
        wide, o, s = units[at]
        parts.append(unit(i, wide, o, s, False))
        parts.append(Named({"layers": seq(*(unit(o, u[0], o, 1, True) for u in units[at + 1 : at + 1 + count]))}))
        i, at = o, at + 1 + count
    h, w = size[0] // 16, size[1] // 16
    last = seq(block(8 * c, 8 * c, (h, w), g=8 * c, linear=True), nn.Flatten(), nn.Linear(8 * c, d, bias=False), nn.BatchNorm1d(d))
    return Named({"layers": seq(*parts), "conv_sep": block(i, 8 * c), "features": Named({"layers": last})})


# IR networks.
class Squeeze(nn.Module):
    def __init__(self, c, r):
        super().__init__()
        self.fc1, self.fc2 = conv(c, c // r), conv(c // r, c)

    def forward(self, x):
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Channels(nn.Module):
    def __init__(self, c, r):
        super().__init__()
        self.shared_mlp = seq(conv(c, c // r), nn.ReLU(), conv(c // r, c))

    def forward(self, x):
        return x * (self.shared_mlp(x.mean((2, 3), keepdim=True)) + self.shared_mlp(x.amax((2, 3), keepdim=True))).sigmoid()


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv(2, 1, 3, 1, 1)

    def forward(self, x):
        return x * self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


ATTENTION = {"none": lambda c, r: [], "se": lambda c, r: [Squeeze(c, r)], "cam": lambda c, r: [Channels(c, r)],
             "sam": lambda c, r: [Positions()], "cbam": lambda c, r: [Channels(c, r), Positions()]}


def res_unit(i, o, s, attention, middle, pool, r=4):
    mid = [nn.BatchNorm2d(o)] if middle else []
    branch = seq(nn.BatchNorm2d(i), conv(i, o, 3, 1, 1), *mid, nn.PReLU(o), conv(o, o, 3, s, 1), nn.BatchNorm2d(o), *ATTENTION[attention](o, r))
    plain = i == o and (pool or s == 1)
    short = None if plain else seq(conv(i, o, 1, s), nn.BatchNorm2d(o))
    return Add(branch, short, s, names=("res_layer", "shortcut_layer"))


def stage_units(units, c, make):
    out, i = [], c
    for stage, n in enumerate(units):
        o = c << stage
        out.append([make(i if k == 0 else o, o, 2 if k == 0 else 1) for k in range(n)])
        i = o
    return out


def output_layer(c, size, d):
    h, w = size[0] // 16, size[1] // 16
    return seq(nn.BatchNorm2d(c), nn.Dropout(0.4), nn.Flatten(), nn.Linear(c * h * w, d), nn.BatchNorm1d(d))


def ir(units, form, c=8, attention="none", middle=False, pool=True, size=(32, 32), d=8):
    made = stage_units(units, c, lambda i, o, s: res_unit(i, o, s, attention, middle, pool))
    stem = seq(conv(3, c, 3, 1, 1), nn.BatchNorm2d(c), nn.PReLU(c))
    body = {"body": seq(*sum(made, []))} if form == "body" else {f"layer{k + 1}": seq(*m) for k, m in enumerate(made)}
    return Named({"input_layer": stem, **body, "output_layer": output_layer(8 * c, size, d)})


def iresnet(units, c=8, size=(32, 32), d=8):
    def unit(i, o, s):
        short = None if i == o and s == 1 else seq(conv(i, o, 1, s), nn.BatchNorm2d(o))
        branch = {"bn1": nn.BatchNorm2d(i), "conv1": conv(i, o, 3, 1, 1), "bn2": nn.BatchNorm2d(o), "prelu": nn.PReLU(o),
                  "conv2": conv(o, o, 3, s, 1), "bn3": nn.BatchNorm2d(o)}
        return Add(branch, short, s, names=(None, "downsample"))

    made = stage_units(units, c, unit)
    h, w = size[0] // 16, size[1] // 16
    return Named({"conv1": conv(3, c, 3, 1, 1), "bn1": nn.BatchNorm2d(c), "prelu": nn.PReLU(c),
                  **{f"layer{k + 1}": seq(*m) for k, m in enumerate(made)}, "bn2": nn.BatchNorm2d(8 * c), "flatten": nn.Flatten(),
                  "fc": nn.Linear(8 * c * h * w, d), "features": nn.BatchNorm1d(d)})


# Face_Pytorch's ResNet and SphereNet.
def resnet(units, bottleneck, c=8, size=(32, 32), d=8):
    times, i, stages = 4 if bottleneck else 1, c, {}
    for stage, n in enumerate(units):
        m, made = c << stage, []
        for k in range(n):
            s = 2 if k == 0 and stage > 0 else 1
            relu = nn.ReLU()
            if bottleneck:
                branch = {"conv1": conv(i, m), "bn1": nn.BatchNorm2d(m), "relu": relu, "conv2": conv(m, m, 3, s, 1), "bn2": nn.BatchNorm2d(m),
                          "relu2": relu, "conv3": conv(m, 4 * m), "bn3": nn.BatchNorm2d(4 * m)}
            else:
                branch = {"conv1": conv(i, m, 3, s, 1), "bn1": nn.BatchNorm2d(m), "relu": relu, "conv2": conv(m, m, 3, 1, 1), "bn2": nn.BatchNorm2d(m)}
            short = seq(conv(i, times * m, 1, s), nn.BatchNorm2d(times * m)) if s > 1 or i != times * m else None
            made.append(Add(branch, short, after="relu", names=(None, "downsample")))
            i = times * m
        stages[f"layer{stage + 1}"] = seq(*made)
    return Named({"conv1": conv(3, c, 3, 1, 1), "bn1": nn.BatchNorm2d(c), "relu": nn.ReLU(), "pool": nn.MaxPool2d(3, 2, 1), **stages,
                  "output_layer": output_layer(i, size, d)})


def spherenet(units, c=8, size=(32, 32), d=8):
    i, stages = 3, {}
    for stage, n in enumerate(units):
        o = c << stage
        block = lambda: Add({"conv1": conv(o, o, 3, 1, 1), "bn1": nn.BatchNorm2d(o), "prelu1": nn.PReLU(o), "conv2": conv(o, o, 3, 1, 1),
                             "bn2": nn.BatchNorm2d(o), "prelu2": nn.PReLU(o)}, names=(None, "none"))
        stages[f"layer{stage + 1}"] = seq(conv(i, o, 3, 2, 1, bias=True), nn.BatchNorm2d(o), nn.PReLU(o), *(block() for _ in range(n)))
        i = o
    h, w = size[0] // 16, size[1] // 16
    return Named({**stages, "flatten": nn.Flatten(), "fc": nn.Linear(i * h * w, d), "last_bn": nn.BatchNorm1d(d)})


# Face_Pytorch's residual attention networks: every unit has a shortcut, which is used only where it changes the map.
class Bottleneck(nn.Module):
    def __init__(self, i, o, s=1):
        super().__init__()
        n = o // 4
        self.res_bottleneck = seq(nn.BatchNorm2d(i), nn.ReLU(), conv(i, n), nn.BatchNorm2d(n), nn.ReLU(), conv(n, n, 3, s, 1),
                                  nn.BatchNorm2d(n), nn.ReLU(), conv(n, o))
        self.shortcut = conv(i, o, 1, s)
        self.changes = i != o or s != 1

    def forward(self, x):
        return self.res_bottleneck(x) + (self.shortcut(x) if self.changes else x)


MASKS = [("share_residual_block", "last_block", ["mask_block1", "skip_connect1", "mask_block2", "skip_connect2", "mask_block3", "mask_block4", "mask_block5"], "mask_block6"),
         ("first_residual_blocks", "last_blocks", ["softmax1_blocks", "skip1_connection_residual_block", "softmax2_blocks", "softmax3_blocks"], "softmax4_blocks"),
         ("first_residual_blocks", "last_blocks", ["softmax1_blocks"], "softmax2_blocks")]


class Attention(nn.Module):
    """A trunk beside a mask that goes down by pooling, 3, 2 or 1 levels, and up again."""

    def __init__(self, c, stage):
        super().__init__()
        self.first, self.last, self.names, self.gate = MASKS[stage]
        unit = lambda: Bottleneck(c, c)
        setattr(self, self.first, unit())
        self.trunk_branches = seq(unit(), unit())
        levels = 3 - stage
        for k, name in enumerate(self.names):
            setattr(self, name, seq(unit(), unit()) if k == 2 * (levels - 1) else unit())
        setattr(self, self.gate, seq(nn.BatchNorm2d(c), nn.ReLU(), conv(c, c), nn.BatchNorm2d(c), nn.ReLU(), conv(c, c), nn.Sigmoid()))
        setattr(self, self.last, unit())
        self.levels, self.stage = levels, stage

    def mask(self, x, level):
        """Blocks go down in pairs (block, skip) to the innermost, then up again."""
        part = lambda k: getattr(self, self.names[k])
        y = part(2 * level)(nn.functional.max_pool2d(x, 3, 2, 1))
        if level < self.levels - 1:
            up = nn.functional.interpolate(self.mask(y, level + 1), y.shape[2:], mode="bilinear", align_corners=True)
            y = part(2 * self.levels - 2 + (self.levels - 1 - level))(up + y + part(2 * level + 1)(y))
        return y

    def forward(self, x):
        x = getattr(self, self.first)(x)
        trunk = self.trunk_branches(x)
        up = nn.functional.interpolate(self.mask(x, 0), x.shape[2:], mode="bilinear", align_corners=True)
        mask = getattr(self, self.gate)(up + trunk)
        return getattr(self, self.last)(1 + mask + trunk if self.stage == 0 else (1 + mask) * trunk)


def attention_net(modules, channels, c=8, size=(32, 32), d=8):
    parts, i = {"conv1": seq(conv(3, c, 3, 1, 1), nn.BatchNorm2d(c), nn.ReLU()), "mpool1": nn.MaxPool2d(3, 2, 1)}, c
    for stage, o in enumerate(channels[:3]):
        parts[f"residual_block{stage + 1}"] = Bottleneck(i, o, 1 if stage == 0 else 2)
        for k in range(modules[stage]):
            parts[f"attention_module{stage + 1}" + (f"_{k + 1}" if k else "")] = Attention(o, stage)
        i = o
    last = {f"residual_block{k}": Bottleneck(i if k == 4 else channels[3], channels[3], 2 if k == 4 else 1) for k in (4, 5, 6)}
    return Named({**parts, **last, "output_layer": output_layer(channels[3], size, d)})


def kind_of(module, leaf):
    if leaf.startswith("running"):
        return {"running_mean": "mean", "running_var": "variance"}[leaf]
    if leaf == "bias":
        return "bias"
    return {nn.Conv2d: "conv", nn.Linear: "dense", nn.PReLU: "slope"}.get(type(module), "scale")


def drawn(name, kind, shape):
    n = normal(fold(key_of(SEED), name), math.prod(shape)).astype(np.float64)
    if kind in ("conv", "unused"):
        v = n * math.sqrt(2 / (shape[2] * shape[3] * shape[0]))
    elif kind == "dense":
        v = n * math.sqrt(2 / (shape[0] + shape[1]))
    elif kind == "variance":
        v = 1 + 0.2 * n * n
    else:
        v = 0.2 * n + {"scale": 1, "slope": 0.25}.get(kind, 0)
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def case(layout, expected, model, size):
    model.eval()
    modules, state, table = dict(model.named_modules()), model.state_dict(), []
    for name, tensor in state.items():
        path, _, leaf = name.rpartition(".")
        if leaf == "num_batches_tracked":
            continue
        kind = kind_of(modules[path], leaf)
        unit = modules[path.rpartition(".")[0]]
        if isinstance(unit, Bottleneck) and path.endswith(".shortcut") and not unit.changes:
            kind = "unused"
        state[name] = drawn(name, kind, tuple(tensor.shape))
        table.append([name, kind, *tensor.shape])
    model.load_state_dict(state)
    images = normal(fold(key_of(SEED), "images"), IMAGES * size[0] * size[1] * 3).astype(np.float64).reshape(IMAGES, *size, 3)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    runs = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            runs[dtype] = model.to(dtype)(x.to(dtype)).numpy().astype(np.float64).flatten()
        rows = [model.to(torch.float32).to(memory_format=torch.channels_last)(x.float()).numpy().astype(np.float64).flatten(), runs[torch.float32]]
    truth = runs[torch.float64]
    drift = max(np.abs(r - truth).max() for r in rows)
    print(layout, expected, len(table), "tensors, drift", drift, "of", np.abs(truth).max())
    return {"layout": layout, "expected": expected, "size": size, "drift": float(f"{drift:.3g}"), "f64": [float(f"{v:.13g}") for v in truth],
            "tensors": table}


def main():
    torch.set_num_threads(1)
    square, narrow = (32, 32), (32, 16)
    mobile = dict(architecture="mobilefacenet", width=0.125, embeddingSize=8)
    of_ir = dict(architecture="ir", width=0.125, embeddingSize=8)
    plain, fifty = (2, 2, 2, 2), (3, 4, 14, 3)
    cases = [
        case("face-pytorch-mobilefacenet", dict(mobile, blocks=[1, 4, 6, 2]), face_pytorch_mfn(), square),
        case("face-pytorch-mobilefacenet", dict(mobile, blocks=[1, 2, 0, 1]), face_pytorch_mfn(blocks=(1, 2, 0, 1), size=narrow), narrow),
        case("insightface-pytorch-mobilefacenet", dict(mobile, blocks=[1, 4, 6, 2], output="linear"), treb1en_mfn(), square),
        case("arcface-torch-mbf", dict(mobile, blocks=[1, 4, 6, 2], scale=2, output="linear"), mbf(), square),
        case("arcface-torch-mbf", dict(mobile, blocks=[2, 8, 12, 4], scale=4, output="linear"), mbf(blocks=(2, 8, 12, 4), scale=4), square),
        case("insightface-pytorch-ir", dict(of_ir, depth=50, attention="none", midBatchNorm=False, shortcut="pool"), ir(fifty, "body"), square),
        case("insightface-pytorch-ir", dict(of_ir, depth=18, attention="se", reduction=4, midBatchNorm=False, shortcut="pool"),
             ir(plain, "body", attention="se", size=narrow), narrow),
        case("insightface-pytorch-ir", dict(of_ir, depth=18, attention="none", midBatchNorm=True, shortcut="pool"),
             ir(plain, "body", middle=True), square),
    ]
    for attention in ("none", "se", "cam", "sam", "cbam"):
        cases.append(case("face-pytorch-cbam", dict(of_ir, depth=18, attention=attention, midBatchNorm=True, shortcut="conv"),
                          ir(plain, "layer", attention=attention, middle=True, pool=False), square))
    cases += [
        case("arcface-torch-iresnet", dict(of_ir, depth=18, attention="none", midBatchNorm=True, shortcut="conv"), iresnet(plain, size=narrow), narrow),
        case("arcface-torch-iresnet", dict(of_ir, depth=34), iresnet((3, 4, 6, 3)), square),
        case("arcface-torch-iresnet", dict(of_ir, units=[1, 3, 2, 1]), iresnet((1, 3, 2, 1)), square),
        case("face-pytorch-resnet", dict(architecture="resnet", depth=18, width=0.125, embeddingSize=8), resnet(plain, False), square),
        case("face-pytorch-resnet", dict(architecture="resnet", depth=50, width=0.125, embeddingSize=8), resnet((3, 4, 6, 3), True), square),
        case("face-pytorch-spherenet", dict(architecture="spherenet", depth=20, width=0.125, embeddingSize=8), spherenet((1, 2, 4, 1)), square),
    ]
    attention = dict(architecture="residual-attention", width=0.125, embeddingSize=8, sumFirst=True)
    cases.append(case("face-pytorch-attention", dict(attention, depth=92, channels=[256, 512, 512, 1024]), attention_net((1, 2, 3), (32, 64, 64, 128)), square))
    text = '{\n "seed": %d,\n "cases": [\n%s\n ]\n}\n' % (SEED, ",\n".join("  " + json.dumps(c, separators=(",", ":")) for c in cases))
    pathlib.Path(__file__).with_suffix(".json").write_text(text)


main()
