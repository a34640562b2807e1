"""Writes smallNet.json: 100 training steps of a small network in PyTorch, by every optimizer and with every loss.

The truth is a float64 run. How far honest float32 runs stray from it by the same step is measured as well, over runs that
differ in order of summation only (`drift`), and a test derives its bound from that. The losses and optimizers that PyTorch
has no class for are written here from their papers, with acos and cos, loops and index lists.

The network: conv 3x3 stride 2, 3 -> 8; depthwise 3x3, 8; each with batch norm and PReLU; flat in the order (row, column,
channel); linear 128 -> 16 without bias; batch norm. With key = keyOf(seed) and fold(key, a, b) for fold(fold(key, a), b):
  parameters of two axes and more  normal(fold(key, name), n) in our layout, times 1/sqrt(kh kw in) for convolutions,
                                   1/sqrt(in) for the linear layer, 1/4 for those of losses
  others                           batch norm 1 and 0, PReLU 1/4, the bias of softmax 0
  labels of step t                 floor(C uniform(fold(key, 'labels', t), B))
  images of step t                 pattern(label) + 2 normal(fold(key, 'noise', t), B 8 8 3) as [B, 8, 8, 3],
                                   pattern(label) = normal(fold(key, 'class', label), 8 8 3)
  Partial FC's sample of step t    the classes of the batch and those with the largest draws under fold(key, 'draws', t)
Products are made in float64 and rounded to float32 once. Weight decay, where a case has it, is of the parameters of two axes
and more.

The JSON: cases of { name, optimizer: { name, lr, decay, options }, losses: [{ name, options, weight, rate, classes }],
loss[step] before its update, drift: the largest distance of a float32 run from loss up to steps 0, 10, ... 90, 99 }

Run: python3 test/reference/smallNet.py [part of a case's name]     (PyTorch 1.13 and numpy; a minute)
"""

import json
import math
import multiprocessing
import pathlib
import sys

import numpy as np
import torch
from torch.nn import functional as F

from counterRandom import fold, key_of, normal, threefry, uniform

SEED, STEPS, BATCH, CLASSES, SIDE, DIM = 2032, 100, 16, 6, 8, 16
KEY = key_of(SEED)
NETWORK = {
    "stem.conv.weight": (3, 3, 3, 8), "stem.bn.weight": (8,), "stem.bn.bias": (8,), "stem.prelu.weight": (8,),
    "depthwise.conv.weight": (3, 3, 1, 8), "depthwise.bn.weight": (8,), "depthwise.bn.bias": (8,),
    "depthwise.prelu.weight": (8,),
    "linear.weight": (128, DIM), "bn.weight": (DIM,), "bn.bias": (DIM,),
}


def start(name, shape):
    if len(shape) == 1:
        return np.full(shape, 0.25 if "prelu" in name else 1.0 if name.endswith("bn.weight") else 0.0)
    scale = 1 / math.sqrt(np.prod(shape[:-1])) if name in NETWORK else 0.25
    return (normal(fold(KEY, name), int(np.prod(shape))).astype(np.float64) * scale).astype(np.float32).reshape(shape)


def batches():
    n = SIDE * SIDE * 3
    patterns = np.stack([normal(fold(KEY, "class", c), n) for c in range(CLASSES)]).astype(np.float64)
    for t in range(STEPS):
        labels = np.floor(CLASSES * uniform(fold(KEY, "labels", t), BATCH).astype(np.float64)).astype(np.int64)
        images = patterns[labels] + normal(fold(KEY, "noise", t), BATCH * n).astype(np.float64).reshape(BATCH, n) * 2
        yield images.astype(np.float32).reshape(BATCH, SIDE, SIDE, 3), labels


DATA = list(batches())


