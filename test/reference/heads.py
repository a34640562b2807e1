"""Writes heads.json: the loss of every margin head and its gradients, by plain PyTorch formulas in float64.

Each formula is written from the paper with acos and cos, where the heads in src/heads use identities and polynomials. One
problem serves all: with key = fold(keyOf(2027), 'heads') embeddings are normal(fold(key, 'x'), 8·6), centres
normal(fold(key, 'weight'), rows·6), labels given. Row 0 is moved to nearly opposite to its centre (past θ + m = π), row 1
to nearly at its centre. A case scales the embeddings by a power of two.

`drift` is the largest error of the same computation in float32 PyTorch over several orders of rows and of dimensions, which
leave the exact result as it is.

Run: python3 test/reference/heads.py      (PyTorch and numpy; a second)
"""

import json
import math
import pathlib

import numpy as np
import torch
from torch.nn import functional as F

import counterRandom
from counterRandom import fold, key_of, normal

ROWS, DIM, CLASSES = 8, 6, 7
LABELS = [2, 0, 6, 3, 3, 1, 5, 4]
KEY = fold(key_of(2027), "heads")
CASES = []


def case(name, head, options=None, x_scale=1, centres=1, state=None, extra=()):
    def register(compute):
        CASES.append((name, head, options or {}, x_scale, centres, state or {}, extra, compute))
        return compute

    return register


SEEN = {}


def cross_entropy(logits, labels):
    """PyTorch's, and whether each row's own logit is the largest."""
    SEEN["marginHits"] = (logits.argmax(1) == labels).double().detach()
    return F.cross_entropy(logits, labels)


def cosines(x, w):
    return F.normalize(x) @ F.normalize(w).T


def with_target(c, labels, logit, other=None):
    rows = torch.arange(len(labels))
    z = (c if other is None else other).clone()
    z[rows, labels] = logit(c[rows, labels])
    return z


def hard(c, m):
    """cos(theta + m), and c - m sin m where theta + m is past pi."""
    theta = torch.acos(c)
    return torch.where(theta + m < math.pi, torch.cos(theta + m), c - m * torch.sin(torch.as_tensor(m, dtype=c.dtype)))


@case("softmax", "softmax")
def _(x, w, y, o, st):
    return cross_entropy(x @ w.T, y)


@case("softmax.bias", "softmax", dict(bias=True), extra=("bias",))
def _(x, w, y, o, st, bias):
    return cross_entropy(x @ w.T + bias, y)


@case("softmax.smoothing", "softmax", dict(labelSmoothing=0.1))
def _(x, w, y, o, st):
    return F.cross_entropy(x @ w.T, y, label_smoothing=o["labelSmoothing"])


@case("normFace", "normface", dict(s=16))
def _(x, w, y, o, st):
    return cross_entropy(o["s"] * cosines(x, w), y)


@case("arcFace", "arcface", dict(s=32, m=0.5))
def _(x, w, y, o, st):
    return cross_entropy(o["s"] * with_target(cosines(x, w), y, lambda c: hard(c, o["m"])), y)


case("arcFace.small", "arcface", dict(s=32, m=0.1))(CASES[-1][-1])


@case("arcFace.angle", "arcface", dict(s=32, m=0.1, form="angle"))
def _(x, w, y, o, st):
    return cross_entropy(o["s"] * with_target(cosines(x, w), y, lambda c: c + (torch.cos(torch.acos(c) + o["m"]) - c).detach()), y)


@case("cosFace", "cosface", dict(s=32, m=0.35))
def _(x, w, y, o, st):
    return cross_entropy(o["s"] * with_target(cosines(x, w), y, lambda c: c - o["m"]), y)


def sphere(x, w, y, o, st):
    it = st["iteration"] + 1
    st["iteration"] = it
    lam = max(o.get("lambdaMin", 5), 1000 * (1 + 0.12 * it) ** -1)
    norm = x.norm(dim=1)

    def logit(c):
        theta, m = torch.acos(c), o["m"]
        k = torch.floor(m * theta / math.pi)
        psi = torch.cos(math.pi * k) * torch.cos(m * theta) - 2 * k
        return (lam * c + psi) / (1 + lam)

    return cross_entropy(norm[:, None] * with_target(cosines(x, w), y, logit), y)


for m in (1, 2, 3, 4):
    case(f"sphereFace.{m}", "sphereface", dict(m=m, lambdaMin=0), state=dict(iteration=20000))(sphere)
case("sphereFace.start", "sphereface", dict(m=4), state=dict(iteration=0))(sphere)
case("sphereFace.end", "sphereface", dict(m=4), state=dict(iteration=100000))(sphere)


