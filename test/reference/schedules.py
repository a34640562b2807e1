"""Writes schedules.json: rates by step from torch.optim.lr_scheduler, and the plateau's rates for a list of results.

Run: python3 test/reference/schedules.py      (PyTorch 1.13; seconds)
"""

import json
import pathlib
import warnings

import torch
from torch.optim import lr_scheduler as S

warnings.simplefilter("ignore")


def rates(lr, make, steps, results=None):
    o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    s = make(o)
    out = []
    for i in range(steps):
        if results is None:
            out.append(o.param_groups[0]["lr"])
        o.step()
        if results is None:
            if i < steps - 1:
                s.step()
        else:
            s.step(results[i])
            out.append(o.param_groups[0]["lr"])
    return out


def warm(o, n):
    return S.LinearLR(o, start_factor=1 / n, end_factor=1.0, total_iters=n - 1)


RESULTS = [1, 0.8, 0.79995, 0.85, 0.9, 0.7, 0.71, 0.72, 0.73, 0.74, 0.6999, 0.69, 0.691, 0.692, 0.693, 0.694, 0.695, 0.696,
           0.697, 0.698, 0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.58, 0.59, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
PLATEAUS = [
    {"patience": 2},
    {"patience": 0, "factor": 0.5, "minLr": 0.01},
    {"patience": 1, "cooldown": 3, "factor": 0.2},
    {"patience": 2, "threshold": 0.05, "thresholdMode": "abs"},
    {"patience": 1, "mode": "max", "threshold": 0.01},
    {"patience": 1, "mode": "max", "threshold": 0.2, "thresholdMode": "abs", "cooldown": 1},
    {"patience": 0, "eps": 0.005},
]
NAMES = {"minLr": "min_lr", "thresholdMode": "threshold_mode"}

if __name__ == "__main__":
    out = {
        "step": rates(0.1, lambda o: S.MultiStepLR(o, [4, 9, 15], 0.1), 20),
        "poly": rates(0.1, lambda o: S.PolynomialLR(o, total_iters=12, power=2.0), 16),
        "cosine": rates(0.1, lambda o: S.CosineAnnealingLR(o, T_max=15, eta_min=0.002), 16),
        "oneCycle": rates(0.1, lambda o: S.OneCycleLR(o, max_lr=0.1, total_steps=20), 20),
        "oneCycleOptions": rates(0.1, lambda o: S.OneCycleLR(
            o, max_lr=0.1, total_steps=17, pct_start=0.4, div_factor=10, final_div_factor=100), 17),
        "warmDelayed": rates(0.1, lambda o: S.SequentialLR(
            o, [warm(o, 5), S.CosineAnnealingLR(o, T_max=10)], milestones=[5]), 16),
        "warmAtOnce": rates(0.1, lambda o: S.ChainedScheduler([warm(o, 5), S.MultiStepLR(o, [3, 8], 0.5)]), 14),
        "warmStart": rates(0.1, lambda o: S.ChainedScheduler(
            [S.LinearLR(o, start_factor=0.25, total_iters=5), S.MultiStepLR(o, [3, 8], 0.5)]), 14),
        # arcface_torch's: up along a line from 0, then down along a square, 20 steps in all.
        "warmPoly": rates(0.1, lambda o: S.LambdaLR(
            o, lambda t: t / 6 if t < 6 else ((20 - 6 - (t - 6)) / (20 - 6)) ** 2), 20),
        # Milestones at epochs 1 and 3 of 5 steps, after an epoch's warm-up along a square.
        "epochs": rates(0.1, lambda o: S.LambdaLR(
            o, lambda t: min(1, (t + 1) / 5) ** 2 * 0.2 ** (t // 5 >= 1) * 0.2 ** (t // 5 >= 3)), 20),
        "results": RESULTS,
        "plateaus": [{"options": p, "rates": rates(
            0.1, lambda o: S.ReduceLROnPlateau(o, **{NAMES.get(k, k): v for k, v in p.items()}), len(RESULTS), RESULTS)}
            for p in PLATEAUS],
    }
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
