"""What the references of face networks share (resNet.py, slimResNet.py …): parts, counts, small runs in float64.

Module paths are the names of our checkpoints. The layout differs: our convolutions are [kh, kw, Cin/groups, Cout], our dense
weights [in, out] with a map flattened as h, w, c.

Draw rule of the runs, in row-major order of OUR layout, key = fold(keyOf(seed), name), products in float64, rounded to float32:
  weights of one axis      1 + 0.2 n, n = normal(key, size)           (batch norm; PReLU: 0.25 + 0.2 n)
  biases                   0.2 n
  convolutions             n * sqrt(2 / (kh kw Cout))
  dense                    n * sqrt(2 / (in + out))
  images                   normal(fold(keyOf(seed), 'images')) [4, H, W, 3];   r = normal(fold(keyOf(seed), 'r')) [4, d]
A run is one forward and backward pass of sum(r * embeddings) in training (dropout 0), which moves the running statistics, and
one forward pass in evaluation with those. A gradient's summary is
[L2 norm, sum of g[i] cos(i)] in our layout.

The truth is float64. `drift` beside it is how far honest float32 runs stray: the largest distance over runs that differ in
order of summation only (layout, library, order of the images); of embeddings the largest over the numbers, of a gradient
the L2 norm of the difference.

Parameters are tensors with a gradient; multiply-adds those of convolutions and dense layers.
"""

import contextlib
import copy
import json
import math
import pathlib

import numpy as np
import torch
from torch import nn

from counterRandom import fold, key_of, normal

BATCH = 4


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


class Flatten(nn.Module):
    """As our maps lie in memory: rows, columns, channels."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Mean(nn.Module):
    """Over the map. PyTorch 1.13's batch norm goes wrong on a gradient that is broadcast, where maps are one wide: here it is not."""

    def forward(self, x):
        return (x * 1.0).flatten(2).mean(2)[:, :, None, None]


def conv_bn(cin, cout, kernel, stride=1, padding=0, groups=1, **activation):
    parts = {"conv": nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False), "bn": nn.BatchNorm2d(cout)}
    return Named({**parts, **activation})


def output(kind, h, w, c, embedding, dropout):
    """The last map to embeddings: E, GDC or GAP."""
    top = {"depthwise": conv_bn(c, c, (h, w), groups=c)} if kind == "GDC" else {"bn": nn.BatchNorm2d(c)}
    if kind == "GAP":
        top["pool"] = Mean()
    inputs = c * h * w if kind == "E" else c
    return Named({**top, "dropout": nn.Dropout(dropout), "flatten": Flatten(), "fc": nn.Linear(inputs, embedding),
                  "embedding": nn.BatchNorm1d(embedding)})


def scaled(channels, width):
    return max(8, math.floor(channels * width / 8 + 0.5) * 8)


def counts(make, options):
    """Of the same network without numbers, where only shapes are computed."""
    model = make(**options).to("meta").eval()
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
    model(torch.empty(1, 3, *options.get("inputSize", (112, 112)), device="meta"))
    return {"options": options, "parameters": sum(p.numel() for p in model.parameters()), "multiplyAdds": macs}


def to_ours(t):
    a = t.detach().numpy()
    return a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T if a.ndim == 2 else a


def from_ours(a, shape):
    if len(shape) == 4:
        o, i, kh, kw = shape
        return a.reshape(kh, kw, i, o).transpose(3, 2, 0, 1)
    return a.reshape(shape[::-1]).T if len(shape) == 2 else a


def drawn(seed, name, *shape):
    return normal(fold(key_of(seed), name), math.prod(shape)).astype(np.float64).reshape(shape)


def draw(model, seed):
    for name, p in model.named_parameters():
        n = drawn(seed, name, p.numel())
        if p.dim() == 4:
            v = n * math.sqrt(2 / (p.shape[2] * p.shape[3] * p.shape[0]))
        elif p.dim() == 2:
            v = n * math.sqrt(2 / (p.shape[0] + p.shape[1]))
        else:
            v = 0.2 * n + (0 if name.endswith("bias") else 0.25 if "prelu" in name else 1)
        with torch.no_grad():
            p.copy_(torch.from_numpy(np.ascontiguousarray(from_ours(v.astype(np.float32), tuple(p.shape)))))


def passes(model, seed, size, dim, dtype, layout=torch.contiguous_format, onednn=True, order=slice(None)):
    """Embeddings in training, in evaluation after it, and gradients: each flat, float64, in our layout."""
    model = copy.deepcopy(model).to(dtype).to(memory_format=layout)
    x = torch.from_numpy(np.ascontiguousarray(drawn(seed, "images", BATCH, *size, 3).transpose(0, 3, 1, 2)[order]))
    r = torch.from_numpy(np.ascontiguousarray(drawn(seed, "r", BATCH, dim)[order])).to(dtype)
    x = x.to(dtype).contiguous(memory_format=layout)
    with contextlib.nullcontext() if onednn else torch.backends.mkldnn.flags(enabled=False):
        y = model.train()(x)
        (r * y).sum().backward()
        with torch.no_grad():
            evaluated = model.eval()(x)
    rows = lambda t: t.detach().numpy()[order].astype(np.float64).flatten()
    gradients = {n: to_ours(p.grad.contiguous()).astype(np.float64).flatten() for n, p in model.named_parameters()}
    return {"trained": rows(y), "evaluated": rows(evaluated)}, gradients


def run(make, options, seed):
    model = make(**options)
    draw(model, seed)
    given = (model, seed, options["inputSize"], options["embeddingSize"])
    truth, gradients = passes(*given, torch.float64)
    variants = (dict(), dict(layout=torch.channels_last), dict(onednn=False), dict(order=np.arange(BATCH)[::-1]))
    others = [passes(*given, torch.float32, **v) for v in variants]
    short = lambda v, digits=13: float(f"{v:.{digits}g}")
    out = {"options": options}
    for name, y in truth.items():
        drift = max(np.abs(o[0][name] - y).max() for o in others)
        out[name] = {"drift": short(drift, 3), "f64": [short(v) for v in y]}
        print(options, name, "drift", drift, "of", np.abs(y).max())
    out["gradients"] = {}
    for name, g in gradients.items():
        drift = max(np.linalg.norm(o[1][name] - g) for o in others)
        summary = [short(np.linalg.norm(g)), short(g @ np.cos(np.arange(g.size)))]
        out["gradients"][name] = {"drift": short(drift, 3), "f64": summary}
    return out


def write(script, make, seed, full, small):
    """The JSON beside a script: counts at full size, runs at a small one."""
    out = {"seed": seed, "counts": [counts(make, o) for o in full], "runs": [run(make, o, seed) for o in small]}
    for c in out["counts"]:
        print(c["options"], f"{c['parameters']:,} parameters, {c['multiplyAdds']:,} multiply-adds")
    lines = [f'{{\n "seed": {seed},\n "counts": [\n  ' + ",\n  ".join(json.dumps(c) for c in out["counts"]) + "\n ],"]
    runs = []
    for r in out["runs"]:
        table = ",\n".join(f"    {json.dumps(n)}: {json.dumps(v)}" for n, v in r["gradients"].items())
        parts = ",\n".join(f"   {json.dumps(k)}: {json.dumps(r[k])}" for k in ("options", "trained", "evaluated"))
        runs.append(f'  {{\n{parts},\n   "gradients": {{\n{table}\n   }}\n  }}')
    lines.append(' "runs": [\n' + ",\n".join(runs) + "\n ]\n}\n")
    text = "\n".join(lines)
    assert json.loads(text) == out
    pathlib.Path(script).with_suffix(".json").write_text(text)
