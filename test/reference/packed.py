"""Reads a packed file (.faces) by its description in src/data/formats/packed.ts alone, and lists what it holds as JSON.

Run: python3 test/reference/packed.py FILE          every checksum is checked; it exits with 1 and says what is wrong
     python3 test/reference/packed.py FILE --write  writes the list to FILE with .json for .faces: the golden of the tests

Needs numpy for pixels of shards with a stride, which it maps into memory as the description promises.
"""

import hashlib
import json
import math
import struct
import sys

import numpy as np

TABLE = []
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    TABLE.append(c)


def crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c = TABLE[(c ^ b) & 255] ^ c >> 8
    return c ^ 0xFFFFFFFF


def up64(n):
    return (n + 63) // 64 * 64


class Cut(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Cut(what)


def piece(file, at, length, what):
    file.seek(at)
    data = file.read(length)
    need(len(data) == length, f"{what} at {at} is cut off")
    return data


def read_shard(file, path, at, first):
    head = piece(file, at, 64, "shard head")
    magic, size, number, n, flags, data_at, k, id_bytes, name_bytes, stride, crc, _, _, head_crc = struct.unpack(
        "<8sQIIIIIIIIIIII", head)
    need(magic == b"FACESHRD" and crc32c(head[:60]) == head_crc, f"no shard at {at}")
    assert number == first and n > 0 and flags in (0, 1)
    need(len(piece(file, at + size - 1, 1, "shard")) == 1, "shard")
    tables = piece(file, at + 64, data_at - 64, "tables")
    assert crc32c(tables) == crc, f"index of the shard at {at} is damaged"
    p = 24 * n
    entries = list(struct.iter_unpack("<IIIiHHB3x", tables[:p]))
    landmarks = [None] * n
    if flags & 1:
        points = np.frombuffer(tables, "<f4", 10 * n, p).reshape(n, 10)
        landmarks = [None if math.isnan(row[0]) else [float(x) for x in row] for row in points]
        p += 40 * n
    identities = []
    stop = p + id_bytes
    for _ in range(k):
        label, length = struct.unpack_from("<iI", tables, p)
        identities.append([label, tables[p + 8:p + 8 + length].decode()])
        p += 8 + length
    assert p == stop and data_at == up64(64 + stop + name_bytes) and size == up64(data_at + entries[-1][0])
    names = tables[stop:stop + name_bytes]
    mapped = np.memmap(path, np.uint8, "r", at + data_at, (n, entries[0][5], entries[0][4], 3)) if stride else None
    images = []
    end = name_end = 0
    for j, (data_to, name_to, data_crc, label, width, height, kind) in enumerate(entries):
        data = piece(file, at + data_at + end, data_to - end, "data")
        assert crc32c(data) == data_crc, f"image {first + j} is damaged"
        assert kind == 0 or len(data) == width * height * 3
        if stride:
            assert len(data) == stride and mapped[j].tobytes() == data
        images.append(dict(name=names[name_end:name_to].decode(), label=label, kind=["file", "pixels"][kind], width=width,
                           height=height, offset=at + data_at + end, length=len(data), crc=data_crc,
                           sha256=hashlib.sha256(data).hexdigest(), landmarks=landmarks[j]))
        end, name_end = data_to, name_to
    assert name_end == name_bytes
    assert not any(piece(file, at + data_at + end, size - data_at - end, "padding"))
    return dict(offset=at, bytes=size, images=n, stride=stride, identities=identities), images


def read_directory(file, at):
    head = piece(file, at, 64, "directory head")
    magic, size, images, shards, classes, name_bytes, pairs, folds, json_bytes = struct.unpack_from("<8sQIIIIIII", head)
    crc, head_crc = struct.unpack_from("<II", head, 56)
    need(magic == b"FACESDIR" and crc32c(head[:60]) == head_crc, f"no directory at {at}")
    body = piece(file, at + 64, size - 64, "directory")
    assert crc32c(body) == crc, "the directory is damaged"
    assert len(body) == 16 * shards + 4 * classes + 16 * pairs + name_bytes + json_bytes
    p = 16 * shards
    ends = struct.unpack_from(f"<{classes}I", body, p)
    p += 4 * classes
    rows = [list(r) for r in struct.iter_unpack("<iiii", body[p:p + 16 * pairs])]
    p += 16 * pairs
    names = body[p:p + name_bytes]
    return size, dict(shards=[list(s) for s in struct.iter_unpack("<QII", body[:16 * shards])], images=images,
                      identities=[names[a:b].decode() for a, b in zip((0,) + ends, ends)], folds=folds, pairs=rows,
                      metadata=json.loads(body[p + name_bytes:]))


def read(path):
    with open(path, "rb") as file:
        head = piece(file, 0, 64, "header")
        magic, major, minor, features = struct.unpack_from("<8sHHI", head)
        assert magic == b"\x89FACES\r\n" and (major, features) == (1, 0) and crc32c(head[:60]) == struct.unpack_from("<I", head, 60)[0]
        out = dict(version=[major, minor], shards=[], images=[], directory=None, whole=False)
        at = 64
        try:
            while True:
                shard, images = read_shard(file, path, at, len(out["images"]))
                out["shards"].append(shard)
                out["images"] += images
                at += shard["bytes"]
        except Cut:
            pass
        try:
            size, out["directory"] = read_directory(file, at)
            assert [s[0] for s in out["directory"]["shards"]] == [s["offset"] for s in out["shards"]]
            footer = piece(file, at + size, 32, "footer")
            where, length, _, crc, magic = struct.unpack("<QQII8s", footer)
            need(magic == b"FACESEND" and crc == crc32c(footer[:20]), "no footer")
            assert (where, length) == (at, size)
            out["whole"] = not file.read(1)
        except Cut:
            pass
    return out


if __name__ == "__main__":
    listing = json.dumps(read(sys.argv[1]), indent=1, ensure_ascii=False)
    if "--write" in sys.argv:
        with open(sys.argv[1].removesuffix(".faces") + ".json", "w", encoding="utf8") as f:
            f.write(listing + "\n")
    else:
        print(listing)
