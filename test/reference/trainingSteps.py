"""Writes trainingSteps/<case>.json: 50 SGD steps of whole networks + ArcFace in PyTorch, on batches given in advance.

The truth is a float64 run. How far an honest float32 run strays from it is measured as well, as the largest distance over
several float32 runs that differ only in order of summation: that is the `drift` a test derives its bound from.

What a comparison of single steps needs, found by trying on MobileFaceNet:
- Where an activation is within rounding of 0, PReLU's slope flips between 0.25 and 1. A handful of flips makes 0.5 % of the
  gradient of the first layer, so float32 and float64 part with every bit of progress: by some 1e-3 of the loss once it has
  halved, and altogether where the learning rate is a useful one. So images carry a pattern of their class, the learning
  rate is small, and the batches take turns. (So small a rate cannot show weight decay: ops.json and smallNet.json can.)
- `smooth` is one forward and backward without kinks, slopes of 1 or a bias that keeps ReLU's inputs above 0, where float32
  gradients hold to 1e-5: the tight test of the whole backward pass.

Parameters begin as src/nn/init.ts has them, in row-major order of OUR layout (convolutions [kh, kw, Cin/groups, Cout], dense
weights [in, out], a map flattened as h, w, c), key = fold(keyOf(seed), name):
  convolution              normal(key, n) * sqrt(2 / (kh kw Cout)), multiplied in float64, rounded to float32
  other weights [r, c]     (2 uniform(key, n) - 1) * sqrt(6 / (r + c)), likewise (Xavier uniform)
  batch norm               weight 1, bias 0, running mean 0, running variance 1;  PReLU 0.25
then those whose name has an ending that `start` of the case names are all of its number. (With ones at the end of its units,
ResNet-50's gradients grow so much from unit to unit that float32 has two digits of the first ones.)
With key = keyOf(seed), fold(key, a, b) for fold(fold(key, a), b), and every product in float64, batch k (step t sees t mod
batches) is
  labels[b]         floor(C * uniform(fold(key, 'labels', k), B)[b])
  pattern(label)    uniform(fold(key, 'classes', label), 3 (size / cell)^2) as [size / cell, size / cell, 3]
  image[b, y, x, c] floor(256 * (0.75 * pattern(labels[b])[y / cell, x / cell, c] + 0.25 * noise[b, y, x, c])), RGB,
                    noise = uniform(fold(key, 'images', k), B * size * size * 3);  the network sees (image - 127.5) / 128
Dropout at step t keeps the element i of [N, h, w, C] where the uniform of counter (i, fold(keyOf(0), path)[0]) under
fold(key, 'dropout', t) is below 1 - rate, and divides by 1 - rate.
SGD as PyTorch's: g += decay * w; v = 0.9 v + g (v = g at the first step); w -= lr (g + 0.9 v). Parameters of one axis have
no decay.

The JSON; a summary is [L2 norm, projection 0, projection 1, drift] of a tensor in our layout, in float64. Projection j is its dot
product with signs: element i's is minus where bit i mod 32 of word j of threefry(fold(key, 'signs', name), i / 32, 0) is set.
The drift is the largest ||float32 - float64||, so a projection of an equally good run is off by about a normal variable of
that deviation. That of the first step's gradients is taken over more runs, with the images of the batch in other orders.
  config        the case
  loss          { f64[step], drift[step] }: mean cross entropy before the update of that step
  smoothLoss    { f64, drift } of one step without kinks
  embedding     { step0, smooth }: summaries
  parameters    { name: { step0, smooth, moved } }: its gradient at the first step, that without kinks, how far it went
  running       { name: summary } after the last step

Run: python3 test/reference/trainingSteps.py [case ...]      (PyTorch and numpy; CPU, 3 to 5 minutes a case; all but the long ones
                                                             unless cases are named)
"""

import contextlib
import copy
import functools
import json
import math
import os
import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn

import counterRandom
from counterRandom import fold, key_of, normal, threefry, uniform
from irNet import IrNet
from mobileFaceNet import FaceTrainer, MobileFaceNet
from resNet import res_net

COMMON = dict(start={}, seed=2026, classes=20, steps=50, batches=5, s=32.0, m=0.5, momentum=0.9, decayBody=4e-5, decayTop=4e-4)
SLOPES, BIASES = {"prelu.weight": 1}, {"bn.bias": 8}
IR_SE_50 = dict(name="ir-se-50", options=dict(depth=50, attention="se", embeddingSize=512, dropout=0.4))
RES_NET_50 = dict(name="resnet-50", options=dict(depth=50, embeddingSize=512, dropout=0.4))
CASES = {
    "mobilefacenet": dict(network=dict(name="mobilefacenet", options=dict(embeddingSize=128)), size=112, cell=16, batch=8, lr=2e-6,
                          smooth=SLOPES),
    "ir-se-50-small": dict(network=IR_SE_50, size=32, cell=8, batch=8, lr=1e-4, smooth=SLOPES),
    "resnet-50-small": dict(network=RES_NET_50, size=32, cell=8, batch=8, lr=2e-5, smooth=BIASES,
                            start={"branch.2.bn.weight": 0.1}),
    "ir-se-50": dict(network=IR_SE_50, size=112, cell=16, batch=4, lr=1e-4, smooth=SLOPES),
}
LONG = ("ir-se-50",)
MAKE = {
    "mobilefacenet": lambda embeddingSize, inputSize: MobileFaceNet(embeddingSize),
    "ir-se-50": lambda **options: IrNet(**options),
    "resnet-50": lambda **options: res_net(**options),
}
ORDERS = (dict(), dict(layout=torch.channels_last), dict(onednn=False))


