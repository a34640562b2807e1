"""Writes tensorflowModels.json.gz: small graphs, a checkpoint and TFJS models, with what TensorFlow (2.21) makes of their inputs.

    pip install tensorflow-cpu && python3 test/reference/tensorflowModels.py

Each graph is a frozen GraphDef, with inputs and outputs. TFJS models are those graphs as their converter writes them: constants
outside in one run of bytes, layers fused with what follows.
"""
import base64
import gzip
import json
import os
import pathlib
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

tf1 = tf.compat.v1
nn = tf.nn
tf1.disable_eager_execution()
rng = np.random.RandomState(1)
text = lambda b: base64.b64encode(b).decode()


def random(*shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def weights(*shape):
    return random(*shape, scale=1 / np.sqrt(np.prod(shape[:-1])))


def const(value, name=None):
    return tf.constant(value, name=name)


def numbers(a):
    a = np.asarray(a, np.float32)
    return {"shape": list(a.shape), "data": text(a.tobytes())}


def prelu(x, name):
    """As MobileFaceNet_TF writes it."""
    with tf1.variable_scope(name):
        alphas = const(random(int(x.shape[-1]), scale=0.3), "alphas")
        pos = nn.relu(x)
        neg = alphas * (x - tf.abs(x)) * 0.5
        return pos + neg


def batch_norm(x, raw):
    c = int(x.shape[-1])
    args = [random(c), random(c), random(c), np.abs(random(c)) + 0.5]
    return raw(x=x, scale=args[0], offset=args[1], mean=args[2], variance=args[3], epsilon=2e-5, is_training=False)[0]


def layers(x):
    y = nn.conv2d(x, const(weights(3, 3, 3, 8), "stem/weights"), 2, "SAME", name="stem/conv")
    y = batch_norm(y, tf.raw_ops.FusedBatchNormV3)
    y = prelu(y, "prelu0")
    y = nn.depthwise_conv2d(y, const(weights(3, 3, 8, 2)), [1, 2, 2, 1], "SAME", name="dw")
    y = batch_norm(y, tf.raw_ops.FusedBatchNorm)
    y = tf.maximum(y, 0.2 * y, name="leaky")
    z = nn.conv2d(tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]]), const(weights(3, 3, 16, 8)), 1, "VALID", name="padded")
    z = nn.relu6(nn.bias_add(z, const(random(8))))
    # Keras' way of a PReLU.
    alpha = const(random(1, 1, 8, scale=0.3))
    z = z - 0.5
    z = nn.relu(z) + (-alpha) * nn.relu(-z)
    z = nn.conv2d(z, const(weights(1, 1, 8, 16)), 1, "SAME") + const(random(16))
    y = y + z
    y = nn.conv2d(y, const(weights(2, 3, 16, 8)), [2, 1], "SAME", dilations=1)
    y = nn.conv2d(y, const(weights(3, 3, 8, 8)), 1, [[0, 0], [2, 1], [0, 2], [0, 0]])
    y = nn.conv2d(y, const(weights(3, 3, 8, 8)), 1, "SAME", dilations=2)
    y = nn.leaky_relu(y, 0.1)
    y = tf.identity(nn.max_pool2d(y, 3, 1, "SAME"))
    y = nn.conv2d(y, const(weights(1, 1, 8, 8)), 1, "SAME")
    y = batch_norm(y, tf.raw_ops.FusedBatchNormV2)
    y = tf.reduce_mean(y, [1, 2], keepdims=True)
    y = tf.squeeze(y, [1, 2])
    y = nn.bias_add(tf.matmul(y, const(weights(8, 6))), const(random(6)))
    y = tf.matmul(y, const(weights(5, 6)), transpose_b=True)
    return {"embeddings": nn.l2_normalize(y, 1, 1e-10)}


