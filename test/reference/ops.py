"""Writes ops.json: single operations and their gradients, computed by PyTorch in float64 on inputs both sides draw.

Layouts are ours: NHWC, weights [kh, kw, Cin/groups, Cout], padding [top, bottom, left, right].
With key = fold(keyOf(2026), caseName) and n the number of elements, input `name` is, by its kind:
  normal    normal(fold(key, name), n)
  uniform   uniform(fold(key, name), n)                    (variances, second moments)
  labels    floor(classes * uniform(fold(key, name), n)), the product in float64
  fixed     the values in the file
The gradients are those of sum(y * dy) with dy = normal(fold(key, 'dy'), n) in y's shape; for a loss (a scalar y), of y itself.

An output holds `shape`, `f64`: [L2 norm, projection 0, projection 1], `first`: its first four values, and `drift`:
||float32 - float64|| of the same computation in float32 PyTorch (0 where PyTorch happens to be exact). Projection j is the
dot product in float64 with normal(fold(key, 'projection', outputName, j), n).

Run: python3 test/reference/ops.py      (PyTorch and numpy; a second)
"""

import json
import pathlib

import numpy as np
import torch
from torch.nn import functional as F

import counterRandom
from counterRandom import fold, key_of, normal, uniform
from mobileFaceNet import ArcFace

SEED = 2026
CASES = []


def case(name, op, inputs, attrs=None, wrt=()):
    """Registers a computation: (tensors, attrs) -> {output name: tensor}; gradients are taken of `y` for `wrt`."""

    def register(compute):
        CASES.append(dict(name=name, op=op, inputs=inputs, attrs=attrs or {}, wrt=wrt, compute=compute))
        return compute

    return register


def draw(key, name, spec):
    kind, shape = spec["kind"], spec["shape"]
    n = int(np.prod(shape))
    if kind == "normal":
        v = normal(fold(key, name), n)
    elif kind == "uniform":
        v = uniform(fold(key, name), n)
    elif kind == "labels":
        v = np.floor(spec["classes"] * uniform(fold(key, name), n).astype(np.float64)).astype(np.int64)
    else:
        v = np.array(spec["values"], np.float32)
    return torch.from_numpy(np.asarray(v).reshape(shape))


def evaluate(c, dtype):
    key = fold(key_of(SEED), c["name"])
    inputs = {n: draw(key, n, s) for n, s in c["inputs"].items()}
    inputs = {n: (t if t.dtype == torch.int64 else t.to(dtype).requires_grad_(n in c["wrt"])) for n, t in inputs.items()}
    outputs = c["compute"](inputs, c["attrs"])
    if c["wrt"]:
        y = outputs["y"]
        dy = None if y.dim() == 0 else torch.from_numpy(normal(fold(key, "dy"), y.numel()).reshape(y.shape)).to(dtype)
        for n, g in zip(c["wrt"], torch.autograd.grad(y, [inputs[n] for n in c["wrt"]], dy)):
            outputs["d" + n] = g
    return key, {n: t.detach().contiguous() for n, t in outputs.items()}


def numbers(v):
    return "[" + ", ".join(f"{x:.15g}" for x in v) + "]"


def entry(c):
    key, truth = evaluate(c, torch.float64)
    _, single = evaluate(c, torch.float32)
    rows = []
    for n, t in truth.items():
        v = t.numpy().ravel()
        dots = [np.dot(v, normal(fold(key, "projection", n, j), v.size).astype(np.float64)) for j in (0, 1)]
        drift = np.linalg.norm(single[n].double().numpy().ravel() - v)
        rows.append(
            f'        {json.dumps(n)}: {{ "shape": {json.dumps(list(t.shape))}, '
            f'"f64": {numbers([np.linalg.norm(v), *dots])}, "first": {numbers(v[:4])}, "drift": {drift:.3g} }}'
        )
    head = ", ".join(f"{json.dumps(k)}: {json.dumps(c[k])}" for k in ("name", "op"))
    inputs = ",\n".join(f"        {json.dumps(n)}: {json.dumps(s)}" for n, s in c["inputs"].items())
    return (
        f'    {{\n      {head},\n      "attrs": {json.dumps(c["attrs"])},\n'
        f'      "inputs": {{\n{inputs}\n      }},\n      "outputs": {{\n' + ",\n".join(rows) + "\n      }\n    }"
    )


def tensor(*shape):
    return dict(kind="normal", shape=shape)


def positive(*shape):
    return dict(kind="uniform", shape=shape)


def labels(n, classes):
    return dict(kind="labels", shape=(n,), classes=classes)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def padded(x, padding, value=0.0):
    top, bottom, left, right = padding
    return F.pad(nchw(x), (left, right, top, bottom), value=value)


# Convolutions.

