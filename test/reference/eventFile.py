"""Writes eventFile.json: an event file as TensorBoard's own writer writes it, its histograms by TensorFlow's kernel.

    pip install tensorboard tensorflow-cpu && python3 test/reference/eventFile.py
    python3 test/reference/eventFile.py read FOLDER      prints what TensorBoard makes of a run's folder as JSON

`file` is the event file in base64, written with TensorBoard 2.21 and TensorFlow 2.21; `png` the picture in it. Event k is at
1 700 000 000 s + k / 4 s. The values of the histograms are those of test/train/eventFile.test.ts, drawn by counterRandom.
"""
import base64
import io
import json
import pathlib
import sys

import numpy as np
from counterRandom import fold, key_of, threefry, uniform


def scaled():
    return (uniform(fold(key_of(1), "scaled"), 1000) - np.float32(0.5)) / np.float32(8)


def any_bits():
    """Floats of any bits, of which those that are not finite are left out."""
    words = threefry(fold(key_of(1), "bits"), np.arange(300, dtype=np.uint32), 0)[0]
    values = words.astype(np.uint32).view(np.float32)
    return values[np.isfinite(values)]


def write():
    import tensorflow as tf
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
    from tensorboard.plugins.scalar.metadata import create_summary_metadata
    from tensorboard.summary.writer.record_writer import RecordWriter

    def histogram(values):
        text = tf.raw_ops.HistogramSummary(tag="", values=values).numpy()
        histo = Summary.FromString(text).value[0].histo
        # Empty buckets at the ends: TensorBoard drops them when it reads, but its data server does not.
        kept = np.flatnonzero(histo.bucket)
        keep = slice(kept[0], kept[-1] + 1)
        limits, counts = histo.bucket_limit[keep], histo.bucket[keep]
        del histo.bucket_limit[:], histo.bucket[:]
        histo.bucket_limit.extend(limits)
        histo.bucket.extend(counts)
        return histo

    png = tf.io.encode_png(np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)).numpy()
    picture = Summary.Image(height=4, width=3, colorspace=3, encoded_image_string=png)
    shown = create_summary_metadata(display_name="", description="")
    summary = lambda **value: {"summary": Summary(value=[Summary.Value(**value)])}
    events = [
        (0, {"file_version": "brain.Event:2", "source_metadata": SourceMetadata(writer="facegrad")}),
        (43, {"session_log": SessionLog(status=SessionLog.START)}),
        (50, summary(tag="loss", simple_value=12.34, metadata=shown)),
        (50, summary(tag="accuracy/lfw", simple_value=0, metadata=shown)),
        (60, summary(tag="loss", simple_value=float("nan"))),
        (2**40, summary(tag="loss", simple_value=float("inf"))),
        (60, summary(tag="scaled", histo=histogram(scaled()))),
        (60, summary(tag="bits", histo=histogram(any_bits()))),
        (60, summary(tag="same", histo=histogram(np.full(7, 0.25, np.float32)))),
        (60, summary(tag="zeros", histo=histogram(np.zeros(3, np.float32)))),
        (60, summary(tag="samples/batch", image=picture)),
    ]
    file = io.BytesIO()
    writer = RecordWriter(file)
    for k, (step, content) in enumerate(events):
        writer.write(Event(wall_time=1_700_000_000 + k / 4, step=step, **content).SerializeToString())
    text = lambda b: base64.b64encode(b).decode()
    golden = {"file": text(file.getvalue()), "png": text(png)}
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(folder, size_guidance={k: 0 for k in ("scalars", "histograms", "images")})
    run.Reload()
    facts = lambda h: {"min": h.min, "max": h.max, "num": h.num, "sum": h.sum, "buckets": len(h.bucket)}
    tags = run.Tags()
    return {
        "scalars": {t: [(e.step, e.value) for e in run.Scalars(t)] for t in tags["scalars"]},
        "histograms": {t: [(e.step, facts(e.histogram_value)) for e in run.Histograms(t)] for t in tags["histograms"]},
        "images": {t: [(e.step, e.width, e.height) for e in run.Images(t)] for t in tags["images"]},
    }


if sys.argv[1:2] == ["read"]:
    print(json.dumps(read(sys.argv[2]), indent=1))
else:
    write()