def network(p, x):
    def block(x, name, **options):
        x = F.conv2d(x, p[name + ".conv.weight"].permute(3, 2, 0, 1), **options)
        x = F.batch_norm(x, None, None, p[name + ".bn.weight"], p[name + ".bn.bias"], True, eps=1e-5)
        return F.prelu(x, p[name + ".prelu.weight"])

    x = block(x, "stem", stride=2, padding=1)
    x = block(x, "depthwise", padding=1, groups=8)
    x = x.permute(0, 2, 3, 1).reshape(len(x), -1) @ p["linear.weight"]
    return F.batch_norm(x, None, None, p["bn.weight"], p["bn.bias"], True, eps=1e-5)


# Losses: name -> (shapes of parameters by options, first state, function of embeddings, labels, parameters, options, state).

LOSSES = {}


def loss(name, parameters=lambda o: {"weight": (o["classes"], DIM)}, state=lambda o: {}):
    return lambda f: LOSSES.setdefault(name, (parameters, state, f))


def cosines(x, w):
    return F.normalize(x) @ F.normalize(w).T


def with_target(c, y, target, others=None):
    own = F.one_hot(y, c.shape[1]).bool()
    return torch.where(own, target[:, None], c if others is None else others)


def own_of(c, y):
    return c.gather(1, y[:, None])[:, 0]


def arc(c, m, easy=False):
    """cos(theta + m); with `easy` where c > 0 only, else c - m sin m where theta + m is past pi."""
    m = torch.as_tensor(m, dtype=c.dtype)
    theta = torch.acos(c)
    if easy:
        return torch.where(c > 0, torch.cos(theta + m), c)
    return torch.where(theta + m < math.pi, torch.cos(theta + m), c - m * torch.sin(m))


@loss("softmax", lambda o: {"weight": (o["classes"], DIM), **({"bias": (CLASSES,)} if o.get("bias") else {})})
def _(x, y, p, o, st):
    return F.cross_entropy(F.linear(x, p["weight"], p.get("bias")), y, label_smoothing=o.get("labelSmoothing", 0))


@loss("normface")
def _(x, y, p, o, st):
    return F.cross_entropy(o["s"] * cosines(x, p["weight"]), y)


def sampled(y, o, t):
    """Partial FC's classes at step t, those of the batch first, and the labels' places among them."""
    key, size = fold(KEY, "draws", t), max(math.ceil(o["sampleRate"] * o["classes"]), len(y))
    draws = threefry(key, np.arange(o["classes"], dtype=np.uint32), 0x70666300)[0] >> np.uint32(8)
    there = sorted(set(y.tolist()))
    others = sorted(set(range(o["classes"])) - set(there), key=lambda c: -int(draws[c]))
    rows = there + others[: size - len(there)]
    return rows, torch.tensor([rows.index(c) for c in y.tolist()])


@loss("arcface", state=lambda o: {"t": -1})
def _(x, y, p, o, st):
    w = p["weight"]
    st["t"] += 1
    if "sampleRate" in o:
        rows, y = sampled(y, o, st["t"])
        w = w[rows]
    c = cosines(x, w)
    own = own_of(c, y)
    if o.get("form") == "angle":  # the margin is added where autograd does not see it
        target = own + (torch.cos(torch.acos(own) + o["m"]) - own).detach()
    else:
        target = arc(own, o["m"], o.get("easyMargin"))
    return F.cross_entropy(o["s"] * with_target(c, y, target), y)


@loss("subcenter-arcface", lambda o: {"weight": (CLASSES * o["k"], DIM)})
def _(x, y, p, o, st):
    c = cosines(x, p["weight"]).reshape(len(x), CLASSES, o["k"]).amax(2)
    return F.cross_entropy(o["s"] * with_target(c, y, arc(own_of(c, y), o["m"])), y)