def pointwise(x):
    a, b = x, tf.abs(x) + 0.5
    k = const(random(1, 1, 1, 4))
    parts = [
        a + b, a - k, k - a, a * k, a / b, 2.0 / b, tf.maximum(a, k), tf.minimum(a, 0.25), tf.pow(b, 1.5),
        tf.math.rsqrt(b), tf.sqrt(b), tf.square(a), -a, tf.abs(a), tf.exp(a), tf.math.log(b),
        tf.math.squared_difference(a, k), tf.floor(a), tf.math.ceil(a), tf.round(a), tf.sigmoid(a), tf.tanh(a), nn.elu(a),
        nn.selu(a), nn.softplus(a), nn.relu(a), nn.relu6(a * 4), tf.math.reciprocal(b), tf.clip_by_value(a, -0.5, 0.75),
        tf.add_n([a, b, a]), tf.raw_ops.AddV2(x=a, y=b), tf.raw_ops.Add(x=a, y=b), tf.raw_ops.Div(x=a, y=b),
        tf.stop_gradient(a), nn.softmax(a), nn.log_softmax(a), tf.reverse(a, [1]),
        a * tf.reduce_sum(b, 3, keepdims=True), a + tf.reduce_max(a, [1, 2], keepdims=True),
        a - tf.reduce_min(a, [-1], keepdims=True),
    ]
    # As dense layers normalise: constants fold to one factor and one offset.
    gamma, beta, mean, var = random(4), random(4), random(4), np.abs(random(4)) + 0.5
    parts.append(nn.batch_normalization(a, const(mean), const(var), const(beta), const(gamma), 1e-3))
    return {"all": tf.concat(parts, 3)}


def shapes(x):
    shape = tf.shape(x)
    flat = tf.reshape(x, tf.stack([shape[0], shape[1] * shape[2] * shape[3]]))
    other = tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
    rows = tf.reshape(tf.matmul(tf.reshape(x, [-1, 4]), const(weights(4, 3))), tf.concat([shape[:3], [3]], 0))
    turned = tf.transpose(x, [0, 2, 1, 3])
    one, two, three = tf.split(tf.concat([x, 2 * x, x * x], 3), 3, 3)
    short, long = tf.split(x, [1, 3], -1)
    cut = x[:, 1:-1, ::2, 1:]
    picked = x[:, 2, :, 0]
    piece = tf.slice(x, [0, 1, 0, 1], [-1, 2, -1, 2])
    padded = tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 1]], constant_values=0.5)
    stacked = tf.stack([one, two - three], 1)
    planes = tf.unstack(x, axis=3)
    wide = tf.expand_dims(planes[0] * planes[3], -1)
    bigger = tf.raw_ops.ResizeBilinear(images=x, size=[10, 13], half_pixel_centers=True)
    corners = tf.raw_ops.ResizeBilinear(images=x, size=[9, 7], align_corners=True)
    twice = tf.raw_ops.ResizeNearestNeighbor(images=x, size=[10, 12])
    pool = nn.avg_pool2d(x, 3, 2, "SAME")
    most = nn.max_pool2d(x, [2, 3], [1, 2], "VALID")
    one_by_one = tf.squeeze(tf.reduce_mean(x, [1, 2], keepdims=True))
    named = dict(flat=flat, other=other, rows=rows, turned=turned, short=short, long=long, cut=cut, picked=picked, piece=piece,
                 padded=padded, stacked=stacked, wide=wide, bigger=bigger, corners=corners, twice=twice, pool=pool, most=most)
    named["squeezed"] = tf.reshape(one_by_one, [tf.shape(x)[0], 4])
    return named


def control(x):
    """As facenet's graphs: switches of training, dropout, bytes as input."""
    training = tf1.placeholder(tf.bool, [], "phase_train")
    default = tf1.placeholder_with_default(False, [], "is_training")
    y = (tf.cast(x, tf.float32) - 127.5) * (1 / 128)
    y = nn.conv2d(y, const(weights(3, 3, 3, 6)), 2, "VALID")
    c = [random(6), random(6), random(6), np.abs(random(6)) + 0.5]

    def norm(flag):
        def run(train):
            return tf.raw_ops.FusedBatchNormV3(x=y, scale=c[0], offset=c[1], mean=[] if train else c[2],
                                               variance=[] if train else c[3], is_training=train)[0]
        return tf1.cond(flag, lambda: run(True), lambda: run(False))

    y = norm(training) + tf1.cond(default, lambda: nn.dropout(y, rate=0.5), lambda: tf.identity(y))
    keep = tf1.placeholder_with_default(1.0, [], "keep_prob")
    y = nn.relu(y) / keep
    with tf1.control_dependencies([tf1.assert_non_negative(tf1.shape(y))]):
        y = tf.reduce_mean(y, [1, 2])
    return {"embeddings": tf.identity(y)}


