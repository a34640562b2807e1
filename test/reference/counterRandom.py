"""The counter-based generator of src/core/random.ts in numpy, equal to it bit for bit.

Threefry-2x32 with 20 rounds (Salmon et al. 2011, section 3.3). Goldens draw their inputs from it, so that a golden holds
only what the reference computed: the TypeScript side draws the same inputs from the same keys.

Run it to check itself against the TypeScript: python3 test/reference/counterRandom.py
"""

import numpy as np

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
U32 = np.uint32


def threefry(key, c0, c1):
    """Both 32-bit words of the counters (c0, c1), arrays or numbers, under a key."""
    with np.errstate(over="ignore"):
        k0, k1 = U32(key[0]), U32(key[1])
        ks = (k0, k1, U32(0x1BD11BDA) ^ k0 ^ k1)
        x0 = np.asarray(c0, U32) + ks[0]
        x1 = np.asarray(c1, U32) + ks[1]
        for i in range(20):
            r = ROTATIONS[i % 8]
            x0 = x0 + x1
            x1 = ((x1 << U32(r)) | (x1 >> U32(32 - r))) ^ x0
            if i % 4 == 3:
                s = (i + 1) // 4
                x0 = x0 + ks[s % 3]
                x1 = x1 + ks[(s + 1) % 3] + U32(s)
        return x0, x1


def key_of(seed):
    return seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF


def fold(key, *by):
    """A key derived by each of `by` in turn: a number, or a name (FNV-1a of its UTF-8 bytes)."""
    for b in by:
        if isinstance(b, str):
            h = 0x811C9DC5
            for byte in b.encode():
                h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
            words = threefry(key, h, 0x6E616D65)
        else:
            words = threefry(key, b & 0xFFFFFFFF, b >> 32)
        key = int(words[0]), int(words[1])
    return key


def uniform(key, n):
    """n uniforms in [0, 1) as float32: the top 24 bits of word 0 of counter i."""
    return ((threefry(key, np.arange(n, dtype=U32), 0)[0] >> U32(8)) / 2.0**24).astype(np.float32)


def normal(key, n):
    """n standard normals as float32: Box-Muller on both words of counter i, cosine branch, in float64."""
    a, b = threefry(key, np.arange(n, dtype=U32), 0)
    u = (a + 0.5) / 2.0**32
    return (np.sqrt(-2 * np.log(u)) * np.cos((2 * np.pi * b) / 2.0**32)).astype(np.float32)


PROBE = """
import { createHash } from 'node:crypto';
import { fold, keyOf, normal, uniform } from './src/core/random.ts';
const sha = (a) => createHash('sha256').update(new Uint8Array(a.buffer)).digest('hex');
const key = fold(keyOf(2 ** 33 + 5), 'stem.conv.weight');
console.log(JSON.stringify([key, fold(key, 2 ** 40 + 3), fold(key, 'é'), sha(uniform(key, 100003)), sha(normal(key, 100003))]));
"""


def check():
    """Runs the TypeScript generator and compares keys and the bits of 100,003 uniforms and normals."""
    import hashlib
    import json
    import pathlib
    import subprocess

    root = pathlib.Path(__file__).resolve().parents[2]
    command = ["npx", "node", "--input-type=module-typescript", "-e", PROBE]
    theirs = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)
    sha = lambda a: hashlib.sha256(a.tobytes()).hexdigest()
    key = fold(key_of(2**33 + 5), "stem.conv.weight")
    ours = [list(key), list(fold(key, 2**40 + 3)), list(fold(key, "é")), sha(uniform(key, 100003)), sha(normal(key, 100003))]
    if ours != theirs:
        raise SystemExit(f"counterRandom.py differs from src/core/random.ts:\n  {ours}\n  {theirs}")


if __name__ == "__main__":
    check()
    print("equal to src/core/random.ts: keys, 100,003 uniforms and 100,003 normals, bit for bit")