def config_of(case):
    return {**COMMON, **CASES[case]}


class SharedDropout(nn.Module):
    """Dropout with the mask that our module of this path draws under `key`, which the caller sets before each step.

    `turn` says by how many places the images of a batch are turned, and their masks with them.
    """

    def __init__(self, rate, path):
        super().__init__()
        self.rate, self.stream, self.key, self.turn = rate, fold(key_of(0), path)[0], None, 0

    def forward(self, x):
        n, c, h, w = x.shape
        draws = threefry(self.key, np.arange(x.numel(), dtype=np.uint32), self.stream)[0] >> np.uint32(8)
        kept = torch.from_numpy(draws / 2.0**24 < 1 - self.rate).reshape(n, h, w, c).roll(self.turn, 0).permute(0, 3, 1, 2)
        return torch.where(kept, x / (1 - self.rate), torch.zeros_like(x))


def to_ours(name, t):
    """A copy of a tensor as a flat float64 array in our layout. Class centres lie as PyTorch has them."""
    a = t.detach().double().numpy()
    return (a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T if a.ndim == 2 and not name.startswith("arcface") else a).flatten()


def start(name, shape, key):
    if len(shape) == 4:
        o, i, kh, kw = shape
        v = normal(key, math.prod(shape)).astype(np.float64) * math.sqrt(2 / (kh * kw * o))
        return v.astype(np.float32).reshape(kh, kw, i, o).transpose(3, 2, 0, 1)
    if len(shape) == 2:
        v = (2 * uniform(key, math.prod(shape)).astype(np.float64) - 1) * math.sqrt(6 / sum(shape))
        return v.astype(np.float32).reshape(shape) if name.startswith("arcface") else v.astype(np.float32).reshape(shape[::-1]).T
    return np.full(shape, 0.25 if "prelu" in name else 0 if name.endswith("bias") else 1, np.float32)


@functools.lru_cache(1)
def prototype(case):
    """The model of a case as it begins."""
    config = config_of(case)
    network, size = config["network"], config["size"]
    net = MAKE[network["name"]](inputSize=(size, size), **network["options"])
    for path, module in list(net.named_modules()):
        if isinstance(module, nn.Dropout):
            above, _, name = path.rpartition(".")
            setattr(net.get_submodule(above), name, SharedDropout(module.p, path))
    model = FaceTrainer(config["classes"], network["options"]["embeddingSize"], config["s"], config["m"], net)
    with torch.no_grad():
        for name, p in model.named():
            p.copy_(torch.from_numpy(np.ascontiguousarray(start(name, tuple(p.shape), fold(key_of(config["seed"]), name)))))
    return model


def batch(config, k):
    """Images [B, 3, size, size] of batch k, float64 and normalised, and labels [B]."""
    key, b, size, cell = key_of(config["seed"]), config["batch"], config["size"], config["cell"]
    cells = size // cell
    labels = np.floor(config["classes"] * uniform(fold(key, "labels", k), b).astype(np.float64)).astype(np.int64)
    noise = uniform(fold(key, "images", k), b * size * size * 3).astype(np.float64).reshape(b, size, size, 3)
    pattern = np.stack([uniform(fold(key, "classes", int(c)), cells * cells * 3).reshape(cells, cells, 3) for c in labels])
    pattern = pattern.astype(np.float64).repeat(cell, axis=1).repeat(cell, axis=2)
    images = np.floor(256 * (0.75 * pattern + 0.25 * noise))
    return torch.from_numpy((images - 127.5) / 128).permute(0, 3, 1, 2), torch.from_numpy(labels)


