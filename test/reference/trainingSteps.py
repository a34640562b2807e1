"""Writes trainingSteps.json: the first 20 SGD steps of MobileFaceNet + ArcFace in PyTorch.

The truth is a float64 run. How far an honest float32 run strays from it is measured as well, as the largest distance over
several float32 runs that differ only in order of summation: that is the `drift` a test derives its bound from.

What an exact test needs, found by trying:
- On noise images, or with a new batch a step, float32 and float64 part after two steps at any useful learning rate: at
  initialisation this net is chaotic. So every step sees the same batch, images carry a pattern of their class, and the
  learning rate is small; the loss still falls from 21 to 0.1. (Such steps cannot show weight decay: ops.json has SGD itself.)
- Where an activation is within rounding of 0, PReLU's slope flips between 0.25 and 1. A handful of flips makes 0.5 % of the
  gradient of the first layer. `smooth` is one forward and backward with all slopes 1, where float32 gradients hold to 1e-5:
  the tight test of the whole backward pass.

Weights come from the counter-based generator (rule in mobileFaceNet.py). With key = keyOf(seed) and fold(key, a, b) for
fold(fold(key, a), b), every product in float64:
  labels[b]         floor(C * uniform(fold(key, 'labels'), B)[b])
  pattern(label)    uniform(fold(key, 'classes', label), 7 * 7 * 3) as [7, 7, 3]
  image[b, y, x, c] floor(256 * (0.75 * pattern(labels[b])[y >> 4, x >> 4, c] + 0.25 * noise[b, y, x, c])), RGB,
                    noise = uniform(fold(key, 'images'), B * 112 * 112 * 3);  the network sees (image - 127.5) / 128
A tensor's summary is [L2 norm, projection 0, projection 1]: projection j is its dot product, in our layout, in float64, with
normal(fold(key, 'projection', name, j), n).  `drift` beside it is the largest ||float32 - float64||, so a projection of an
equally good run is off by about a normal variable of that deviation.

SGD as PyTorch's: g += decay * w; v = 0.9 v + g (v = g at the first step); w -= lr (g + 0.9 v).

The JSON:
  loss          { f64[step], drift[step], f32[run][step] }: mean cross entropy before the update of that step
  step0         { embedding, gradients[name] }, slopes 0.25          each { f64: summary, drift }
  smooth        { loss: { f64, drift }, embedding, gradients[name] }, slopes 1
  final         { parameters[name], running[name] } after the last update

Run: python3 test/reference/trainingSteps.py      (PyTorch and numpy; CPU, about two minutes)
"""

import contextlib
import json
import pathlib
import sys

import numpy as np
import torch

import counterRandom
from counterRandom import fold, key_of, normal, uniform
from mobileFaceNet import FaceTrainer, decay_groups, draw, ours

CONFIG = dict(seed=2026, batch=8, classes=20, size=112, dim=128, steps=20, s=32.0, m=0.5, lr=1e-5, momentum=0.9,
              nesterov=True, decayBody=4e-5, decayTop=4e-4, bnEps=1e-5, bnMomentum=0.1, clampSine=1e-7)
KEY = key_of(CONFIG["seed"])


def batch():
    """Images [B, 3, 112, 112], float64 and normalised, and labels [B]."""
    b, size, classes = CONFIG["batch"], CONFIG["size"], CONFIG["classes"]
    labels = np.floor(classes * uniform(fold(KEY, "labels"), b).astype(np.float64)).astype(np.int64)
    noise = uniform(fold(KEY, "images"), b * size * size * 3).astype(np.float64).reshape(b, size, size, 3)
    pattern = np.stack([uniform(fold(KEY, "classes", int(c)), 7 * 7 * 3).astype(np.float64).reshape(7, 7, 3) for c in labels])
    pattern = pattern.repeat(16, axis=1).repeat(16, axis=2)
    images = np.floor(256 * (0.75 * pattern + 0.25 * noise))
    return torch.from_numpy((images - 127.5) / 128).permute(0, 3, 1, 2), torch.from_numpy(labels)


