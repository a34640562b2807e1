"""NumPy's own files for the readers of .npy and .npz, and NumPy's word on what the writers write; stored as npz.json.

    python3 test/reference/npz.py NODE

NODE runs TypeScript (24 or newer). It writes files with the library into a temporary folder; NumPy must load them, and what
is loaded must be what was given. Then the SHA-256 of the stored ones is kept, so that tests need no Python.
Feature files are packed here by their description (four int32, then rows).
"""
import base64
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
WRITE = """
import { writeFileSync } from 'node:fs';
import { writeNpy } from '%(root)s/src/weights/npy.ts';
import { writeNpz } from '%(root)s/src/weights/npz.ts';
import { npzArrays } from '%(root)s/test/weights/npzArrays.ts';
for (const [name, array] of npzArrays) writeFileSync('%(to)s/' + name.replaceAll('/', '|') + '.npy', writeNpy(array));
writeFileSync('%(to)s/stored.npz', await writeNpz(npzArrays));
writeFileSync('%(to)s/compressed.npz', await writeNpz(npzArrays, { compress: true }));
"""


def arrays():
    """As in test/weights/npzArrays.ts."""
    return {
        'embeddings': (np.arange(12, dtype=np.float32) / 8 - 1).reshape(4, 3),
        'labels': np.array([0, 1, -1, 2**31 - 1], np.int32),
        'names': np.array(['a/b.jpg', 'Änne_0002', '', '\U0001f600x']),
        'same': np.array([[True], [False]]),
        'pixels': np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        'scalar': np.array(2.5, np.float32),
        'none': np.zeros((0, 128), np.float32),
        '../up': np.array([1], np.int32),
    }


def saved(save, *args, **kw):
    f = io.BytesIO()
    save(f, *args, **kw)
    return base64.b64encode(f.getvalue()).decode()


def sha(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def check(got, want, name):
    assert got.dtype == want.dtype and got.shape == want.shape and np.array_equal(got, want), (name, got, want)


def features(matrix, code, pad=0):
    rows, cols = matrix.shape
    out = struct.pack('<iiii', rows, cols, cols * matrix.itemsize + pad, code)
    return base64.b64encode(out + b''.join(row.tobytes() + b'\xff' * pad for row in matrix)).decode()


def main():
    with tempfile.TemporaryDirectory() as to:
        code = WRITE % {'root': os.path.join(HERE, '..', '..'), 'to': to}
        subprocess.run([sys.argv[1], '--input-type=module', '-e', code], check=True)
        hashes = {}
        for name, want in arrays().items():
            path = os.path.join(to, name.replace('/', '|') + '.npy')
            check(np.load(path), want, name)
            hashes[name] = sha(path)
        for file in ('stored.npz', 'compressed.npz'):
            with np.load(os.path.join(to, file)) as z:
                assert list(z.keys()) == list(arrays()), z.keys()
                for name, want in arrays().items():
                    check(z[name], want, name)
        hashes['stored.npz'] = sha(os.path.join(to, 'stored.npz'))
    small = arrays()
    cube = np.arange(24, dtype='<f4').reshape(2, 3, 4)
    single = (np.arange(5, dtype='<f4') / 4).reshape(5, 1)
    result = {
        'written': hashes,
        'numpy': {
            'stored.npz': saved(np.savez, **small),
            'compressed.npz': saved(np.savez_compressed, **small),
            'cube.npy': saved(np.save, cube),
            'cube_fortran.npy': saved(np.save, np.asfortranarray(cube)),
            'cube_f8.npy': saved(np.save, cube.astype('>f8')),
            'cube_f2.npy': saved(np.save, cube.astype('<f2')),
            'bytes.npy': saved(np.save, np.array([[b'ab', b'c'], [b'', b'xyz']], order='F')),
            'bigendian_text.npy': saved(np.save, np.array(['Änne', '\U0001f600']).astype('>U4')),
            'text_fortran.npy': saved(np.save, np.asfortranarray(np.array([['a', 'b', 'c'], ['d', 'e', 'f']]))),
            'int64.npy': saved(np.save, np.array([-(2**53) + 1, 5], np.int64)),
            'int16.npy': saved(np.save, np.array([-3, 300], np.int16)),
            'uint16.npy': saved(np.save, np.array([65535], np.uint16)),
            'objects.npy': saved(np.save, np.array([{}, None], dtype=object), allow_pickle=True),
        },
        'features': {
            'single': features(single, 5),
            'stacked': features(cube.reshape(6, 4), 5),
            'double': features(cube.reshape(6, 4).astype('<f8'), 6),
            'padded': features(cube.reshape(6, 4), 5, pad=8),
        },
    }
    with open(os.path.join(HERE, 'npz.json'), 'w') as f:
        json.dump(result, f, indent=1)
        f.write('\n')


main()
