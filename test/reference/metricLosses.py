"""Writes metricLosses.json: metric losses, regularisers and distillation with their gradients, by plain PyTorch in float64.

Each is written as loops over pairs and triplets, with distances from differences of rows, where src/heads works on matrices.
One problem serves all: with key = fold(keyOf(2027), 'metricLosses') centres are normal(fold(key, 'centers'), 4·5), embeddings
0.75·normal(fold(key, 'x'), 10·5) plus the centre of their person, a teacher normal(fold(key, 'teacher'), 10·7), a projection
normal(fold(key, 'projection'), 5·7). Row 2 is row 0 again (one person), row 9 is row 4 again (two people). A case may set a
row to zeros.

Run: python3 test/reference/metricLosses.py      (PyTorch and numpy; a few seconds)
"""

import json
import math
import pathlib

import numpy as np
import torch
from torch.nn import functional as F

import counterRandom
from counterRandom import fold, key_of, normal

ROWS, DIM, CLASSES, TEACHER = 10, 5, 4, 7
MIXED = [2, 0, 2, 1, 0, 3, 1, 2, 0, 1]
ONE, ALONE = [1] * ROWS, list(range(ROWS))
KEY = fold(key_of(2027), "metricLosses")
CASES = []


def case(name, loss, options=None, labels=MIXED, zero=None, extra=()):
    def register(compute):
        CASES.append((name, loss, options or {}, labels, zero, extra, compute))
        return compute

    return register


def distances(x, o, default="squared"):
    kind = o.get("distance", default)
    unit = F.normalize(x) if o.get("normalize", True) else x

    def d(i, j):
        if kind == "angle":
            return torch.acos((F.normalize(x[i], dim=0) @ F.normalize(x[j], dim=0)).clamp(1e-7 - 1, 1 - 1e-7))
        squared = ((unit[i] - unit[j]) ** 2).sum()
        if kind == "squared":
            return squared
        return torch.sqrt(squared) if squared > 1e-12 else squared * 0

    return [[d(i, j) for j in range(len(x))] for i in range(len(x))]


def nearest_hits(d, y):
    hits = []
    for a in range(len(y)):
        order = sorted((j for j in range(len(y)) if j != a), key=lambda j: (d[a][j].item(), y[j] == y[a]))
        hits.append(float(bool(order) and y[order[0]] == y[a]))
    return hits


def triplet(x, y, o):
    d = distances(x, o)
    margin = o.get("margin", 0.35 if o.get("distance") == "angle" else 0.3)
    people = range(len(y))
    same = lambda a: [p for p in people if p != a and y[p] == y[a]]
    other = lambda a: [n for n in people if y[n] != y[a]]
    gaps = []
    for a in people:
        if not same(a) or not other(a):
            continue
        if o["mining"] == "batch-all":
            gaps += [d[a][p] - d[a][n] for p in same(a) for n in other(a)]
        elif o["mining"] == "batch-hard":
            gaps.append(torch.stack([d[a][p] for p in same(a)]).amax() - torch.stack([d[a][n] for n in other(a)]).amin())
        else:
            for p in same(a):
                farther = [n for n in other(a) if d[a][n] > d[a][p]]
                if farther:
                    gaps.append(d[a][p] - d[a][min(farther, key=lambda n: (d[a][n].item(), n))])
                else:
                    gaps.append(d[a][p] - torch.stack([d[a][n] for n in other(a)]).amax())
    if o.get("softMargin"):
        costs = [torch.log1p(torch.exp(g)) for g in gaps]
        count = len(costs)
    else:
        costs = [F.relu(g + margin) for g in gaps]
        count = len(costs) if o.get("average") == "all" else sum(c.item() > 0 for c in costs)
    return sum(costs, x.sum() * 0) / max(1, count), nearest_hits(d, y)


def contrastive(x, y, o):
    d = distances(x, o, "euclidean")
    m = o.get("margin", 1)
    total, pairs = 0, 0
    for i in range(len(y)):
        for j in range(i):
            unit = F.normalize(x) if o.get("normalize", True) else x
            near = 0.5 * ((unit[i] - unit[j]) ** 2).sum()
            total = total + (near if y[i] == y[j] else 0.5 * F.relu(m - d[i][j]) ** 2)
            pairs += 1
    return total / pairs, nearest_hits(d, y)


for name, mining, options, labels in [
    ("batchAll", "batch-all", {}, MIXED),
    ("batchAll.all", "batch-all", dict(average="all", margin=0.2), MIXED),
    ("batchAll.soft", "batch-all", dict(softMargin=True), MIXED),
    ("batchHard", "batch-hard", {}, MIXED),
    ("batchHard.soft", "batch-hard", dict(softMargin=True, distance="euclidean", normalize=False), MIXED),
    ("batchHard.angle", "batch-hard", dict(distance="angle"), MIXED),
    ("semiHard", "semi-hard", {}, MIXED),
    ("semiHard.large", "semi-hard", dict(margin=1.5, average="all"), MIXED),
    ("semiHard.angle", "semi-hard", dict(distance="angle", margin=0.5), MIXED),
    ("semiHard.raw", "semi-hard", dict(normalize=False, margin=2), MIXED),
    ("batchAll.one", "batch-all", {}, ONE),
    ("batchHard.one", "batch-hard", dict(softMargin=True), ONE),
    ("semiHard.one", "semi-hard", {}, ONE),
    ("batchAll.alone", "batch-all", dict(softMargin=True), ALONE),
    ("batchHard.alone", "batch-hard", {}, ALONE),
    ("semiHard.alone", "semi-hard", {}, ALONE),
]:
    case(f"triplet.{name}", "triplet", dict(mining=mining, **options), labels, 6 if "raw" in name else None)(triplet)