def convolution(name, x, w, bias=False, **attrs):
    attrs = dict(dict(stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1], groups=1), **attrs)
    inputs = dict(x=tensor(*x), weight=tensor(*w), **({"bias": tensor(w[-1])} if bias else {}))

    @case(name, "conv2d", inputs, attrs, wrt=tuple(inputs))
    def _(t, a):
        w = t["weight"].permute(3, 2, 0, 1)
        y = F.conv2d(padded(t["x"], a["padding"]), w, t.get("bias"), a["stride"], 0, a["dilation"], a["groups"])
        return {"y": nhwc(y)}


convolution("conv2d.plain", (2, 7, 6, 3), (3, 3, 3, 5), bias=True, padding=[1, 1, 1, 1])
convolution("conv2d.pointwise", (2, 5, 5, 8), (1, 1, 8, 12))
convolution("conv2d.strided", (2, 9, 8, 4), (3, 3, 4, 6), stride=[2, 2], padding=[1, 1, 1, 1])
convolution("conv2d.stridesDiffer", (1, 9, 10, 2), (3, 2, 2, 3), stride=[2, 3], padding=[1, 0, 0, 1])
convolution("conv2d.same", (2, 8, 8, 3), (3, 3, 3, 4), stride=[2, 2], padding=[0, 1, 0, 1])
convolution("conv2d.grouped", (2, 6, 5, 6), (3, 3, 2, 9), groups=3, padding=[1, 1, 1, 1])
convolution("conv2d.dilated", (1, 9, 9, 3), (3, 3, 3, 4), dilation=[2, 3], padding=[2, 2, 3, 3])
convolution("conv2d.everything", (2, 11, 9, 4), (3, 2, 2, 6), True, stride=[2, 1], dilation=[1, 2], groups=2, padding=[0, 2, 1, 0])
convolution("conv2d.depthwise", (2, 7, 7, 10), (3, 3, 1, 10), groups=10, padding=[1, 1, 1, 1])
convolution("conv2d.depthwiseStrided", (2, 8, 7, 9), (3, 3, 1, 9), groups=9, stride=[2, 2], padding=[1, 1, 1, 1])
convolution("conv2d.globalDepthwise", (3, 7, 7, 16), (7, 7, 1, 16), groups=16)

# Batch norm. PyTorch's convention: running = (1 - momentum) running + momentum batch, the running variance unbiased.

BN = dict(eps=1e-5, momentum=0.1)


def batch_norm(name, training, shape=(4, 3, 2, 5), shift=0.0):
    c = shape[-1]
    inputs = dict(x=tensor(*shape), weight=tensor(c), bias=tensor(c), runningMean=tensor(c), runningVar=positive(c))

    @case(name, "batchNorm", inputs, dict(BN, training=training, shift=shift), wrt=("x", "weight", "bias"))
    def _(t, a):
        mean, var = t["runningMean"].clone(), t["runningVar"].clone()
        x = nchw(t["x"] + shift)
        y = F.batch_norm(x, mean, var, t["weight"], t["bias"], a["training"], a["momentum"], a["eps"])
        return {"y": nhwc(y), **({"runningMean": mean, "runningVar": var} if training else {})}


batch_norm("batchNorm.train", True)
batch_norm("batchNorm.trainOneMap", True, (8, 1, 1, 6))
batch_norm("batchNorm.trainFarFromZero", True, (4, 5, 5, 3), shift=100.0)  # x + 100, where E[x^2] - E[x]^2 cancels
batch_norm("batchNorm.eval", False)

# Activations and pooling.


@case("prelu", "prelu", dict(x=tensor(2, 3, 4, 5), weight=tensor(5)), wrt=("x", "weight"))
def _(t, a):
    return {"y": nhwc(F.prelu(nchw(t["x"]), t["weight"]))}


def pool(name, op, x, kernel, **attrs):
    attrs = dict(dict(kernel=kernel, stride=kernel, padding=[0, 0]), **attrs)

    @case(name, op, dict(x=tensor(*x)), attrs, wrt=("x",))
    def _(t, a):
        if op == "maxPool":
            return {"y": nhwc(F.max_pool2d(nchw(t["x"]), a["kernel"], a["stride"], a["padding"]))}
        y = F.avg_pool2d(nchw(t["x"]), a["kernel"], a["stride"], a["padding"], count_include_pad=a["countIncludePad"])
        return {"y": nhwc(y)}


pool("maxPool.plain", "maxPool", (2, 6, 4, 3), [2, 2])
pool("maxPool.overlap", "maxPool", (2, 7, 8, 5), [3, 3], stride=[2, 2], padding=[1, 1])
pool("avgPool.plain", "avgPool", (2, 6, 4, 3), [2, 2], countIncludePad=True)
pool("avgPool.countIncludePad", "avgPool", (2, 7, 8, 5), [3, 3], stride=[2, 2], padding=[1, 1], countIncludePad=True)
pool("avgPool.countExcludePad", "avgPool", (2, 7, 8, 5), [3, 3], stride=[2, 2], padding=[1, 1], countIncludePad=False)