@loss("multiface")
def _(x, y, p, o, st):
    width = DIM // o["n"]
    x = F.normalize(x) if o["norm"] == "whole" else x
    total = 0
    for i in range(o["n"]):
        e, w = (v[:, i * width : (i + 1) * width] for v in (x, p["weight"]))
        c = (e if o["norm"] == "whole" else F.normalize(e)) @ F.normalize(w).T
        own = own_of(c, y)
        target = {"arcface": lambda: arc(own, o["m"]), "cosface": lambda: own - o["m"], "normface": lambda: own}[o["loss"]]()
        total = total + F.cross_entropy(o["s"] * with_target(c, y, target), y)
    return total


@loss("cosface")
def _(x, y, p, o, st):
    c = cosines(x, p["weight"])
    return F.cross_entropy(o["s"] * with_target(c, y, own_of(c, y) - o["m"]), y)


@loss("sphereface", state=lambda o: {"passes": 0})
def _(x, y, p, o, st):
    st["passes"] += 1
    lam = max(o["lambdaMin"], o["lambdaBase"] * (1 + o["lambdaGamma"] * st["passes"]) ** -o["lambdaPower"])
    c = cosines(x, p["weight"])
    own = own_of(c, y)
    theta = torch.acos(own)
    k = torch.floor(o["m"] * theta / math.pi)
    psi = torch.cos(math.pi * k) * torch.cos(o["m"] * theta) - 2 * k
    return F.cross_entropy(x.norm(dim=1, keepdim=True) * with_target(c, y, (lam * own + psi) / (1 + lam)), y)


def combined(x, y, p, o, st):
    c = cosines(x, p["weight"])
    own = own_of(c, y)
    if o.get("m1", 1) == 1:
        target = arc(own, o["m2"])
    else:
        t = o["m1"] * torch.acos(own) + o["m2"]
        k = torch.floor(t / math.pi)
        target = torch.cos(math.pi * k) * torch.cos(t) - 2 * k
    others = torch.where(c > o["filter"], torch.zeros_like(c), c) if "filter" in o else c
    return F.cross_entropy(o["s"] * with_target(c, y, target - o["m3"], others), y)


loss("combined")(combined)
loss("multimargin")(combined)


@loss("adacos", state=lambda o: {"scale": float(np.float32(math.sqrt(2) * math.log(CLASSES - 1)))})
def _(x, y, p, o, st):
    c = cosines(x, p["weight"])
    if o["dynamic"]:
        with torch.no_grad():
            others = torch.exp(st["scale"] * c) * (1 - F.one_hot(y, CLASSES))
            median = torch.acos(own_of(c, y)).median()
            st["scale"] = max(1.0, (torch.log(others.sum(1).mean()) / torch.cos(median.clamp(max=math.pi / 4))).item())
    return F.cross_entropy(st["scale"] * c, y)


@loss("curricularface", state=lambda o: {"t": 0.0})
def _(x, y, p, o, st):
    c = cosines(x, p["weight"])
    own = own_of(c, y)
    st["t"] = o["momentum"] * st["t"] + (1 - o["momentum"]) * own.mean().item()
    hard = c > torch.cos(torch.acos(own) + o["m"])[:, None]
    return F.cross_entropy(o["s"] * with_target(c, y, arc(own, o["m"]), torch.where(hard, c * (st["t"] + c), c)), y)


@loss("adaface", state=lambda o: {"mean": 20.0, "std": 100.0})
def _(x, y, p, o, st):
    c = cosines(x, p["weight"])
    norms = x.norm(dim=1).clamp(0.001, 100).detach()
    keep = o["momentum"]
    st["mean"] = keep * st["mean"] + (1 - keep) * norms.mean().item()
    st["std"] = keep * st["std"] + (1 - keep) * norms.std().item()
    z = (o["h"] * (norms - st["mean"]) / (st["std"] + 1e-3)).clamp(-1, 1)
    target = torch.cos((torch.acos(own_of(c, y)) - o["m"] * z).clamp(0, math.pi)) - (o["m"] + o["m"] * z)
    return F.cross_entropy(o["s"] * with_target(c, y, target), y)