def run(case, dtype, layout=torch.contiguous_format, onednn=True, turn=0, smooth=False, steps=None):
    """The run's losses and tensors, each flat, float64, in our layout; with the images of each batch turned by some places."""
    began = time.time()
    config = config_of(case)
    model = copy.deepcopy(prototype(case))
    with torch.no_grad():
        for ending, value in [*config["start"].items(), *(config["smooth"].items() if smooth else [])]:
            for name, p in model.named():
                if name.endswith(ending):
                    p.fill_(value)
    model.to(dtype).to(memory_format=layout).train()
    first = {n: to_ours(n, p) for n, p in model.named()}
    dropouts = [m for m in model.modules() if isinstance(m, SharedDropout)]
    decay = lambda n, p: 0 if p.dim() == 1 else config["decayTop"] if n.startswith("arcface") else config["decayBody"]
    groups = [{"params": [p], "weight_decay": decay(n, p)} for n, p in model.named()]
    sgd = torch.optim.SGD(groups, lr=config["lr"], momentum=config["momentum"], nesterov=True)
    out = {"loss": []}
    with contextlib.nullcontext() if onednn else torch.backends.mkldnn.flags(enabled=False):
        for step in range(steps or config["steps"]):
            x, labels = (t.roll(turn, 0) for t in batch(config, step % config["batches"]))
            for d in dropouts:
                d.turn, d.key = turn, fold(key_of(config["seed"]), "dropout", step)
            embedding = model.net(x.to(dtype).contiguous(memory_format=layout))
            loss = nn.functional.cross_entropy(model.arcface(embedding, labels), labels)
            sgd.zero_grad()
            loss.backward()
            if step == 0:
                out["embedding"] = {"embedding": embedding.detach().double().roll(-turn, 0).numpy().flatten()}
                out["gradients"] = {n: to_ours(n, p.grad) for n, p in model.named()}
            sgd.step()
            out["loss"].append(loss.item())
    out["loss"] = np.array(out["loss"])
    out["moved"] = {n: to_ours(n, p) - first[n] for n, p in model.named()}
    out["running"] = {n: to_ours(n, b) for n, b in model.running()}
    losses = " ".join(f"{v:.4f}" for v in out["loss"])
    print(f"{dtype} {layout} onednn {onednn} turn {turn} smooth {smooth}, {time.time() - began:.0f} s: {losses}", file=sys.stderr, flush=True)
    return out


class Spread:
    """A float64 run, and how far float32 runs in other orders of summation are from it."""

    def __init__(self, case, **options):
        self.case = case
        self.key = key_of(config_of(case)["seed"])
        self.truth = run(case, torch.float64, **options)
        self.drift = {}
        for order in ORDERS:
            self.measure(run(case, torch.float32, **order, **options), ("embedding", "gradients", "moved", "running"))

    def measure(self, other, kinds):
        if len(other["loss"]) == len(self.truth["loss"]):
            gap = np.abs(other["loss"] - self.truth["loss"])
            self.drift["loss"] = np.maximum(gap, self.drift.get("loss", 0))
        for kind in kinds:
            for name, v in self.truth[kind].items():
                far = float(np.linalg.norm(other[kind][name] - v))
                self.drift[kind, name] = max(far, self.drift.get((kind, name), 0))

    def measure_first_step(self):
        """More runs of the first step: whether an activation changes its side of 0 is a matter of luck in each."""
        for turn in range(1, config_of(self.case)["batch"]):
            for order in ORDERS:
                self.measure(run(self.case, torch.float32, turn=turn, steps=1, **order), ("embedding", "gradients"))

    def summary(self, kind, name):
        v = self.truth[kind][name]
        words = threefry(fold(self.key, "signs", name), np.arange(-(-v.size // 32), dtype=np.uint32), 0)
        signs = [1.0 - 2.0 * np.unpackbits(w.astype("<u4").view(np.uint8), bitorder="little")[: v.size] for w in words]
        row = ", ".join(f"{x:.9g}" for x in (np.linalg.norm(v), v @ signs[0], v @ signs[1]))
        return f"[{row}, {self.drift[kind, name]:.3g}]"


def write(case):
    config = config_of(case)
    steps, smooth = Spread(case), Spread(case, smooth=True, steps=1)
    steps.measure_first_step()
    numbers = lambda v, digits: "[" + ", ".join(f"{x:.{digits}g}" for x in v) + "]"
    losses = lambda s: f'{{ "f64": {numbers(s.truth["loss"], 9)}, "drift": {numbers(s.drift["loss"], 3)} }}'
    embedding = {"step0": steps.summary("embedding", "embedding"), "smooth": smooth.summary("embedding", "embedding")}
    fields = lambda d: "{ " + ", ".join(f'"{k}": {v}' for k, v in d.items()) + " }"
    parameters = {n: dict(step0=steps.summary("gradients", n), smooth=smooth.summary("gradients", n), moved=steps.summary("moved", n))
                  for n in steps.truth["gradients"]}
    rows = ",\n".join(f'    "{n}": {fields(d)}' for n, d in parameters.items())
    running = ",\n".join(f'    "{n}": {steps.summary("running", n)}' for n in steps.truth["running"])
    text = f"""{{
  "made": "test/reference/trainingSteps.py, PyTorch {torch.__version__}, numpy {np.__version__}",
  "config": {json.dumps(config)},
  "loss": {losses(steps)},
  "smoothLoss": {losses(smooth)},
  "embedding": {fields(embedding)},
  "parameters": {{
{rows}
  }},
  "running": {{
{running}
  }}
}}
"""
    json.loads(text)
    path = pathlib.Path(__file__).with_suffix("") / f"{case}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    relative = np.maximum.accumulate(steps.drift["loss"]) / steps.truth["loss"]
    print(f"{case}: loss {steps.truth['loss'][0]:.3f} to {steps.truth['loss'][-1]:.3f}, float32 off by {relative.max():.1e} of it at most",
          flush=True)


if __name__ == "__main__":
    counterRandom.check()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    for case in sys.argv[1:] or [c for c in CASES if c not in LONG]:
        write(case)