def graph(build, shape, dtype=tf.float32, feed=None):
    with tf.Graph().as_default() as g:
        tf1.disable_control_flow_v2()
        x = tf1.placeholder(dtype, [None, *shape], "input")
        built = build(x)
        outputs = {k: tf.identity(v, f"out/{k}") for k, v in built.items()}
        value = rng.randint(0, 256, (2, *shape)).astype(np.uint8) if dtype == tf.uint8 else random(2, *shape)
        with tf1.Session() as session:
            made = session.run(outputs, {x: value, **{g.get_tensor_by_name(k): v for k, v in (feed or {}).items()}})
        return g.as_graph_def(), value, made


def entry(made):
    definition, value, outputs = made
    return {
        "graph": text(definition.SerializeToString()),
        "input": numbers(value),
        "outputs": {k: numbers(v) for k, v in outputs.items()},
    }


def fused():
    """Layers with what grappler puts into them, run by TensorFlow itself, and the same under TFJS' names."""
    def build(x):
        def conv(x, w, extra, ops, **more):
            n = x.graph.create_op("_FusedConv2D", [x, const(w), *map(const, extra)], [tf.float32], name="fused", attrs={
                "T": attr(type=tf.float32.as_datatype_enum), "num_args": attr(i=len(extra)), "num_host_args": attr(i=0), "strides": attr_ints([1, 1, 1, 1]),
                "padding": attr(s=b"SAME"), "fused_ops": attr_texts(ops), "TArgs": attr_types([tf.float32] * len(extra)), **more})
            return n.outputs[0]
        bn = [random(6), random(6), random(6), np.abs(random(6)) + 0.5]
        y = conv(x, weights(3, 3, 3, 6), [random(6)], [b"BiasAdd", b"Relu"])
        y = conv(y, weights(3, 3, 6, 6), [random(6)], [b"BiasAdd", b"Elu"])
        y = conv(y, weights(1, 1, 6, 6), bn, [b"FusedBatchNorm", b"Relu6"], epsilon=attr(f=1e-3))
        y = conv(y, weights(1, 1, 6, 6), [random(6)], [b"BiasAdd", b"LeakyRelu"], leakyrelu_alpha=attr(f=0.3))
        y = tf.reduce_mean(y, [1, 2])
        y = x.graph.create_op("_FusedMatMul", [y, const(weights(6, 5)), const(random(5))], [tf.float32], name="dense", attrs={
            "T": attr(type=tf.float32.as_datatype_enum), "num_args": attr(i=1), "fused_ops": attr_texts([b"BiasAdd", b"Relu"]),
        }).outputs[0]
        return {"y": y}
    return graph(build, (5, 4, 3))


def attr(**kw):
    return tf1.AttrValue(**kw)


def attr_ints(values):
    return tf1.AttrValue(list=tf1.AttrValue.ListValue(i=values))


def attr_texts(values):
    return tf1.AttrValue(list=tf1.AttrValue.ListValue(s=values))


def attr_types(values):
    return tf1.AttrValue(list=tf1.AttrValue.ListValue(type=[v.as_datatype_enum for v in values]))


def tfjs(definition, quantize):
    """(model.json, weights): constants outside, as TFJS' converter puts them. Changes the constants to what is stored."""
    entries, parts = [], []
    for node in definition.node:
        if node.op != "Const":
            continue
        a = tf.make_ndarray(node.attr["value"].tensor)
        if a.dtype == np.int64:
            a = a.astype(np.int32)
        e = {"name": node.name, "shape": list(a.shape), "dtype": {"f": "float32", "i": "int32", "b": "bool"}[a.dtype.kind]}
        stored = a
        if quantize and a.dtype == np.float32 and a.size > 1:
            if quantize == "float16":
                stored = a.astype(np.float16)
                e["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
                a = stored.astype(np.float32)
            else:
                low, high = float(a.min()), float(a.max())
                scale = (high - low) / (2 ** (8 * np.dtype(quantize).itemsize) - 1)
                stored = np.round((a.astype(np.float64) - low) / scale).astype(quantize)
                e["quantization"] = {"dtype": quantize, "min": low, "scale": scale, "original_dtype": "float32"}
                a = (stored.astype(np.float64) * scale + low).astype(np.float32)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(a))
        entries.append(e)
        parts.append(stored.tobytes())
    data = b"".join(parts)
    topology = tf1.GraphDef()
    topology.CopyFrom(definition)
    for node in topology.node:
        if node.op == "Const":
            node.attr["value"].tensor.ClearField("tensor_content")
            for field in ["float_val", "int_val", "bool_val", "int64_val"]:
                node.attr["value"].tensor.ClearField(field)
    outputs = {n.name: {"name": n.name + ":0"} for n in definition.node if n.name.startswith("out/")}
    cut = len(data) // 2
    model = {
        "format": "graph-model",
        "generatedBy": "test",
        "modelTopology": json_format.MessageToDict(topology),
        "signature": {"outputs": outputs},
        "weightsManifest": [{"paths": ["group1-shard1of2.bin", "group1-shard2of2.bin"], "weights": entries}],
    }
    return model, data[:cut], data[cut:]


