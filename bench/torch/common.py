"""What the PyTorch comparisons share: the model of test/reference, thread and allocator settings, timing.

`tuned()` is the allocator setting that makes PyTorch on CPU about a quarter faster in training: glibc otherwise maps and
unmaps every large activation. It only acts when set before the process starts, so `--malloc tuned` starts it again.
"""

import os
import pathlib
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "test" / "reference"))

TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736", "MALLOC_TOP_PAD_": "268435456"}
SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"


def environment(threads, malloc):
    """Restarts this script where threads or allocator are not yet as asked (both are read at start-up only)."""
    want = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    if malloc == "tuned":
        want |= TUNED
    if any(os.environ.get(k) != v for k, v in want.items()):
        rest = {k: v for k, v in os.environ.items() if k not in TUNED}
        os.execve(sys.executable, [sys.executable, *sys.argv], rest | want)


def timings(work, seconds, least=3):
    """Milliseconds of every call of `work` for about `seconds`, after two calls to warm up; sorted."""
    work(), work()
    out, end = [], time.perf_counter() + seconds
    while len(out) < least or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        out.append((time.perf_counter() - start) * 1e3)
    return sorted(out)


def row(work, ms, threads, batch, gflop, **more):
    """One JSON row, the same fields as bench/peers prints; `gflop` per image."""
    best, median = ms[0], ms[len(ms) // 2]
    return dict(work=f"{work} b{batch}", engine="torch", threads=threads, bestMs=round(best, 3), medianMs=round(median, 3),
                perSecond=round(batch / best * 1e3, 2), gflops=round(gflop * batch / best * 1e3, 2), runs=len(ms), **more)