def combined(x, w, y, o, st):
    def logit(c):
        if o.get("m1", 1) == 1:
            return hard(c, o["m2"]) - o["m3"]
        t = o["m1"] * torch.acos(c) + o["m2"]
        k = torch.floor(t / math.pi)
        return torch.where(k % 2 == 0, 1.0, -1.0) * torch.cos(t) - 2 * k - o["m3"]

    return cross_entropy(o["s"] * with_target(cosines(x, w), y, logit), y)


case("combinedMargin", "combined", dict(s=32, m1=1, m2=0.3, m3=0.2))(combined)
case("multiMargin", "multimargin", dict(s=32, m2=0.2, m3=0.35))(combined)


@case("combinedMargin.filter", "combined", dict(s=16, m1=1, m2=0.3, m3=0.2, filter=0.4))
def _(x, w, y, o, st):
    c = cosines(x, w)
    return cross_entropy(o["s"] * with_target(c, y, lambda v: hard(v, o["m2"]) - o["m3"], c * (c <= o["filter"])), y)


case("combinedMargin.m1", "combined", dict(s=16, m1=1.35, m2=0.2, m3=0.1))(combined)
case("combinedMargin.sphere", "combined", dict(s=8, m1=4, m2=0, m3=0))(combined)


def ada_cos(x, w, y, o, st):
    c = cosines(x, w)
    if o["dynamic"]:
        with torch.no_grad():
            others = torch.exp(st["scale"] * c) * (1 - F.one_hot(y, CLASSES))
            median = torch.acos(c[torch.arange(len(y)), y]).median()
            st["scale"] = (torch.log(others.sum(1).mean()) / torch.cos(median.clamp(max=math.pi / 4))).item()
    return cross_entropy(st["scale"] * c, y)


case("adaCos.fixed", "adacos", dict(dynamic=False), state=dict(scale=float(np.float32(math.sqrt(2) * math.log(CLASSES - 1)))))(ada_cos)
case("adaCos.dynamic", "adacos", dict(dynamic=True), state=dict(scale=2.5))(ada_cos)


@case("curricularFace", "curricularface", dict(s=16, m=0.5), state=dict(t=0.25))
def _(x, w, y, o, st):
    c = cosines(x, w)
    own = c.gather(1, y[:, None])
    st["t"] = 0.99 * st["t"] + 0.01 * own.mean().item()
    hard_ones = c > torch.cos(torch.acos(own) + o["m"])
    other = torch.where(hard_ones, c * (st["t"] + c), c)
    return cross_entropy(o["s"] * with_target(c, y, lambda v: hard(v, o["m"]), other), y)


def ada_face(x, w, y, o, st):
    c = cosines(x, w)
    norms = x.norm(dim=1).clamp(0.001, 100).detach()
    k = o["momentum"]
    st["normMean"] = k * st["normMean"] + (1 - k) * norms.mean().item()
    st["normStd"] = k * st["normStd"] + (1 - k) * norms.std().item()
    z = (0.333 * (norms - st["normMean"]) / (st["normStd"] + 0.001)).clamp(-1, 1)

    def logit(v):
        return torch.cos((torch.acos(v) - o["m"] * z).clamp(0, math.pi)) - (o["m"] + o["m"] * z)

    return cross_entropy(o["s"] * with_target(c, y, logit), y)


ada_state = dict(normMean=20, normStd=100)
case("adaFace.start", "adaface", dict(s=32, m=0.4, momentum=0.99), x_scale=8, state=ada_state)(ada_face)
case("adaFace", "adaface", dict(s=32, m=0.4, momentum=0.25), x_scale=8, state=dict(normMean=15, normStd=1))(ada_face)


def mag_face(x, w, y, o, st):
    a = x.norm(dim=1).clamp(10, 110)
    m = 0.4 + (0.8 - 0.4) / (110 - 10) * (a - 10)

    def logit(c):
        if o["easyMargin"]:
            return torch.where(c > 0, torch.cos(torch.acos(c) + m), c)
        theta = torch.acos(c)
        return torch.where(theta + m < math.pi, torch.cos(theta + m), c - m * torch.sin(m))

    loss = cross_entropy(o["s"] * with_target(cosines(x, w), y, logit), y)
    return loss + 35 * (1 / a + a / 110**2).mean()


case("magFace", "magface", dict(s=32, easyMargin=True), x_scale=8)(mag_face)
case("magFace.hard", "magface", dict(s=32, easyMargin=False), x_scale=32)(mag_face)


@case("subCenterArcFace", "subcenter-arcface", dict(s=32, m=0.5, k=3), centres=3)
def _(x, w, y, o, st):
    c = cosines(x, w).reshape(ROWS, CLASSES, o["k"]).amax(2)
    return cross_entropy(o["s"] * with_target(c, y, lambda v: hard(v, o["m"])), y)