def run(dtype, layout=torch.contiguous_format, onednn=True, slope=0.25, steps=CONFIG["steps"]):
    """The run's losses and tensors, each flat, float64, in our layout."""
    model = FaceTrainer(CONFIG["classes"], CONFIG["dim"], CONFIG["s"], CONFIG["m"])
    draw(model, CONFIG["seed"])
    assert sum(p.numel() for n, p in model.named() if n != "arcface.weight") == 1_003_136
    with torch.no_grad():
        for name, p in model.named():
            if "prelu" in name:
                p.fill_(slope)
    model.to(dtype).to(memory_format=layout).train()
    groups = decay_groups(model, CONFIG["decayBody"], CONFIG["decayTop"])
    sgd = torch.optim.SGD(groups, lr=CONFIG["lr"], momentum=CONFIG["momentum"], nesterov=CONFIG["nesterov"])
    x, labels = batch()
    x = x.to(dtype).contiguous(memory_format=layout)
    out = {"loss": []}
    with contextlib.nullcontext() if onednn else torch.backends.mkldnn.flags(enabled=False):
        for step in range(steps):
            embedding = model.net(x)
            loss = torch.nn.functional.cross_entropy(model.arcface(embedding, labels), labels)
            sgd.zero_grad()
            loss.backward()
            if step == 0:
                out["embedding"] = {"embedding": ours(embedding)}
                out["gradients"] = {n: ours(p.grad) for n, p in model.named()}
            sgd.step()
            out["loss"].append(loss.item())
    print(f"{dtype} {layout} onednn {onednn} slope {slope}: {out['loss']}", file=sys.stderr, flush=True)
    out["parameters"] = {n: ours(p) for n, p in model.named()}
    out["running"] = {n: ours(b) for n, b in model.running()}
    return out


def runs(**options):
    """The float64 run and float32 runs in different orders of summation."""
    variants = (dict(), dict(layout=torch.channels_last), dict(onednn=False))
    return run(torch.float64, **options), [run(torch.float32, **v, **options) for v in variants]


def numbers(v):
    return "[" + ", ".join(f"{x:.12g}" for x in v) + "]"


def losses(truth, others):
    drift = np.abs(np.array([o["loss"] for o in others]) - truth["loss"]).max(axis=0)
    return f'{{ "f64": {numbers(truth["loss"])}, "drift": {numbers(drift)}, "f32": [{", ".join(numbers(o["loss"]) for o in others)}] }}'


def entry(name, truth, others):
    dots = [np.dot(truth, normal(fold(KEY, "projection", name, j), truth.size).astype(np.float64)) for j in (0, 1)]
    drift = max(float(np.linalg.norm(o - truth)) for o in others)
    return f'{{ "f64": {numbers([np.linalg.norm(truth), *dots])}, "drift": {drift:.3g} }}'


def table(kind, truth, others):
    rows = [f"      {json.dumps(n)}: {entry(n, v, [o[kind][n] for o in others])}" for n, v in truth[kind].items()]
    return "{\n" + ",\n".join(rows) + "\n    }"


def embedding(truth, others):
    return entry("embedding", truth["embedding"]["embedding"], [o["embedding"]["embedding"] for o in others])


def main():
    counterRandom.check()
    steps, smooth = runs(), runs(slope=1.0, steps=1)
    text = f"""{{
  "made": "test/reference/trainingSteps.py, PyTorch {torch.__version__}, numpy {np.__version__}",
  "config": {json.dumps(CONFIG)},
  "loss": {losses(*steps)},
  "step0": {{
    "embedding": {embedding(*steps)},
    "gradients": {table("gradients", *steps)}
  }},
  "smooth": {{
    "loss": {losses(*smooth)},
    "embedding": {embedding(*smooth)},
    "gradients": {table("gradients", *smooth)}
  }},
  "final": {{
    "parameters": {table("parameters", *steps)},
    "running": {table("running", *steps)}
  }}
}}
"""
    json.loads(text)
    pathlib.Path(__file__).with_suffix(".json").write_text(text)


if __name__ == "__main__":
    main()
