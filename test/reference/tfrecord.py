"""TFRecord files of tf.train.Examples, written and read from the description of the formats alone.

    python3 test/reference/tfrecord.py                 writes tfrecord.json beside this file
    python3 test/reference/tfrecord.py read FILE       prints what a file holds as JSON, with every checksum checked

A file is records of `u64 length | u32 masked CRC-32C of the length | data | u32 masked CRC-32C of the data`, little endian;
masked = rotate right by 15, plus 0xa282ead8. The CRC here goes bit by bit, and protobuf is written and read by hand.

The JSON holds, by name, a file in base64 and the images that it holds in order: `bytes` (base64), `label`, and where
there are some `raw` [width, height], `name`, `identity`. The content is made up: counting bytes behind the first bytes of a
JPEG file, pixels, and a small PNG file.
"""
import base64
import gzip
import json
import pathlib
import struct
import sys
import zlib


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def records(data):
    at = 0
    while at < len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        assert crc == masked(data[at : at + 8]), f"length at {at}"
        body = data[at + 12 : at + 12 + length]
        assert len(body) == length, f"cut at {at}"
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(body), f"data at {at}"
        yield body
        at += 16 + length


# Protobuf: a field is the varint (number << 3 | type) and a value; type 0 varint, 1 eight bytes, 2 length and bytes,
# 3 and 4 begin and end of a group, 5 four bytes.


def varint(n):
    n &= 2**64 - 1  # negative int64 take ten bytes
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def read_varint(data, at):
    n = shift = 0
    while True:
        byte = data[at]
        at += 1
        n |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return n & 2**64 - 1, at


def read_fields(data):
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
        else:
            if kind == 2:
                size, at = read_varint(data, at)
            else:
                size = {1: 8, 5: 4}[kind]
            value = data[at : at + size]
            assert len(value) == size
            at += size
        yield number, kind, value


def bytes_feature(*values):
    return field(1, b"".join(field(1, v) for v in values))


def float_feature(*values):
    return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))


def int_feature(*values):
    return field(3, field(1, b"".join(varint(v) for v in values)))


def int_feature_unpacked(*values):
    return field(3, b"".join(varint(1 << 3) + varint(v) for v in values))


def entry(key, feature):
    return field(1, field(1, key.encode()) + field(2, feature))


def example(features):
    return field(1, b"".join(entry(k, v) for k, v in features.items()))


def read_example(data):
    out = {}
    for number, _, features in read_fields(data):
        assert number == 1
        for number, _, item in read_fields(features):
            assert number == 1
            parts = {n: v for n, _, v in read_fields(item)}
            ((kind, _, values),) = read_fields(parts[2])
            found = []
            for _, wire, value in read_fields(values):
                if kind == 1:
                    found.append(base64.b64encode(value).decode())
                elif kind == 2:
                    found += struct.unpack(f"<{len(value) // 4}f", value)
                elif wire == 0:
                    found.append(value)
                else:
                    at = 0
                    while at < len(value):
                        n, at = read_varint(value, at)
                        found.append(n)
            if kind == 3:
                found = [n - 2**64 if n >= 2**63 else n for n in found]
            out[parts[1].decode()] = found
    return out


