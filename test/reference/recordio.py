"""MXNet RecordIO by its description alone: writes small image sets, reads them again, and stores both as recordio.json.

    python3 test/reference/recordio.py

The pictures are no real ones: bytes that begin as JPEG does, with the magic number wherever it can hurt.
"""
import base64
import json
import os
import random
import re
import struct

MAGIC = struct.pack('<I', 0xCED7230A)
LIMIT = 1 << 29


def record(payload):
    """Cuts at every aligned magic; the pieces become chunks."""
    assert len(payload) < LIMIT
    words = [payload[i : i + 4] for i in range(0, len(payload), 4)]
    pieces = [b'']
    for word in words:
        if word == MAGIC:
            pieces.append(b'')
        else:
            pieces[-1] += word
    out = b''
    for k, piece in enumerate(pieces):
        first, last = k == 0, k == len(pieces) - 1
        part = {(True, True): 0, (True, False): 1, (False, False): 2, (False, True): 3}[first, last]
        out += MAGIC + struct.pack('<I', (part << 29) + len(piece)) + piece + b'\0' * (-len(piece) % 4)
    return out


def pack(labels, key, content):
    """A number as the scalar label, or a list."""
    if isinstance(labels, list):
        return struct.pack('<IfQQ', len(labels), 0, key, 0) + struct.pack(f'<{len(labels)}f', *labels) + content
    return struct.pack('<IfQQ', 0, labels, key, 0) + content


def unpack(payload):
    flag, label, key, _ = struct.unpack_from('<IfQQ', payload)
    if flag == 0:
        return [label], key, payload[24:]
    return list(struct.unpack_from(f'<{flag}f', payload, 24)), key, payload[24 + 4 * flag :]


def read_all(rec):
    """offset -> payload"""
    found, at = {}, 0
    while at < len(rec):
        start, payload = at, None
        while True:
            assert rec[at : at + 4] == MAGIC, at
            (word,) = struct.unpack_from('<I', rec, at + 4)
            part, length = divmod(word, LIMIT)
            data = rec[at + 8 : at + 8 + length]
            assert len(data) == length
            at += 8 + (length + 3) // 4 * 4
            payload = data if payload is None else payload + MAGIC + data
            if part in (0, 3):
                break
        found[start] = payload
    return found


def write(entries):
    """entries: (key, labels, content) in the order of the file."""
    rec, idx = b'', ''
    for key, labels, content in entries:
        idx += f'{key}\t{len(rec)}\n'
        rec += record(pack(labels, key, content))
    read = read_all(rec)
    assert [unpack(p)[1:] for p in read.values()] == [(k, c) for k, _, c in entries]
    for line in idx.split('\n')[:-1]:
        assert re.fullmatch(r'\d+\t\d+', line) and int(line.split('\t')[1]) in read
    return rec, idx


draw = random.Random(5)


def filler(n):
    return bytes(draw.randrange(256) for _ in range(n))


JPEG = b'\xff\xd8\xff\xe0'
contents = [
    JPEG + filler(9),
    JPEG + MAGIC + filler(8),  # aligned
    JPEG + b'x' + MAGIC + filler(7),  # not aligned
    MAGIC + filler(6),  # at the start
    JPEG + MAGIC * 3,  # several in a row, empty parts, at the end
    MAGIC,
    MAGIC * 2,
    JPEG + MAGIC + filler(4) + MAGIC + filler(1),
    JPEG + MAGIC[:3],  # nearly
    filler(3) + MAGIC * 2 + filler(2),
    b'\x0a' + MAGIC,
    JPEG + filler(40),
]
people = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4]
names = ['Ann', 'Bea Ö', 'Cem', 'Dan', 'Eve']
images = [
    {'name': f'{names[p]}/{names[p]}_{k:04d}.jpg', 'label': p, 'identity': names[p], 'bytes': base64.b64encode(c).decode()}
    for k, (p, c) in enumerate(zip(people, contents))
]


def insightface(pair):
    n = len(contents)
    entries = [(k + 1, [p, 1] if pair else p, c) for k, (p, c) in enumerate(zip(people, contents))]
    starts = [k for k in range(n) if k == 0 or people[k] != people[k - 1]] + [n]
    entries.append((0, [n + 1, n + len(starts)], b''))
    for i in range(len(starts) - 1):
        entries.append((n + 1 + i, [starts[i] + 1, starts[i + 1] + 1], b''))
    return entries


def as_set(entries, **more):
    rec, idx = write(entries)
    return {'rec': base64.b64encode(rec).decode(), 'idx': idx, **more}


def lst(first, labels):
    return ''.join(f'{first + k}\t{l}\t{im["name"]}\n' for k, (l, im) in enumerate(zip(labels, images)))


def shuffled_idx(made):
    lines = made['idx'].splitlines(True)
    random.Random(2).shuffle(lines)
    return {**made, 'idx': ''.join(lines)}


scalar = insightface(False)
order = list(range(len(contents)))
random.Random(3).shuffle(order)
float_lst = ''.join(f'{k}\t{people[k]:f}\t{images[k]["name"]}\n' for k in order)
result = {
    'images': images,
    # What InsightFace's tools write, scalar labels and [label, aligned].
    'scalar': as_set(scalar, lst=lst(1, people), property='5,112,112\n'),
    'list': as_set(insightface(True), lst=lst(1, people), property='5,112,112\n'),
    # Key 0 at the start of the file.
    'zeroFirst': as_set([scalar[len(contents)], *scalar[: len(contents)], *scalar[len(contents) + 1 :]]),
    # The index in any order.
    'shuffledIndex': shuffled_idx(as_set(scalar)),
    # im2rec: keys from 0 in the order of a shuffled list, no layout; with a list of labels; ids all 0.
    'im2rec': as_set([(k, people[k], contents[k]) for k in order], lst=float_lst),
    'im2recLabels': as_set([(k, [people[k], 0.5, 7], contents[k]) for k in order]),
    # Nobody is known.
    'unknown': as_set([(k, -1, c) for k, c in enumerate(contents)], lst=lst(0, [-1] * len(contents)), property='0,112,112\n'),
}
with open(os.path.join(os.path.dirname(__file__), 'recordio.json'), 'w') as f:
    json.dump(result, f, indent=1, ensure_ascii=False)
    f.write('\n')
