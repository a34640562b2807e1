"""Writes optimizers.json: 100 updates of a small problem by each optimizer.

The truth is PyTorch in float64; PyTorch in float32 says how far an honest run strays (`f32Error`, the largest distance),
which a test derives its bound from. LAMB and LARS, which PyTorch does not have, are plain numpy loops written from the papers,
in float64 and float32. TensorFlow's Adam and RMSprop are such loops as well (its own documented formulas: the corrected rate;
eps under the root, mean squares from 1, the rate inside the momentum).

Two parameters, `a` [3, 5] and `b` [4]. With key = keyOf(seed) and fold(key, a, b) for fold(fold(key, a), b):
  start(a) = normal(fold(key, 'start', 'a'), 15); start(b) = 0
  gradient at step t = curvature * (p - target) + noise, float32 numbers, with
  curvature(p) = 0.5 + uniform(fold(key, 'curvature', p)), target(p) = normal(fold(key, 'target', p)),
  noise(p, t) = normal(fold(key, 'noise', p, t)), t from 0
Weight decay, where a case has it, is that of `a` only. `rate` is the learning-rate factor of `b`: PyTorch's param groups. With
`frozen`, `b` has no gradient before that step (PyTorch's None). LAMB and LARS with `adapt` 'matrices' scale `a`'s steps only.

The JSON: cases of { name, optimizer, options, lr, at: { step: { f64: numbers of a then b, f32Error } } }

Run: python3 test/reference/optimizers.py      (PyTorch 1.13 and numpy; seconds)
"""

import json
import pathlib

import numpy as np
import torch

from counterRandom import fold, key_of, normal, uniform

SEED, STEPS, AT = 2031, 100, (1, 10, 100)
KEY = key_of(SEED)
SHAPES = {"a": (3, 5), "b": (4,)}


def drawn(kind, name, *by):
    n = int(np.prod(SHAPES[name]))
    of = fold(KEY, kind, name, *by)
    numbers = np.float32(0.5) + uniform(of, n) if kind == "curvature" else normal(of, n)
    return numbers.reshape(SHAPES[name])


START = {"a": drawn("start", "a"), "b": np.zeros(SHAPES["b"], np.float32)}
CURVATURE = {p: drawn("curvature", p) for p in SHAPES}
TARGET = {p: drawn("target", p) for p in SHAPES}
NOISE = [{p: drawn("noise", p, t) for p in SHAPES} for t in range(STEPS)]

TORCH = {
    "sgd": (torch.optim.SGD, {"momentum": "momentum", "nesterov": "nesterov"}),
    "adam": (torch.optim.Adam, {"eps": "eps", "amsgrad": "amsgrad"}),
    "adamw": (torch.optim.AdamW, {"eps": "eps", "amsgrad": "amsgrad"}),
    "adagrad": (torch.optim.Adagrad, {"eps": "eps", "lrDecay": "lr_decay", "start": "initial_accumulator_value"}),
    "adadelta": (torch.optim.Adadelta, {"eps": "eps", "rho": "rho"}),
    "rmsprop": (torch.optim.RMSprop, {"eps": "eps", "alpha": "alpha", "momentum": "momentum", "centered": "centered"}),
}


def by_torch(optimizer, options, lr, dtype):
    make, names = TORCH[optimizer]
    as_torch = lambda x: torch.from_numpy(x.astype(dtype))
    p = {k: as_torch(v).requires_grad_() for k, v in START.items()}
    settings = {names[k]: v for k, v in options.items() if k in names}
    if optimizer.startswith("adam"):
        settings["betas"] = (options.get("beta1", 0.9), options.get("beta2", 0.999))
    decay = options.get("decay", 0)
    groups = [{"params": [p["a"]], "weight_decay": decay},
              {"params": [p["b"]], "weight_decay": 0, "lr": lr * options.get("rate", 1)}]
    o = make(groups, lr=lr, **settings)
    for t, noise in enumerate(NOISE):
        for k in p:
            if k == "b" and t < options.get("frozen", 0):
                continue
            p[k].grad = (as_torch(CURVATURE[k]) * (p[k] - as_torch(TARGET[k])) + as_torch(noise[k])).detach()
        o.step()
        yield {k: v.detach().numpy().copy() for k, v in p.items()}