def run(definition, value):
    with tf.Graph().as_default() as g:
        tf1.import_graph_def(definition, name="")
        names = [n.name for n in definition.node if n.name.startswith("out/")]
        with tf1.Session() as session:
            return dict(zip([n[4:] for n in names], session.run([n + ":0" for n in names], {"input:0": value})))


def model(definition, value, quantize=None):
    json_model, first, second = tfjs(definition, quantize)
    return {
        "model": json_model,
        "shards": [text(first), text(second)],
        "input": numbers(value),
        "outputs": {k: numbers(v) for k, v in run(definition, value).items()},
    }


def checkpoint():
    with tf.Graph().as_default():
        tf1.disable_resource_variables()
        tensors = {
            "net/conv/weights": random(3, 3, 2, 4),
            "net/conv/BatchNorm/beta": random(4),
            "net/dense/weights": random(40, 30),
            "net/half": random(5).astype(np.float16),
            "net/count": np.int64(7),
            "net/empty": random(0, 3),
        }
        for k, v in tensors.items():
            tf1.get_variable(k, initializer=v)
        tf1.get_variable("net/conv/weights/Momentum", initializer=random(3, 3, 2, 4))
        tf1.get_variable("net/conv/weights/ExponentialMovingAverage", initializer=random(3, 3, 2, 4))
        tf1.get_variable("global_step", initializer=np.int64(100))
        for i in range(300):
            tf1.get_variable(f"net/many/unit_{i}/bias", initializer=np.float32(i))
        with tempfile.TemporaryDirectory() as folder, tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            path = os.path.join(folder, "model.ckpt")
            tf1.train.Saver().save(session, path, write_meta_graph=False)
            old = os.path.join(folder, "old.ckpt")
            few = {k: v for k, v in ((v.op.name, v) for v in tf1.global_variables()) if k.startswith("net/conv")}
            tf1.train.Saver(few, write_version=tf1.train.SaverDef.V1).save(session, old, write_meta_graph=False)
            read = lambda p: text(pathlib.Path(p).read_bytes())
            return {
                "index": read(path + ".index"),
                "data": read(path + ".data-00000-of-00001"),
                "old": read(old),
                "tensors": {k: numbers(v) for k, v in tensors.items()},
            }


if __name__ == "__main__":
    kinds = {
        "layers": graph(layers, (21, 18, 3)),
        "pointwise": graph(pointwise, (3, 5, 4)),
        "shapes": graph(shapes, (5, 6, 4)),
        "control": graph(control, (9, 7, 3), tf.uint8, {"phase_train:0": False}),
        "fused": fused(),
    }
    out = {
        "graphs": {k: entry(v) for k, v in kinds.items()},
        "tfjs": {
            "layers": model(*kinds["layers"][:2]),
            "shapes": model(*kinds["shapes"][:2]),
            "fused": model(*kinds["fused"][:2]),
            "float16": model(*kinds["layers"][:2], "float16"),
            "uint16": model(*kinds["fused"][:2], "uint16"),
            "uint8": model(*kinds["fused"][:2], "uint8"),
        },
        "checkpoint": checkpoint(),
    }
    path = pathlib.Path(__file__).with_suffix(".json.gz")
    path.write_bytes(gzip.compress(json.dumps(out, separators=(",", ":")).encode(), 9, mtime=0))
    print(path.stat().st_size)