@loss("magface")
def _(x, y, p, o, st):
    c = cosines(x, p["weight"])
    a = x.norm(dim=1).clamp(o["la"], o["ua"])
    m = o["lm"] + (o["um"] - o["lm"]) / (o["ua"] - o["la"]) * (a - o["la"])
    target = arc(own_of(c, y), m, o["easyMargin"])
    return F.cross_entropy(o["s"] * with_target(c, y, target), y) + o["lambdaG"] * (1 / a + a / o["ua"] ** 2).mean()


NONE = lambda o: {}


def triplets(d, y, mining):
    """Lists of anchor, positive, negative."""
    d, y = d.detach(), y.tolist()
    everyone = range(len(y))
    for a in everyone:
        same = [p for p in everyone if p != a and y[p] == y[a]]
        other = [n for n in everyone if y[n] != y[a]]
        if not same or not other:
            continue
        if mining == "batch-all":
            yield from ((a, p, n) for p in same for n in other)
        elif mining == "batch-hard":
            yield a, max(same, key=lambda p: d[a, p]), min(other, key=lambda n: d[a, n])
        else:
            for p in same:
                farther = [n for n in other if d[a, n] > d[a, p]]
                yield a, p, min(farther, key=lambda n: d[a, n]) if farther else max(other, key=lambda n: d[a, n])


@loss("triplet", NONE)
def _(x, y, p, o, st):
    x = F.normalize(x)
    pick = lambda i, j: (x[i] - x[j]).pow(2).sum(1)
    distance = {"squared": lambda i, j: pick(i, j), "euclidean": lambda i, j: pick(i, j).sqrt(),
                "angle": lambda i, j: torch.acos((x[i] * x[j]).sum(1))}[o.get("distance", "squared")]
    every = (x[:, None] - x[None]).pow(2).sum(2)  # all three distances are in this order
    a, pos, neg = map(list, zip(*triplets(every, y, o["mining"])))
    gap = distance(a, pos) - distance(a, neg)
    cost = F.softplus(gap) if o.get("softMargin") else F.relu(gap + o.get("margin", 0.3))
    return cost.sum() / (len(cost) if o.get("average") == "all" or o.get("softMargin") else max(1, int((cost > 0).sum())))


@loss("contrastive", NONE)
def _(x, y, p, o, st):
    x = F.normalize(x) if o.get("normalize", True) else x
    i, j = map(list, zip(*[(i, j) for i in range(len(y)) for j in range(i)]))
    d = (x[i] - x[j]).norm(dim=1)
    return torch.where(y[i] == y[j], d ** 2 / 2, F.relu(o["margin"] - d) ** 2 / 2).mean()


@loss("center", lambda o: {"centers": (CLASSES, DIM)} if o["form"] == "gradient" else {}, lambda o: {"centers": None})
def _(x, y, p, o, st):
    if o["form"] == "gradient":
        return (x - p["centers"][y]).pow(2).sum(1).clamp(1e-12, 1e12).mean()
    centers = torch.zeros(CLASSES, DIM, dtype=x.dtype) if st["centers"] is None else st["centers"]
    away = x - centers[y]
    st["centers"] = centers.clone()
    for c in range(CLASSES):
        pull = -away.detach()[y == c].sum(0)
        st["centers"][c] -= o["alpha"] * (pull if o["form"] == "facenet" else pull / (1 + (y == c).sum()))
    return away.pow(2).mean() if o["form"] == "facenet" else away.pow(2).sum(1).mean() / 2


@loss("agent-center", lambda o: {"centers": (CLASSES, DIM)})
def _(x, y, p, o, st):
    cost = F.one_hot(y, CLASSES) * (o["s"] - o["s"] * cosines(x, p["centers"]))
    return cost.mean() if o.get("overClasses") else cost.sum(1).mean()


@loss("prelogits-norm", NONE)
def _(x, y, p, o, st):
    return (x.abs() + 1e-5).norm(p=o["p"], dim=1).mean()