def by_loop(optimizer, options, rate_of_all, dtype):
    f = dtype
    norm = lambda x: f(np.sqrt(f(np.sum(x * x, dtype=f))))
    p = {k: v.astype(f) for k, v in START.items()}
    m = {k: np.zeros_like(v) for k, v in p.items()}
    v = {k: np.zeros_like(x) for k, x in p.items()}
    b1, b2 = options.get("beta1", 0.9), options.get("beta2", 0.999)
    s = {k: np.ones_like(x) for k, x in p.items()}
    for now, noise in enumerate(NOISE):
        for k in p:
            thawed = options.get("frozen", 0) if k == "b" else 0
            if now < thawed:
                continue
            t = now - thawed + 1
            lr = f(rate_of_all * (options.get("rate", 1) if k == "b" else 1))
            g = CURVATURE[k].astype(f) * (p[k] - TARGET[k].astype(f)) + noise[k].astype(f)
            decay = f(options.get("decay", 0) if k == "a" else 0)
            adapt = options.get("adapt", "all") == "all" or k == "a"
            if optimizer == "lars":
                length, slope = norm(p[k]), norm(g)
                below = slope + decay * length
                local = f(options.get("trust", 0.001)) * length / below if adapt and length > 0 and below > 0 else f(1)
                m[k] = f(options.get("momentum", 0.9)) * m[k] + lr * local * (g + decay * p[k])
                p[k] = p[k] - m[k]
                continue
            if optimizer == "rmsprop":  # TensorFlow's form
                rho, eps, g = f(options["alpha"]), f(options["eps"]), g + decay * p[k]
                s[k] = rho * s[k] + (1 - rho) * g * g
                v[k] = rho * v[k] + (1 - rho) * g
                below = np.sqrt(s[k] - v[k] * v[k] + eps if options.get("centered") else s[k] + eps)
                m[k] = f(options.get("momentum", 0)) * m[k] + lr * g / below
                p[k] = p[k] - m[k]
                continue
            m[k] = f(b1) * m[k] + f(1 - b1) * g
            v[k] = f(b2) * v[k] + f(1 - b2) * g * g
            if optimizer == "adam":  # TensorFlow's form
                rate = f(lr * np.sqrt(1 - b2**t) / (1 - b1**t))
                p[k] = p[k] - rate * m[k] / (np.sqrt(v[k]) + f(options["eps"]))
                continue
            u = (m[k] / f(1 - b1**t)) / (np.sqrt(v[k] / f(1 - b2**t)) + f(options.get("eps", 1e-6))) + decay * p[k]
            low, high = options.get("minNorm", 0), options.get("maxNorm", np.inf)
            length, step = min(max(norm(p[k]), f(low)), f(high)), norm(u)
            ratio = length / step if adapt and length > 0 and step > 0 else f(1)
            p[k] = p[k] - lr * ratio * u
        yield {k: x.copy() for k, x in p.items()}