def resize(name, x, size, align):
    @case(name, "resizeBilinear", dict(x=tensor(*x)), dict(size=size, alignCorners=align), wrt=("x",))
    def _(t, a):
        return {"y": nhwc(F.interpolate(nchw(t["x"]), a["size"], mode="bilinear", align_corners=a["alignCorners"]))}


resize("resize.up", (2, 4, 5, 3), [8, 10], False)
resize("resize.upAligned", (2, 4, 5, 3), [8, 10], True)
resize("resize.odd", (1, 7, 6, 2), [5, 11], False)
resize("resize.oddAligned", (1, 7, 6, 2), [5, 11], True)

# Losses and the margin head.


def cross_entropy(name, n, classes, smoothing):
    inputs = dict(x=tensor(n, classes), labels=labels(n, classes))

    @case(name, "crossEntropy", inputs, dict(labelSmoothing=smoothing, reduction="mean"), wrt=("x",))
    def _(t, a):
        return {"y": F.cross_entropy(t["x"], t["labels"], label_smoothing=a["labelSmoothing"])}


cross_entropy("crossEntropy.plain", 5, 7, 0.0)
cross_entropy("crossEntropy.smooth", 5, 7, 0.1)


@case("l2Normalize", "l2Normalize", dict(x=tensor(4, 9)), dict(eps=1e-12), wrt=("x",))
def _(t, a):
    return {"y": F.normalize(t["x"], eps=a["eps"])}


@case(
    "arcface",
    "arcface",
    dict(x=tensor(6, 4), weight=tensor(5, 4), labels=labels(6, 5)),
    dict(s=32.0, m=0.5, clampSine=1e-7),
    wrt=("x", "weight"),
)
def _(t, a):
    head = ArcFace(4, 5, a["s"], a["m"])
    del head.weight
    head.weight = t["weight"]
    return {"y": head(t["x"], t["labels"])}


# Row 0 of x points almost opposite to its class, past the angle where theta + m would exceed pi.
ROW = [0.5, -0.25, 1.0, 0.75]


@case(
    "arcface.fallback",
    "arcface",
    dict(
        x=dict(kind="fixed", shape=(2, 4), values=[[-2 * v + 0.0625 * (i == 0) for i, v in enumerate(ROW)], ROW[::-1]]),
        weight=dict(kind="fixed", shape=(2, 4), values=[ROW, [1.0, 0.5, -0.5, 0.25]]),
        labels=dict(kind="fixed", shape=(2,), values=[0, 1]),
    ),
    dict(s=32.0, m=0.5, clampSine=1e-7),
    wrt=("x", "weight"),
)
def _(t, a):
    head = ArcFace(4, 2, a["s"], a["m"])
    del head.weight
    head.weight = t["weight"]
    return {"y": head(t["x"], t["labels"].long())}


# Optimizers: five steps on gradients g0 ... g4 that do not depend on the weights.


def optimizer(name, op, make, **attrs):
    inputs = dict(weight=tensor(33), **{f"g{i}": tensor(33) for i in range(5)})

    @case(name, op, inputs, attrs)
    def _(t, a):
        w = torch.nn.Parameter(t["weight"].clone())
        o = make([w], a)
        for i in range(5):
            w.grad = t[f"g{i}"].clone()
            o.step()
        return {"weight": w.detach()}


def sgd(ps, a):
    return torch.optim.SGD(ps, a["lr"], a["momentum"], weight_decay=a["weightDecay"], nesterov=a["nesterov"])


def adam(kind):
    return lambda ps, a: kind(ps, a["lr"], tuple(a["betas"]), a["eps"], a["weightDecay"])


optimizer("sgd.plain", "sgd", sgd, lr=0.1, momentum=0.0, weightDecay=0.0, nesterov=False)
optimizer("sgd.momentum", "sgd", sgd, lr=0.1, momentum=0.9, weightDecay=0.05, nesterov=False)
optimizer("sgd.nesterov", "sgd", sgd, lr=0.1, momentum=0.9, weightDecay=0.05, nesterov=True)
optimizer("adam", "adam", adam(torch.optim.Adam), lr=0.01, betas=[0.9, 0.999], eps=1e-8, weightDecay=0.05)
optimizer("adamW", "adamW", adam(torch.optim.AdamW), lr=0.01, betas=[0.9, 0.999], eps=1e-8, weightDecay=0.05)


def main():
    counterRandom.check()
    text = (
        f'{{\n  "made": "test/reference/ops.py, PyTorch {torch.__version__}, numpy {np.__version__}",\n'
        f'  "seed": {SEED},\n  "cases": [\n' + ",\n".join(entry(c) for c in CASES) + "\n  ]\n}\n"
    )
    json.loads(text)
    pathlib.Path(__file__).with_suffix(".json").write_text(text)


if __name__ == "__main__":
    main()
