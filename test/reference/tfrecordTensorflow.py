"""Writes tfrecordTensorflow.json: files that TensorFlow itself wrote (2.21), laid out as tfrecord.json.

    pip install tensorflow-cpu && python3 test/reference/tfrecordTensorflow.py

With `read FILE SCHEMA` it reads a file that facegrad wrote (jpeg, sized or raw) through tf.data and parse_single_example, as
programs that train with TensorFlow do, and prints label, size and the sum of the decoded pixels of each image.
"""
import base64
import json
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def write(path, compression, rows):
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type=compression)) as out:
        for row in rows:
            features = tf.train.Features(feature={k: feature(v) for k, v in row.items()})
            out.write(tf.train.Example(features=features).SerializeToString())


def files():
    rng = np.random.RandomState(0)
    pixels = [rng.randint(0, 256, (3 + i, 5, 3), dtype=np.uint8) for i in range(3)]
    jpegs = [tf.io.encode_jpeg(p, quality=50).numpy() for p in pixels]
    text = lambda b: base64.b64encode(b).decode()
    images = [{"bytes": text(b), "label": i - 1} for i, b in enumerate(jpegs)]
    raw = [{"bytes": text(p.tobytes()), "label": i, "raw": [5, 3 + i]} for i, p in enumerate(pixels)]
    encoded = [{"image_raw": b, "label": [i - 1], "height": [112]} for i, b in enumerate(jpegs)]
    shaped = [{"img": p.tobytes(), "shape": p.shape, "label": [i]} for i, p in enumerate(pixels)]
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, compression, rows, expected in [
            ("TensorFlow", "", encoded, images),
            ("TensorFlow GZIP", "GZIP", encoded, images),
            ("TensorFlow ZLIB", "ZLIB", encoded, images),
            ("TensorFlow raw", "", shaped, raw),
        ]:
            path = pathlib.Path(folder, "file")
            write(str(path), compression, rows)
            out[name] = {"file": text(path.read_bytes()), "images": expected}
    return out


def read(path, schema):
    one = lambda kind: tf.io.FixedLenFeature([], kind)
    spec = {"label": one(tf.int64)}
    if schema == "raw":
        spec |= {"img": one(tf.string), "shape": tf.io.FixedLenFeature([3], tf.int64)}
    else:
        spec |= {"image_raw": one(tf.string)}
    if schema == "sized":
        spec |= {k: one(tf.int64) for k in ["height", "width", "depth"]}
    for record in tf.data.TFRecordDataset([path]):
        row = tf.io.parse_single_example(record, spec)
        if schema == "raw":
            image = tf.reshape(tf.io.decode_raw(row["img"], tf.uint8), row["shape"])
        else:
            image = tf.io.decode_image(row["image_raw"])
        size = [int(row[k]) for k in ["height", "width", "depth"]] if schema == "sized" else list(image.shape)
        print(int(row["label"]), size, int(tf.reduce_sum(tf.cast(image, tf.int64))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read(*sys.argv[2:4])
    else:
        here = pathlib.Path(__file__)
        here.with_suffix(".json").write_text(json.dumps(files(), indent=1) + "\n")