CASES = [
    ("sgd", {"momentum": 0.9}, 2**-7, by_torch),
    ("sgd", {"momentum": 0.75, "nesterov": True, "decay": 0.125, "rate": 0.25, "frozen": 20}, 2**-7, by_torch),
    ("adam", {}, 2**-5, by_torch),
    ("adam", {"decay": 0.125}, 2**-5, by_torch),
    ("adam", {"beta1": 0.8, "beta2": 0.95, "eps": 0.1}, 2**-4, by_torch),
    ("adam", {"beta1": 0.0, "beta2": 0.9}, 2**-5, by_torch),
    ("adam", {"amsgrad": True, "beta2": 0.9}, 2**-5, by_torch),
    ("adam", {"epsilonHat": True, "eps": 0.1}, 2**-5, by_loop),
    ("adam", {"decay": 0.125, "rate": 0.25, "frozen": 20}, 2**-5, by_torch),
    ("adamw", {"decay": 0.125}, 2**-5, by_torch),
    ("adamw", {"decay": 0.125, "amsgrad": True, "beta2": 0.9}, 2**-5, by_torch),
    ("adamw", {"decay": 0.125, "rate": 3.0, "frozen": 50}, 2**-6, by_torch),
    ("adagrad", {}, 2**-3, by_torch),
    ("adagrad", {"lrDecay": 0.0625, "start": 0.1, "eps": 0.5, "decay": 0.125}, 2**-2, by_torch),
    ("adagrad", {"lrDecay": 0.0625, "rate": 0.25, "frozen": 20}, 2**-2, by_torch),
    ("adadelta", {}, 1.0, by_torch),
    ("adadelta", {"rho": 0.75, "eps": 0.001, "decay": 0.125}, 0.5, by_torch),
    ("adadelta", {"rho": 0.75, "eps": 0.001, "rate": 0.25, "frozen": 20}, 0.5, by_torch),
    ("rmsprop", {}, 2**-6, by_torch),
    ("rmsprop", {"alpha": 0.9, "momentum": 0.9, "eps": 1.0, "decay": 0.125}, 2**-6, by_torch),
    ("rmsprop", {"alpha": 0.9, "centered": True, "eps": 0.01}, 2**-6, by_torch),
    ("rmsprop", {"alpha": 0.9, "centered": True, "momentum": 0.5, "eps": 0.01, "decay": 0.125}, 2**-6, by_torch),
    ("rmsprop", {"rate": 0.25, "frozen": 20}, 2**-6, by_torch),
    ("rmsprop", {"tensorflow": True, "alpha": 0.9, "momentum": 0.9, "eps": 1.0}, 2**-6, by_loop),
    ("rmsprop", {"tensorflow": True, "alpha": 0.9, "centered": True, "eps": 0.01, "decay": 0.125, "rate": 0.25},
     2**-6, by_loop),
    ("lamb", {}, 2**-5, by_loop),
    ("lamb", {"decay": 0.125, "beta1": 0.8, "beta2": 0.95, "eps": 0.01}, 2**-5, by_loop),
    ("lamb", {"minNorm": 0.5, "maxNorm": 2.0}, 2**-5, by_loop),
    ("lamb", {"adapt": "matrices", "decay": 0.125}, 2**-5, by_loop),
    ("lamb", {"decay": 0.125, "rate": 0.25, "frozen": 20}, 2**-5, by_loop),
    ("lars", {"trust": 0.0625}, 1.0, by_loop),
    ("lars", {"trust": 0.0625, "momentum": 0.5, "decay": 0.125}, 1.0, by_loop),
    ("lars", {"trust": 0.0625, "momentum": 0.0, "adapt": "matrices", "decay": 0.125}, 0.25, by_loop),
    ("lars", {"trust": 0.0625, "decay": 0.125, "rate": 0.25, "frozen": 20}, 1.0, by_loop),
]


def case(optimizer, options, lr, run):
    flat = lambda p: np.concatenate([p[k].ravel() for k in SHAPES]).astype(np.float64)
    exact, single = ([flat(p) for p in run(optimizer, options, lr, d)] for d in (np.float64, np.float32))
    assert all(np.isfinite(x).all() for x in exact)
    at = {t: {"f64": [float(f"{x:.11g}") for x in exact[t - 1]],
              "f32Error": float(f"{np.abs(exact[t - 1] - single[t - 1]).max():.3g}")} for t in AT}
    return {"name": f"{optimizer} {json.dumps(options)}", "optimizer": optimizer, "options": options, "lr": lr, "at": at}


if __name__ == "__main__":
    out = {"seed": SEED, "steps": STEPS, "cases": [case(*c) for c in CASES]}
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
    for c in out["cases"]:
        print(c["name"], [c["at"][t]["f32Error"] for t in AT], np.round(c["at"][100]["f64"][:3], 3))
