"""Golden results of shrinking pictures: PyTorch's interpolate(mode='area'), and areas by OpenCV's INTER_AREA rule in numpy.

    python3 test/reference/resampling.py > test/reference/resampling.json
"""

import json

import numpy as np
import torch
import torch.nn.functional as F


def picture(w, h):
    i = np.arange(w * h * 3)
    return ((i * 97 + (i * i) // 3) % 256).astype(np.uint8).reshape(h, w, 3)


def coverage(n, m):
    """[m, n]: the share of input pixel i in output pixel o, each output an interval of n / m pixels."""
    scale = n / m
    o = np.arange(m)[:, None]
    i = np.arange(n)[None]
    return np.clip(np.minimum((o + 1) * scale, i + 1) - np.maximum(o * scale, i), 0, None) / scale


cases = []
for w, h, w2, h2 in [(37, 29, 12, 9), (20, 15, 13, 11), (7, 5, 12, 12), (31, 12, 30, 5), (5, 5, 1, 1)]:
    x = picture(w, h)
    t = torch.from_numpy(x).permute(2, 0, 1)[None].float()
    means = F.interpolate(t, size=(h2, w2), mode="area")[0].permute(1, 2, 0)
    case = {"from": [w, h], "to": [w2, h2], "adaptive": [float(v) for v in means.flatten()]}
    if w2 <= w and h2 <= h:
        area = np.einsum("oi,pj,ijc->opc", coverage(h, h2), coverage(w, w2), x.astype(np.float64))
        case["area"] = [round(float(v), 4) for v in area.flatten()]
    cases.append(case)
print(json.dumps(cases))
