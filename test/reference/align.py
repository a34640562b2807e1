"""The similarity of Umeyama (1991, eq. 34-42) by SVD in numpy, for src/image/align.ts, which has it in closed form.

Pairs of point sets are drawn from the counter-based generator (draws below), so the golden holds only the matrices.
Write it with: python3 test/reference/align.py > test/reference/align.json
"""

import json

import numpy as np

from counterRandom import fold, key_of, uniform


def umeyama(x, y):
    """2x3 matrix [c R | t] of the least-squares similarity from rows of x to rows of y; never a reflection."""
    n, m = x.shape
    mx, my = x.mean(0), y.mean(0)
    variance = ((x - mx) ** 2).sum() / n  # eq. 36
    covariance = (y - my).T @ (x - mx) / n  # eq. 38
    u, d, vt = np.linalg.svd(covariance)
    s = np.ones(m)
    if np.linalg.det(covariance) < 0:  # eq. 39
        s[-1] = -1
    if np.linalg.matrix_rank(covariance) == m - 1:  # eq. 43
        s = np.ones(m)
        if np.linalg.det(u) * np.linalg.det(vt) < 0:
            s[-1] = -1
    r = u @ np.diag(s) @ vt  # eq. 40
    c = (d * s).sum() / variance  # eq. 42
    return np.hstack([c * r, (my - c * r @ mx)[:, None]])  # eq. 41


def pairs():
    """Twelve pairs of 2 to 7 points: free of each other; every third target is near a mirror image of its source."""
    for k in range(12):
        n = 2 + k % 6
        draw = lambda name: uniform(fold(key_of(k), name), 2 * n).astype(np.float64).reshape(n, 2)
        x, y = draw("from") * 250, draw("to") * 112
        if k % 3 == 2:
            y = x * [-0.5, 0.5] + y / 16
        yield x, y


if __name__ == "__main__":
    rows = [json.dumps([float(f"{v:.12g}") for v in umeyama(x, y).ravel()]) for x, y in pairs()]
    print("[\n " + ",\n ".join(rows) + "\n]")