case("contrastive", "contrastive", {})(contrastive)
case("contrastive.raw", "contrastive", dict(normalize=False, margin=2.5), zero=3)(contrastive)
case("contrastive.one", "contrastive", {}, ONE)(contrastive)
case("contrastive.alone", "contrastive", dict(margin=1.75), ALONE)(contrastive)


def center(x, y, o, centers):
    own = centers[y]
    squared = ((x - own) ** 2).sum(1)
    after = centers.detach().clone()
    if o["form"] == "gradient":
        return squared.clamp(1e-12, 1e12).mean(), None, None
    alpha = o.get("alpha", 0.5 if o["form"] == "paper" else 0.05)
    for j in range(CLASSES):
        moved = [centers[j].detach() - x[i].detach() for i in range(ROWS) if y[i] == j]
        by = sum(moved, torch.zeros(DIM, dtype=x.dtype))
        after[j] -= alpha * (by / (1 + len(moved)) if o["form"] == "paper" else by)
    loss = 0.5 * squared.mean() if o["form"] == "paper" else ((x - own) ** 2).mean()
    return loss, None, after


for name, options in [
    ("paper", dict(form="paper")),
    ("paper.alpha", dict(form="paper", alpha=0.125)),
    ("facenet", dict(form="facenet")),
    ("gradient", dict(form="gradient")),
]:
    case(f"center.{name}", "center", options, zero=7, extra=("centers",))(center)


def agent(x, y, o, centers):
    cos = F.normalize(x) @ F.normalize(centers).T
    one_hot = F.one_hot(torch.tensor(y), CLASSES)
    if o.get("overClasses"):
        return (one_hot * (o["s"] - o["s"] * cos)).mean(), None, None
    return (one_hot * (1 - cos)).sum(1).mean() * o.get("s", 1), None, None


case("agentCenter", "agent-center", {}, extra=("centers",))(agent)
case("agentCenter.overClasses", "agent-center", dict(s=64, overClasses=True), extra=("centers",))(agent)

for p in (1, 2, 3.5):
    case(f"prelogitsNorm.{p}", "prelogits-norm", dict(p=p), zero=3)(
        lambda x, y, o: (torch.norm(x.abs() + 1e-5, p=o["p"], dim=1).mean(), None)
    )


def distil(x, y, o, teacher, projection=None):
    if o["form"] == "relational":
        s, t = F.normalize(x), F.normalize(teacher)
        pairs = [(i, j) for i in range(ROWS) for j in range(ROWS) if i != j]
        return sum((s[i] @ s[j] - t[i] @ t[j]) ** 2 for i, j in pairs) / len(pairs), None
    own = x if projection is None else x @ projection
    if o["form"] == "cosine":
        return (1 - F.cosine_similarity(own, teacher)).mean(), None
    if not o.get("raw"):
        own, teacher = F.normalize(own), F.normalize(teacher)
    return ((own - teacher) ** 2).sum(1).mean(), None


both = ("teacher", "projection")
case("distillation.cosine", "distillation", dict(form="cosine"), extra=both)(distil)
case("distillation.l2", "distillation", dict(form="l2"), extra=both)(distil)
case("distillation.raw", "distillation", dict(form="l2", raw=True), zero=1, extra=both)(distil)
case("distillation.relational", "distillation", dict(form="relational"), extra=("teacher",))(distil)


def evaluate(c):
    _, _, options, labels, zero, extra, compute = c
    x = np.float32(0.75) * normal(fold(KEY, "x"), ROWS * DIM).reshape(ROWS, DIM)
    x += normal(fold(KEY, "centers"), CLASSES * DIM).reshape(CLASSES, DIM)[MIXED]
    x[2], x[9] = x[0], x[4]
    if zero is not None:
        x[zero] = 0
    shapes = dict(centers=(CLASSES, DIM), teacher=(ROWS, TEACHER), projection=(DIM, TEACHER))
    t = dict(x=x, **{n: normal(fold(KEY, n), math.prod(shapes[n])).reshape(shapes[n]) for n in extra})
    t = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in t.items()}
    loss, hits, *after = compute(t["x"], labels, options, *[t[n] for n in extra])
    out = dict(loss=loss.detach().reshape(1))
    if hits is not None:
        out["hits"] = torch.tensor(hits)
    if after and after[0] is not None:
        out["after"] = after[0]
    trained = [n for n in t if n != "teacher" and not (n == "centers" and "after" in out)]
    for n, g in zip(trained, torch.autograd.grad(loss, [t[n] for n in trained])):
        out["d" + n] = g
    return {n: v.double().numpy().ravel() for n, v in out.items()}


def entry(c):
    name, loss, options, labels, zero, extra, _ = c
    outputs = ",\n".join(f'        "{n}": [{", ".join(f"{v:.12g}" for v in values)}]' for n, values in evaluate(c).items())
    facts = dict(name=name, loss=loss, options=options, labels=labels, zero=zero, extra=list(extra))
    facts = ", ".join(f'"{k}": {json.dumps(v)}' for k, v in facts.items())
    return f'    {{\n      {facts},\n      "outputs": {{\n{outputs}\n      }}\n    }}'


def main():
    counterRandom.check()
    text = (
        f'{{\n  "made": "test/reference/metricLosses.py, PyTorch {torch.__version__}",\n  "cases": [\n'
        + ",\n".join(entry(c) for c in CASES)
        + "\n  ]\n}\n"
    )
    json.loads(text)
    pathlib.Path(__file__).with_suffix(".json").write_text(text)


if __name__ == "__main__":
    main()