# Optimizers that PyTorch does not have.


class Written(torch.optim.Optimizer):
    def __init__(self, groups, lr, **options):
        super().__init__(groups, dict(lr=lr, weight_decay=0.0, **options))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                self.update(p, p.grad, self.state[p], g)


class Lamb(Written):
    def update(self, p, d, s, g):
        b1, b2 = g["betas"]
        t = s["t"] = s.get("t", 0) + 1
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * d
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * d * d
        u = (s["m"] / (1 - b1**t)) / ((s["v"] / (1 - b2**t)).sqrt() + g["eps"]) + g["weight_decay"] * p
        length, step = p.norm(), u.norm()
        p -= g["lr"] * (length / step if length > 0 and step > 0 else 1) * u


class Lars(Written):
    def update(self, p, d, s, g):
        length, below = p.norm(), d.norm() + g["weight_decay"] * p.norm()
        local = g["trust"] * length / below if length > 0 and below > 0 else 1
        s["v"] = g["momentum"] * s.get("v", 0) + g["lr"] * local * (d + g["weight_decay"] * p)
        p -= s["v"]


class TensorflowRmsprop(Written):
    def update(self, p, d, s, g):
        d = d + g["weight_decay"] * p
        s["s"] = g["alpha"] * s.get("s", 1) + (1 - g["alpha"]) * d * d
        s["v"] = g["momentum"] * s.get("v", 0) + g["lr"] * d / (s["s"] + g["eps"]).sqrt()
        p -= s["v"]


class TensorflowAdam(Written):
    def update(self, p, d, s, g):
        b1, b2 = g["betas"]
        d = d + g["weight_decay"] * p
        t = s["t"] = s.get("t", 0) + 1
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * d
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * d * d
        p -= g["lr"] * math.sqrt(1 - b2**t) / (1 - b1**t) * s["m"] / (s["v"].sqrt() + g["eps"])


def optimizer_of(name, groups, lr, o):
    o = dict(o)
    betas = {"betas": (o.pop("beta1", 0.9), o.pop("beta2", 0.999))} if name in ("adam", "adamw", "lamb") else {}
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, **{"momentum": 0.9, **o})
    if name == "lars":
        return Lars(groups, lr, **{"momentum": 0.9, "trust": 0.001, **o})
    if name == "lamb":
        return Lamb(groups, lr, **betas, **{"eps": 1e-6, **o})
    if name == "rmsprop" and o.pop("tensorflow", False):
        return TensorflowRmsprop(groups, lr, **o)
    if name == "adam" and o.pop("epsilonHat", False):
        return TensorflowAdam(groups, lr, **betas, **o)
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad,
            "adadelta": torch.optim.Adadelta, "rmsprop": torch.optim.RMSprop}[name]
    return make(groups, lr=lr, **betas, **o)


def case(optimizer, lr, options, *losses, decay=0.0):
    """Losses are (name, options, weight, factor of the learning rate, classes), of which the first two are needed."""
    defaults = (None, None, 1.0, 1.0, CLASSES)
    losses = [dict(zip(("name", "options", "weight", "rate", "classes"), (*l, *defaults[len(l):]))) for l in losses]
    said = " + ".join(f'{l["name"]} {json.dumps(l["options"])}' for l in losses)
    o = dict(name=optimizer, lr=lr, decay=decay, options=options)
    return dict(name=f"{optimizer} {json.dumps(options)}, {said}", optimizer=o, losses=losses)


ARC = ("arcface", {"s": 16, "m": 0.3})
SGD = dict(momentum=0.9)


def by_sgd(*losses, lr=2**-7):
    return case("sgd", lr, SGD, *losses)