def multi_face(x, w, y, o, st):
    whole = o["norm"] == "whole"
    parts = (F.normalize(x) if whole else x).chunk(o["n"], 1)
    logits = []
    for e, v in zip(parts, w.chunk(o["n"], 1)):
        c = (e if whole else F.normalize(e)) @ F.normalize(v).T
        if o["loss"] == "arcface":
            c = with_target(c, y, lambda t: hard(t, o["m"]))
        elif o["loss"] == "cosface":
            c = with_target(c, y, lambda t: t - o["m"])
        logits.append(o["s"] * c)
    SEEN["marginHits"] = (sum(logits).argmax(1) == y).double().detach()
    return sum(F.cross_entropy(z, y) for z in logits)


case("multiFace", "multiface", dict(n=2, loss="arcface", s=32, m=0.1, norm="whole"))(multi_face)
case("multiFace.slice", "multiface", dict(n=3, loss="arcface", s=16, m=0.3, norm="slice"))(multi_face)
case("multiFace.cosine", "multiface", dict(n=2, loss="cosface", s=16, m=0.35, norm="slice"))(multi_face)
case("multiFace.softmax", "multiface", dict(n=3, loss="normface", s=32, norm="whole"))(multi_face)
case("multiFace.one", "multiface", dict(n=1, loss="arcface", s=32, m=0.5, norm="whole"))(multi_face)


def problem(x_scale, centres):
    w = normal(fold(KEY, "weight"), CLASSES * centres * DIM).reshape(-1, DIM)
    x = normal(fold(KEY, "x"), ROWS * DIM).reshape(ROWS, DIM).copy()
    x[0] = np.float32(0.0625) * x[0] - w[LABELS[0] * centres]
    x[1] = np.float32(0.0625) * x[1] + w[LABELS[1] * centres]
    return x * np.float32(x_scale), w


def evaluate(c, dtype, rows=None, dims=None):
    _, head, options, x_scale, centres, state, extra, compute = c
    x, w = problem(x_scale, centres)
    rows = np.arange(ROWS) if rows is None else rows
    dims = np.arange(DIM) if dims is None else dims
    t = dict(x=x[rows][:, dims], weight=w[:, dims])
    if "bias" in extra:
        t["bias"] = normal(fold(KEY, "bias"), CLASSES)
    t = {n: torch.tensor(v, dtype=dtype, requires_grad=True) for n, v in t.items()}
    st = dict(state)
    y = torch.tensor(LABELS)[torch.from_numpy(rows)]
    loss = compute(t["x"], t["weight"], y, options, st, *[t[n] for n in extra])
    out = {"loss": loss.reshape(1)}
    if head != "softmax":
        out["marginHits"] = SEEN["marginHits"][torch.from_numpy(np.argsort(rows))]
    for n, g in zip(t, torch.autograd.grad(loss, list(t.values()))):
        g = g.numpy()
        if n == "x":
            g = g[np.argsort(rows)]
        if n != "bias":
            g = g[:, np.argsort(dims)]
        out["d" + n] = torch.from_numpy(g)
    return {n: v.detach().double().numpy().ravel() for n, v in out.items()}, st


def entry(c):
    name, head, options, x_scale, centres, state, _, _ = c
    truth, after = evaluate(c, torch.float64)
    drift = {n: 0.0 for n in truth}
    rng = np.random.default_rng(1)
    for trial in range(6):
        orders = (rng.permutation(ROWS), rng.permutation(DIM)) if trial else (None, None)
        single, _ = evaluate(c, torch.float32, *orders)
        for n, v in single.items():
            drift[n] = max(drift[n], float(np.abs(v - truth[n]).max()))
    outputs = ",\n".join(
        f'        "{n}": {{ "drift": {drift[n]:.3g}, "f64": [{", ".join(f"{v:.12g}" for v in truth[n])}] }}' for n in truth
    )
    facts = dict(name=name, head=head, options=options, xScale=x_scale, centres=centres, state=state, after=after)
    facts = ", ".join(f'"{k}": {json.dumps(v)}' for k, v in facts.items())
    return f'    {{\n      {facts},\n      "outputs": {{\n{outputs}\n      }}\n    }}'


def main():
    counterRandom.check()
    text = (
        f'{{\n  "made": "test/reference/heads.py, PyTorch {torch.__version__}",\n  "labels": {LABELS},\n  "cases": [\n'
        + ",\n".join(entry(c) for c in CASES)
        + "\n  ]\n}\n"
    )
    json.loads(text)
    pathlib.Path(__file__).with_suffix(".json").write_text(text)


if __name__ == "__main__":
    main()