def jpeg(n, size):
    return b"\xff\xd8\xff\xe0" + bytes((n * 31 + i * 7) & 255 for i in range(size - 4))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, pixels):
    rows = b"".join(b"\0" + pixels[3 * width * y : 3 * width * (y + 1)] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def image(data, label, raw=None, name=None, identity=None):
    out = {"bytes": base64.b64encode(data).decode(), "label": label}
    out.update({k: v for k, v in [("raw", raw), ("name", name), ("identity", identity)] if v is not None})
    return out


def files():
    out = {}

    def put(name, examples, images, pack=lambda b: b):
        data = pack(b"".join(record(e) for e in examples))
        out[name] = {"file": base64.b64encode(data).decode(), "images": images}

    # Seed 000: image_raw and label.
    labels = [0, 2, 1, 300, 85741]
    data = [jpeg(i, 40 + 30 * i) for i in range(5)]
    plain = [example({"image_raw": bytes_feature(d), "label": int_feature(l)}) for d, l in zip(data, labels)]
    images = [image(d, l) for d, l in zip(data, labels)]
    put("image.tfrecords", plain, images)
    put("image.gz", plain, images, lambda b: gzip.compress(b, mtime=0))
    put("image.zlib", plain, images, zlib.compress)

    # Seed 001: sizes too, which do not tell the truth of the file.
    sized = {"height": int_feature(112), "width": int_feature(112), "depth": int_feature(3)}
    put(
        "sized.tfrecord",
        [example({**sized, "label": int_feature(l), "image_raw": bytes_feature(d)}) for d, l in zip(data, labels)],
        images,
    )

    # Seed 004: pixels.
    pixels = [bytes((i * 50 + k * 3) & 255 for k in range(5 * 4 * 3)) for i in range(3)]
    put(
        "raw.tfrecord",
        [
            example({"img": bytes_feature(p), "shape": int_feature(5, 4, 3), "label": int_feature(i)})
            for i, p in enumerate(pixels)
        ],
        [image(p, i, [4, 5]) for i, p in enumerate(pixels)],
    )

    # Pixels in image_raw, of the size that the numbers tell.
    small = {"height": int_feature(5), "width": int_feature(4), "depth": int_feature(3), "label": int_feature(7)}
    put("sizedRaw.tfrecord", [example({**small, "image_raw": bytes_feature(pixels[1])})], [image(pixels[1], 7, [4, 5])])

    # TF-slim.
    put(
        "slim.tfrecord",
        [
            example(
                {
                    "image/height": int_feature(1),
                    "image/class/label": int_feature(1),
                    "image/class/text": bytes_feature("Zoë".encode()),
                    "image/filename": bytes_feature(b"zoe/1.jpg"),
                    "image/format": bytes_feature(b"JPEG"),
                    "image/object/bbox/xmin": float_feature(0.25, 0.5),
                    "image/encoded": bytes_feature(data[0]),
                }
            )
        ],
        [image(data[0], 1, name="zoe/1.jpg", identity="Zoë")],
    )

    # What readers must bear: unknown fields of every type, a value before its key, features in two parts, lists that
    # are not packed, a feature given twice, no label known, other features in plenty.
    unknown = (
        varint(15 << 3)
        + varint(2**63)
        + varint(16 << 3 | 1)
        + bytes(8)
        + varint(17 << 3 | 5)
        + bytes(4)
        + varint(18 << 3 | 3)
        + field(3, b"in a group")
        + varint(18 << 3 | 4)
    )
    label = field(1, field(2, int_feature_unpacked(-1) + unknown) + unknown + field(1, b"label"))
    others = b"".join(entry(f"other {i}", float_feature(i)) for i in range(30)) + entry("empty", b"")
    picture = entry("image_raw", bytes_feature(b"replaced")) + entry("image_raw", bytes_feature(data[1]))
    put("odd.tfrecord", [unknown + field(1, others + unknown + label) + field(1, picture) + unknown], [image(data[1], -1)])

    # What facegrad writes, to the byte.
    file = png(4, 5, pixels[2])
    names = {"name": bytes_feature("Bäcker/1.png".encode()), "identity": bytes_feature("Bäcker".encode())}
    named = [image(file, 3, name="Bäcker/1.png", identity="Bäcker"), image(file, -1)]
    written = {"image_raw": bytes_feature(file)}
    put(
        "ours jpeg",
        [
            example({**written, "label": int_feature(3), **names}),
            example({**written, "label": int_feature(-1)}),
        ],
        named,
    )
    sized = {"height": int_feature(5), "width": int_feature(4), "depth": int_feature(3)}
    put(
        "ours sized",
        [
            example({**sized, "label": int_feature(3), **written, **names}),
            example({**sized, "label": int_feature(-1), **written}),
        ],
        named,
    )
    shaped = {"img": bytes_feature(pixels[2]), "shape": int_feature(5, 4, 3)}
    put(
        "ours raw",
        [
            example({**shaped, "label": int_feature(3), **names}),
            example({**shaped, "label": int_feature(-1)}),
        ],
        [
            image(pixels[2], 3, [4, 5], "Bäcker/1.png", "Bäcker"),
            image(pixels[2], -1, [4, 5]),
        ],
    )
    return out


if __name__ == "__main__":
    assert crc32c(b"123456789") == 0xE3069283
    if sys.argv[1:2] == ["read"]:
        print(json.dumps([read_example(r) for r in records(pathlib.Path(sys.argv[2]).read_bytes())]))
    else:
        pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(files(), indent=1, ensure_ascii=False) + "\n")