CASES = [
    case("sgd", 2**-8, {"momentum": 0.9, "nesterov": True}, ARC, decay=2**-10),
    case("sgd", 2**-4, {"momentum": 0}, ARC),
    case("adam", 2**-8, {}, ARC, decay=2**-8),
    case("adam", 2**-5, {"epsilonHat": True, "eps": 0.1}, ARC),
    case("adamw", 2**-8, {"amsgrad": True}, ARC, decay=2**-3),
    case("adagrad", 2**-6, {}, ARC, decay=2**-8),
    case("adadelta", 0.5, {"eps": 1e-4}, ARC, decay=2**-8),
    case("rmsprop", 2**-9, {"alpha": 0.9, "momentum": 0.5}, ARC, decay=2**-8),
    case("rmsprop", 2**-6, {"tensorflow": True, "alpha": 0.9, "momentum": 0.9, "eps": 1.0}, ARC),
    case("lamb", 2**-8, {}, ARC, decay=2**-6),
    case("lars", 2**-6, {"trust": 2**-3}, ARC, decay=2**-6),
    by_sgd(ARC),
    by_sgd(("arcface", {"s": 16, "m": 0.5, "easyMargin": True})),
    by_sgd(("arcface", {"s": 16, "m": 0.3, "form": "angle"})),
    by_sgd(("subcenter-arcface", {"s": 16, "m": 0.3, "k": 3})),
    by_sgd(("arcface", {"s": 16, "m": 0.3, "sampleRate": 0.5}, 1.0, 1.0, 40)),
    by_sgd(("multiface", {"n": 2, "loss": "arcface", "s": 16, "m": 0.3, "norm": "whole"})),
    by_sgd(("multiface", {"n": 2, "loss": "cosface", "s": 12, "m": 0.25, "norm": "slice"})),
    by_sgd(("multiface", {"n": 4, "loss": "normface", "s": 16, "norm": "whole"})),
    by_sgd(("cosface", {"s": 16, "m": 0.35})),
    by_sgd(("sphereface", {"m": 4, "lambdaBase": 10, "lambdaGamma": 0.12, "lambdaPower": 1, "lambdaMin": 1})),
    by_sgd(("sphereface", {"m": 2, "lambdaBase": 100, "lambdaGamma": 0.01, "lambdaPower": 2, "lambdaMin": 5})),
    by_sgd(("combined", {"s": 16, "m1": 1, "m2": 0.3, "m3": 0.2})),
    by_sgd(("combined", {"s": 16, "m1": 1.35, "m2": 0.2, "m3": 0.1})),
    by_sgd(("combined", {"s": 16, "m1": 1, "m2": 0.1, "m3": 0.2, "filter": 0.75})),
    by_sgd(("multimargin", {"s": 16, "m2": 0.2, "m3": 0.35})),
    by_sgd(("adacos", {"dynamic": True})),
    by_sgd(("adacos", {"dynamic": False})),
    by_sgd(("curricularface", {"s": 16, "m": 0.3, "momentum": 0.9})),
    by_sgd(("adaface", {"s": 16, "m": 0.3, "h": 0.333, "momentum": 0.75})),
    by_sgd(("magface", {"s": 16, "la": 2, "ua": 8, "lm": 0.2, "um": 0.5, "lambdaG": 4, "easyMargin": True})),
    by_sgd(("magface", {"s": 16, "la": 2, "ua": 8, "lm": 0.2, "um": 0.5, "lambdaG": 4, "easyMargin": False})),
    by_sgd(("softmax", {})),
    by_sgd(("softmax", {"bias": True})),
    by_sgd(("softmax", {"bias": True, "labelSmoothing": 0.1})),
    by_sgd(("normface", {"s": 6})),
    by_sgd(("triplet", {"mining": "semi-hard", "margin": 1}), lr=2**-5),
    by_sgd(("triplet", {"mining": "semi-hard", "distance": "angle", "margin": 0.5, "average": "all"}), lr=2**-5),
    by_sgd(("triplet", {"mining": "batch-hard", "distance": "euclidean", "softMargin": True}), lr=2**-5),
    by_sgd(("triplet", {"mining": "batch-all", "margin": 1}), lr=2**-5),
    by_sgd(("contrastive", {"margin": 1.25}), lr=2**-4),
    by_sgd(("softmax", {}), ("center", {"form": "paper", "alpha": 0.5}, 0.125)),
    by_sgd(("softmax", {}), ("center", {"form": "facenet", "alpha": 0.05}, 0.5)),
    by_sgd(("softmax", {}), ("center", {"form": "gradient"}, 0.0625, 4.0)),
    by_sgd(("softmax", {}), ("agent-center", {"s": 4}, 0.5)),
    by_sgd(("softmax", {}), ("agent-center", {"s": 4, "overClasses": True}, 1.0, 2.0)),
    by_sgd(("softmax", {}), ("prelogits-norm", {"p": 1}, 2**-6)),
    by_sgd(("softmax", {}), ("prelogits-norm", {"p": 2}, 2**-4)),
]


