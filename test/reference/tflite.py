"""
TFLite files made by TensorFlow's converter, and what their networks give in float64.

Every function is written once and run twice: in float32 through the converter, and in float64 by TensorFlow itself with the
same (float32) numbers. Writes tflite.json. Needs tensorflow (2.21 was used): python3 tflite.py
"""

import base64
import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

rng = np.random.default_rng(0)
cases = []


def draw(*shape, low=-1.0, high=1.0):
    return rng.uniform(low, high, shape).astype(np.float32)


def text(data):
    return base64.b64encode(data).decode()


def converted(f, shape, batch=1, change=None):
    spec = tf.TensorSpec([batch, *shape], tf.float32, name="x")
    concrete = tf.function(lambda x: f(x, tf.float32)).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if change:
        change(converter)
    return converter.convert()


def operators(file):
    interpreter = tf.lite.Interpreter(
        model_content=file,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return sorted({o["op_name"] for o in interpreter._get_ops_details()})


def case(name, f, shape=(6, 6, 4), batch=1, low=-1.0, high=1.0, change=None, exact=None):
    """`exact` gives the outputs in float64 where f itself cannot, from the input and the file."""
    x = draw(1, *shape, low=low, high=high)
    file = converted(f, shape, batch, change)
    exactly = tf.constant(x.astype(np.float64))
    made = exact(exactly, file) if exact else f(exactly, tf.float64)
    made = made if isinstance(made, (list, tuple)) else [made]
    ops = operators(file)
    print(f"{name}: {len(file)} bytes, {' '.join(ops)}", file=sys.stderr)
    cases.append(
        {
            "name": name,
            "operators": ops,
            "file": text(file),
            "size": list(shape[:2]),
            "input": text(x.tobytes()),
            "outputs": [{"shape": list(m.shape), "f64": [float(f"{v:.12g}") for v in np.asarray(m).ravel()]} for m in made],
        }
    )


def cast(value, dtype):
    return tf.constant(value.astype(dtype.as_numpy_dtype))


w3 = draw(3, 3, 4, 8)
b8 = draw(8)
w1 = draw(1, 1, 8, 4)
d3 = draw(3, 3, 4, 2)
wd = draw(4, 5)
bd = draw(5)
slope = draw(1, 1, 4, low=0, high=0.5)
every = draw(6, 6, 4, low=0, high=0.5)
scale = draw(4, low=0.5, high=1.5)


def convolutions(x, t):
    y = tf.nn.bias_add(tf.nn.conv2d(x, cast(w3, t), [1, 2, 2, 1], "SAME"), cast(b8, t))
    y = tf.nn.relu6(3 * y)
    y = tf.nn.conv2d(y, cast(w1, t), [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(y, cast(d3, t), [1, 1, 1, 1], "SAME")


def padded(x, t):
    y = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    y = tf.nn.relu(tf.nn.conv2d(y, cast(w3, t), [1, 2, 2, 1], "VALID"))
    return tf.nn.conv2d(y, cast(w1, t), 1, "SAME") * cast(scale, t) - 0.25


def rectifiers(x, t):
    def prelu(v, a):
        return tf.nn.relu(v) + -a * tf.nn.relu(-v)

    y = prelu(x, cast(slope, t))
    return tf.nn.leaky_relu(y, 0.3), prelu(x, cast(every, t)), tf.nn.elu(x), tf.clip_by_value(x, -1, 1)


def bends(x, t):
    return tf.sigmoid(x) * tf.tanh(x), x * tf.nn.relu6(x + 3) / 6, tf.nn.softmax(x), tf.nn.log_softmax(x)


def roots(x, t):
    return tf.math.rsqrt(x), tf.sqrt(x) / x, tf.math.log(x), tf.pow(x, cast(scale, t)), tf.exp(-x)


def steps(x, t):
    return tf.floor(x), tf.math.ceil(x), tf.round(x), tf.abs(x), tf.sin(x) + tf.cos(x), tf.square(x)


def pairs(x, t):
    a, b = x[:, :, :, :2], x[:, :, :, 2:]
    return (
        tf.math.squared_difference(a, b),
        tf.maximum(a, b) - tf.minimum(a, 0.25),
        a / (b + 3),
        tf.matmul(a, b, transpose_b=True),
    )


def reductions(x, t):
    return (
        tf.reduce_mean(x, [1, 2]),
        tf.reduce_sum(x, [1, 2], keepdims=True),
        tf.reduce_max(x, [3]),
        tf.reduce_min(x, [2], keepdims=True),
        tf.nn.l2_normalize(tf.reduce_mean(x, [1, 2]), 1),
    )


def pools(x, t):
    return (
        tf.nn.max_pool2d(x, 3, 2, "SAME"),
        tf.nn.avg_pool2d(x, 3, 2, "SAME"),
        tf.nn.avg_pool2d(x, [2, 3], 1, "VALID"),
    )


def moves(x, t):
    y = tf.transpose(x, [0, 2, 1, 3])
    z = tf.expand_dims(tf.squeeze(x[:, 2:3, 1:5:2, :], [1]), 1)
    first, rest = tf.split(y, [1, 3], 3)
    one, two = tf.split(x, 2, 2)
    return (
        tf.concat([rest, first, x], 3),
        z,
        one + two,
        tf.slice(x, [0, 1, 0, 1], [-1, 2, -1, 3]),
        x[:, -1, :, 0],
        tf.stack([x[:, :, 0], x[:, :, 3]], 2),
        tf.reverse(x, [2]),
        tf.nn.depth_to_space(x, 2),
    )


def surrounded(x, t):
    return tf.pad(x, [[0, 0], [1, 0], [2, 1], [0, 0]], constant_values=cast(np.float32(1.5), t))


def sizes(x, t):
    # TensorFlow resizes in float32 only.
    y = tf.cast(x, tf.float32)
    made = (
        tf.image.resize(y, [12, 9]),
        tf.compat.v1.image.resize_bilinear(y, [11, 11], align_corners=True),
        tf.compat.v1.image.resize_nearest_neighbor(y, [9, 4]),
        tf.image.resize(y, [12, 18], "nearest"),
    )
    return [tf.cast(m, t) for m in made]


def dense(x, t):
    y = tf.matmul(tf.reduce_mean(x, [1, 2]), cast(wd, t)) + cast(bd, t)
    return tf.nn.relu(y)


def dynamic(x, t):
    n = tf.shape(x)[0]
    y = tf.reshape(x, tf.stack([n, 9, 16]))
    return tf.reshape(tf.transpose(y, [0, 2, 1]), tf.stack([n, -1]))


case("convolutions, SAME, activations within", convolutions)
case("explicit padding, products and sums", padded)
case("rectifiers", rectifiers, low=-2, high=2)
case("what bends", bends, low=-4, high=4)
case("roots and powers", roots, low=0.5, high=3)
case("steps, absolute values, waves", steps, low=-4, high=4)
case("two values", pairs)
case("reductions", reductions)
case("pools", pools)
case("movement", moves)
case("padding by a value", surrounded)
case("dense", dense)
case("shapes computed at run time, any number of images", dynamic, batch=None)


def exact_sizes(x, _):
    """The same in float64, by hand: pixel centres at a half, corners that meet, and none of it."""
    v = x.numpy()

    def along(v, axis, m, place):
        n = v.shape[axis]
        p = np.maximum([place(o, n, m) for o in range(m)], 0)
        low = np.minimum(np.floor(p).astype(int), n - 1)
        high = np.minimum(low + 1, n - 1)
        shape = [1] * v.ndim
        shape[axis] = m
        f = (p - low).reshape(shape)
        return np.take(v, low, axis) * (1 - f) + np.take(v, high, axis) * f

    def both(v, h, w, place):
        return along(along(v, 1, h, place), 2, w, place)

    half = both(v, 12, 9, lambda o, n, m: (o + 0.5) * n / m - 0.5)
    corners = both(v, 11, 11, lambda o, n, m: o * (n - 1) / (m - 1))
    near = both(v, 9, 4, lambda o, n, m: o * n // m)
    twice = both(v, 12, 18, lambda o, n, m: o * n // m)
    return [tf.constant(a) for a in (half, corners, near, twice)]


case("sizes", sizes, exact=exact_sizes)


def half_weights(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def small_weights(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


wide = draw(3, 3, 4, 64)


def layer(x, t, w=wide):
    return tf.nn.conv2d(x, cast(w, t), 1, "SAME")


case("half weights", layer, change=half_weights, exact=lambda x, _: layer(x, tf.float64, wide.astype(np.float16)))


def by_the_file(x, file):
    """With the numbers that the file's weights stand for."""
    interpreter = tf.lite.Interpreter(model_content=file)
    for d in interpreter.get_tensor_details():
        if d["dtype"] == np.int8:
            q = d["quantization_parameters"]
            w = interpreter.get_tensor(d["index"]).astype(np.float64)
            s = q["scales"].astype(np.float64).reshape(-1, 1, 1, 1)
            # In float32, as they are kept.
            w = (w * s).astype(np.float32)
            return layer(x, tf.float64, w.transpose(1, 2, 3, 0))
    raise ValueError("no small weights")


case("weights of 8 bits", layer, change=small_weights, exact=by_the_file)

# Throughout in integers: LiteRT is the judge of these.
examples = [draw(1, 6, 6, 4) for _ in range(16)]


def integers(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([e] for e in examples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8


def small(x, t):
    y = tf.nn.relu6(convolutions(x, t))
    z = tf.nn.leaky_relu(padded(x, t), 0.2)
    y = tf.concat([y, z + 0.5 * z * z], 3)
    return tf.sigmoid(tf.matmul(tf.reduce_mean(y, [1, 2]), cast(draw(12, 6), t)))


file = converted(small, (6, 6, 4), change=integers)
x = (rng.integers(-128, 128, (1, 6, 6, 4))).astype(np.int8)
print("integers:", operators(file), file=sys.stderr)
whole = {"operators": operators(file), "file": text(file), "input": text(x.tobytes())}

path = Path(__file__).with_suffix(".json")
lines = ",\n".join(json.dumps(c) for c in cases)
path.write_text(f'{{"cases": [\n{lines}\n],\n"integers": {json.dumps(whole)}}}\n')
print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)
