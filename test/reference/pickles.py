"""Small pickles with what they hold, written by CPython and numpy or, in the style of Python 2, by hand; and files of
facegrad's own writer, which CPython loads here.

Run: python3 test/reference/pickles.py    (rewrites pickles.json; fails where CPython reads ours otherwise)

Values are written as JSON: bytes as {"bytes": hex}, dicts as {"dict": [[key, value] ...]}, sets as {"set": [...]}, arrays as
{"array": dtype, "shape", "fortran", "values"}, ints beyond 2^53 as {"int": decimal}, floats that JSON lacks as {"float": text}.
"""
import collections
import json
import math
import os
import pickle

import numpy as np

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pickles.json')


def plain(v):
    if v is None or isinstance(v, (bool, str)):
        return v
    if isinstance(v, np.ndarray):
        flat = v.flatten(order='K').tolist()
        fortran = bool(v.flags.f_contiguous and not v.flags.c_contiguous)
        return {'array': v.dtype.str, 'shape': list(v.shape), 'fortran': fortran, 'values': [plain(x) for x in flat]}
    if isinstance(v, np.generic):
        return plain(v.item())
    if isinstance(v, int):
        return v if abs(v) < 2**53 else {'int': str(v)}
    if isinstance(v, float):
        return v if math.isfinite(v) else {'float': repr(v)}
    if isinstance(v, (bytes, bytearray)):
        return {'bytes': bytes(v).hex()}
    if isinstance(v, dict):
        return {'dict': [[plain(a), plain(b)] for a, b in v.items()]}
    if isinstance(v, (set, frozenset)):
        return {'set': sorted((plain(x) for x in v), key=json.dumps)}
    return [plain(x) for x in v]


def plain_native(v):
    """numpy turns big-endian arrays around when it loads them."""
    return json.dumps(plain(v)).replace('">', '"<')


shared_list = [1, 2]
values = {
    'ints': [0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**53 - 1, 2**53, 2**63, -(2**63), 2**64, -(10**40), 10**700],
    'floats': [0.0, -0.5, 1e300, 5e-324, 0.1, math.inf, -math.inf, math.nan],
    'texts': ['', 'a', 'naïve \\u0041 \\ \n\r\0\x1a\x85', '\ufeff日本 \U0001f600', 'x' * 300],
    'bytes': [b'', b'b', b'\xff\xd8\xff\xe0\0\n\\', bytes(range(256)) * 2],
    'bytearray': bytearray(b'\0\xfe'),
    'nested': {'a': (1, (2, (3, [4, {}]))), '__proto__': {'polluted': True}, 'constructor': None, 5: (), 6: (1,), 7: (1, 2, 3, 4)},
    'sets': [{1, 2, 3}, frozenset({'a'}), set()],
    'ordered': collections.OrderedDict([('b', 1), ('a', 2)]),
    'shared': [shared_list, shared_list, True, False, None],
    'long list': list(range(1200)),
    'scalars': [np.bool_(True), np.bool_(False), np.float32(0.5), np.int64(-7), np.uint8(200), np.float64(2.5)],
}
for dtype in '|u1 |i1 |b1 <i2 >i2 <u2 <i4 >i4 <i8 >i8 <u4 >u4 <u8 <f2 >f2 <f4 >f4 <f8 >f8'.split():
    values[f'array {dtype}'] = np.array([[0, 1, 100], [3, 77, 5]]).astype(dtype)
values['array fortran'] = np.asfortranarray(np.arange(6, dtype='<i4').reshape(2, 3))
values['array empty'] = np.zeros((0, 4), '<f4')
values['array scalar shape'] = np.array(2.5)
values['arrays that share a type'] = [np.arange(3, dtype='u1'), np.arange(4, dtype='u1').reshape(4, 1)]

cases = {}
for name, value in values.items():
    for protocol in range(6):
        if 'array' in name and protocol in (1, 4) or name == 'long list' and protocol in (1, 3, 5):
            continue
        data = pickle.dumps(value, protocol)
        assert plain_native(pickle.loads(data)) == plain_native(value), name
        cases[f'{name}, protocol {protocol}'] = {'pickle': data.hex(), 'value': plain(value)}

# As Python 2 writes them: str by STRING, BINSTRING and SHORT_BINSTRING, booleans as I01 and I00, longs with an L.
by_hand = {
    'python 2, protocol 0': rb"""(lp0
S'\xff\xd8\x00\n it\'s \\ \t'
p1
aS"it's"
p2
ag1
aI01
aI00
aI-5
aL12345678901234567890L
aF1.5
aVn\u00e4ive
p3
a(dp4
S'k'
Nsa.""",
    'python 2, protocol 1': b'(]q\x00(U\x03\xff\xd8\x00q\x01T\x05\x00\x00\x00hello' + b'h\x01I01\nI00\neI7\nt.',
    'python 2, protocol 2': b'\x80\x02]q\x00(U\x03\xff\xd8\x00T\x04\x00\x00\x00\x00\x01\x02\x03\x88\x89\x8a\x02\xff\x7fe\x85.',
    'python 2, numpy': b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x03K\x01\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x03\xff\xd8\x00tb.",
    'old instances': b'(i__builtin__\nset\n(c__builtin__\nset\n(lo\x86.',
    'stack play': b'(K\x010K\x022(K\x05K\x061l.',
    'octal and odd escapes': b"S'\\101\\7\\a\\x41'\n.",
}
for name, data in by_hand.items():
    cases[name] = {'pickle': data.hex(), 'value': plain(pickle.loads(data, encoding='bytes'))}

# What facegrad writes, committed once; CPython must load it as what it was written from.
with open(here) as f:
    written = json.load(f)['written']
images = [bytes([0xff, 0xd8, i, 0, 10, 92]) * (1 + 60 * (i % 3)) for i in range(5)]
left, right, same = [0, 2, 4], [1, 0, 4], [True, False, True]
for name, data in written.items():
    items, flags = pickle.loads(bytes.fromhex(data), encoding='bytes')
    expected = [images[i] for pair in zip(left, right) for i in pair]
    assert flags == same, name
    for item, image in zip(items, expected, strict=True):
        if name.startswith('numpy'):
            assert isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.shape == (len(image),), name
            item = item.tobytes()
        assert isinstance(item, bytes) and item == image, name

with open(here, 'w') as f:
    json.dump({'cases': cases, 'written': written}, f, separators=(',', ':'), ensure_ascii=True)
    f.write('\n')
print(len(cases), 'pickles;', len(written), 'of facegrad loaded')