def run(c, dtype, order=None, layout=torch.contiguous_format, onednn=True):
    o = c["optimizer"]
    p = {n: torch.from_numpy(start(n, s)).to(dtype).requires_grad_() for n, s in NETWORK.items()}
    parts = []
    rates = {}
    for l in c["losses"]:
        shapes, state, f = LOSSES[l["name"]]
        options = {**l["options"], "classes": l["classes"]}
        own = {n: torch.from_numpy(start(f'{l["name"]}.{n}', s)).to(dtype).requires_grad_() for n, s in shapes(options).items()}
        p.update({f'{l["name"]}.{n}': v for n, v in own.items()})
        rates.update({f'{l["name"]}.{n}': l["rate"] for n in own})
        parts.append((l["weight"], f, own, options, state(options)))
    groups = [{"params": [v], "weight_decay": o["decay"] if v.dim() > 1 else 0.0, "lr": o["lr"] * rates.get(n, 1)}
              for n, v in p.items()]
    optimizer = optimizer_of(o["name"], groups, o["lr"], o["options"])
    out = []
    with torch.backends.mkldnn.flags(enabled=onednn):
        for images, labels in DATA:
            rows = torch.arange(BATCH) if order is None else torch.from_numpy(order)
            x = torch.from_numpy(images).to(dtype).permute(0, 3, 1, 2)[rows].contiguous(memory_format=layout)
            y = torch.from_numpy(labels)[rows]
            e = network(p, x)
            total = sum(weight * f(e, y, own, options, st) for weight, f, own, options, st in parts)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            out.append(total.item())
    return np.array(out)


def entry(c):
    truth = run(c, torch.float64)
    rng = np.random.default_rng(1)
    variants = [dict(), dict(layout=torch.channels_last), dict(onednn=False), *(dict(order=rng.permutation(BATCH)) for _ in range(3))]
    drift = np.maximum.accumulate(np.max([np.abs(run(c, torch.float32, **v) - truth) for v in variants], axis=0))
    first, last = truth[:10].mean(), truth[-10:].mean()
    gap = (drift / np.abs(truth)).max()
    print(f'{c["name"]:120} {first:8.4f} -> {last:8.4f}  float32 strays by {gap:.1e}', flush=True)
    return {**c, "loss": [float(f"{v:.9g}") for v in truth], "drift": [float(f"{v:.2g}") for v in (*drift[::10], drift[-1])]}, last < 0.75 * first and gap < 0.01


def main():
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    with multiprocessing.Pool(2) as pool:
        done = pool.map(entry, [c for c in CASES if all(w in c["name"] for w in wanted)], 1)
    for c, good in done:
        if not good:
            print("not fit for a test:", c["name"])
    if wanted or not all(good for _, good in done):
        return
    head = dict(made=f"test/reference/smallNet.py, PyTorch {torch.__version__}", seed=SEED, steps=STEPS, batch=BATCH,
                classes=CLASSES, side=SIDE, embeddingSize=DIM)
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c, _ in done)
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(head)[:-1] + f', "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
