"""Small networks in MXNet's files, with what PyTorch gives for them in float64: mxnet.json.gz.

MXNet itself is not needed: arrays and symbols are written here as NDArray::Save and Symbol::tojson do. Semantics are those of
MXNet's documentation, spelt out with PyTorch's functions. Numbers are multiples of 1/64, so that they are exact in half too.

  python3 test/reference/mxnet.py
"""

import base64
import gzip
import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.RandomState(7)
torch.set_default_dtype(torch.float64)


def draw(*shape, scale=1.0, centre=0.0):
    return (np.round((rng.uniform(-1, 1, shape) * scale + centre) * 64) / 64).astype(np.float32)


def t(a):
    return torch.from_numpy(a.astype(np.float64))


def array(a, version=2):
    """One array as NDArray::Save of that age writes it; version 0 is the oldest, without a magic number."""
    kind = {'float32': 0, 'float64': 1, 'float16': 2, 'uint8': 3, 'int32': 4, 'int8': 5, 'int64': 6}[a.dtype.name]
    head = b''
    if version:
        head += struct.pack('<I', 0xF993FAC7 + version)
    if version >= 2:
        head += struct.pack('<i', 0)
    size = 'I' if version == 0 else 'q'
    head += struct.pack(f'<I{a.ndim}{size}', a.ndim, *a.shape)
    return head + struct.pack('<iii', 1, 0, kind) + np.ascontiguousarray(a).tobytes()


def params(arrays, version=2):
    out = struct.pack('<QQQ', 0x112, 0, len(arrays)) + b''.join(array(a, version) for a in arrays.values())
    out += struct.pack('<Q', len(arrays))
    for name in arrays:
        out += struct.pack('<Q', len(name)) + name.encode()
    return out


def text(v):
    return str(v)


class Symbol:
    """A symbol as it grows; `form` is the age of its JSON."""

    def __init__(self, form='attrs'):
        self.form = form
        self.nodes = []
        self.arrays = {}

    def var(self, name, value=None, aux=False, **attrs):
        if value is not None:
            self.arrays[('aux:' if aux else 'arg:') + name] = value
        return self.node('null', name, [], attrs)

    def node(self, op, name, inputs, attrs):
        n = {'op': op, 'name': name, 'inputs': [list(i) if self.form == 'attrs' else list(i)[:2] for i in inputs]}
        attrs = {k: text(v) for k, v in attrs.items()}
        if self.form == 'param':
            n['param'] = attrs
            n['backward_source_id'] = -1
        elif attrs:
            n[self.form] = attrs
        self.nodes.append(n)
        return (len(self.nodes) - 1, 0, 0)

    def op(self, op, name, *inputs, **attrs):
        return self.node(op, name, inputs, attrs)

    def conv(self, x, name, weight, bias=None, **attrs):
        o, _, h, w = weight.shape
        inputs = [x, self.var(f'{name}_weight', weight)]
        if bias is not None:
            inputs.append(self.var(f'{name}_bias', bias))
        return self.op('Convolution', name, *inputs, kernel=(h, w), num_filter=o, no_bias=bias is None, **attrs)

    def bn(self, x, name, gamma, beta, mean, var, **attrs):
        inputs = [x, self.var(f'{name}_gamma', gamma), self.var(f'{name}_beta', beta)]
        for key, a in (('moving_mean', mean), ('moving_var', var)):
            if self.form == 'param':  # the oldest symbols do not list auxiliary states
                self.arrays[f'aux:{name}_{key}'] = a
            else:
                inputs.append(self.var(f'{name}_{key}', a, aux=True))
        return self.op('BatchNorm', name, *inputs, **attrs)

    def prelu(self, x, name, gamma):
        return self.op('LeakyReLU', name, x, self.var(f'{name}_gamma', gamma), act_type='prelu')

    def json(self, *heads):
        null = [i for i, n in enumerate(self.nodes) if n['op'] == 'null']
        return {
            'nodes': self.nodes,
            'arg_nodes': null,
            'heads': [list(h) for h in heads],
            **({'attrs': {'mxnet_version': ['int', 10600]}} if self.form == 'attrs' else {}),
        }


def norm(n):
    return (
        draw(n, scale=0.3, centre=1),
        draw(n, scale=0.3),
        draw(n, scale=0.3),
        np.abs(draw(n, scale=0.5)) + np.float32(0.5),
    )


def batch_norm(x, p, eps, fix=False):
    gamma, beta, mean, var = map(t, p)
    return F.batch_norm(x, mean, var, None if fix else gamma, beta, False, 0, eps)


cases = []


def case(name, symbol, heads, image, outputs, version=2):
    def last(y):
        y = y.permute(0, 2, 3, 1) if y.ndim == 4 else y
        return {'shape': list(y.shape), 'f64': y.flatten().tolist()}

    cases.append(
        {
            'name': name,
            'symbol': symbol.json(*heads),
            'params': base64.b64encode(params(symbol.arrays, version)).decode(),
            'size': list(image.shape[2:]),
            'input': base64.b64encode(np.ascontiguousarray(image.transpose(0, 2, 3, 1)).tobytes()).decode(),
            'outputs': [last(y) for y in outputs],
        }
    )


def residual(form, version, half=False):
    """InsightFace's resnet in small: fresnet with version_output E, units of version 3, and fc1 with fix_gamma."""
    s = Symbol(form)
    cast = (lambda a: a.astype(np.float16)) if half else (lambda a: a)
    image = rng.randint(0, 256, (2, 3, 8, 8)).astype(np.float32)
    x = s.var('data')
    y = t(image)
    x = s.op('_copy', 'id', x)
    x = s.op('_minus_scalar', '_minusscalar0', x, scalar='127.5')
    x = s.op('_mul_scalar', '_mulscalar0', x, scalar='0.0078125')
    y = (y - 127.5) * 0.0078125

    def conv(x, y, name, o, i, k, stride):
        w = draw(o, i, k, k, scale=0.4)
        pad = k // 2
        x = s.conv(x, name, cast(w), stride=(stride, stride), pad=(pad, pad), workspace=256)
        return x, F.conv2d(y, t(w), None, stride, pad)

    def bn(x, y, name, n, eps='2e-05', fix=False):
        p = norm(n)
        x = s.bn(x, name, *[cast(a) for a in p], fix_gamma=fix, eps=eps, momentum='0.9')
        return x, batch_norm(y, p, float(eps), fix)

    def prelu(x, y, name, n):
        a = draw(n, scale=0.25, centre=0.25)
        return s.prelu(x, name, cast(a)), F.prelu(y, t(a))

    x, y = conv(x, y, 'conv0', 4, 3, 3, 1)
    x, y = bn(x, y, 'bn0', 4)
    x, y = prelu(x, y, 'relu0', 4)
    for unit, (i, o, stride) in enumerate([(4, 8, 2), (8, 8, 1)], 1):
        name = f'stage1_unit{unit}'
        skip, keep = x, y
        x, y = bn(x, y, f'{name}_bn1', i)
        x, y = conv(x, y, f'{name}_conv1', o, i, 3, 1)
        x, y = bn(x, y, f'{name}_bn2', o)
        x, y = prelu(x, y, f'{name}_relu1', o)
        x, y = conv(x, y, f'{name}_conv2', o, o, 3, stride)
        x, y = bn(x, y, f'{name}_bn3', o)
        if i != o:
            skip, keep = conv(skip, keep, f'{name}_conv1sc', o, i, 1, stride)
            skip, keep = bn(skip, keep, f'{name}_sc', o)
        x, y = s.op('elemwise_add' if form == 'attrs' else '_Plus', f'_plus{unit}', x, skip), y + keep
    x, y = bn(x, y, 'bn1', 8)
    x = s.op('Dropout', 'dropout0', x, p='0.4')
    w, b = draw(6, 128, scale=0.1), draw(6)
    x = s.op('FullyConnected', 'pre_fc1', x, s.var('pre_fc1_weight', cast(w)), s.var('pre_fc1_bias', cast(b)), num_hidden=6)
    y = F.linear(y.flatten(1), t(w), t(b))
    x, y = bn(x, y, 'fc1', 6, fix=True)
    label = s.var('softmax_label')
    x = s.op('SoftmaxOutput', 'softmax', x, label) if form == 'attr' else x
    y = y.softmax(1) if form == 'attr' else y
    case(f'resnet, {form}, arrays of version {version}{", half" if half else ""}', s, [x], image, [y], version)


residual('attrs', 2)
residual('attr', 1)
residual('param', 0)
residual('attrs', 3, half=True)


def one(name, build, size=(5, 6), channels=4):
    """One operator on a map: build(symbol, x, y) gives the symbol's and PyTorch's value."""
    s = Symbol()
    image = draw(2, channels, *size, scale=2)
    x, y = build(s, s.var('data', **({'__shape__': (0, channels, *size)} if channels != 3 else {})), t(image))
    heads, outputs = (x, y) if isinstance(x, list) else ([x], [y])
    case(name, s, heads, image, outputs)


def convolution(s, x, y):
    w, b = draw(6, 2, 3, 2), draw(6)
    x = s.conv(x, 'c', w, b, num_group=2, stride=(2, 1), pad=(1, 2), dilate=(1, 2))
    return x, F.conv2d(y, t(w), t(b), (2, 1), (1, 2), (1, 2), 2)


def norm_defaults(s, x, y):
    p = norm(4)
    return s.bn(x, 'b', *p), batch_norm(y, p, 1e-3, True)


one('Convolution in groups, uneven', convolution)
one('BatchNorm as MXNet has it by default', norm_defaults)
for kind, f in {
    'relu': F.relu,
    'sigmoid': torch.sigmoid,
    'tanh': torch.tanh,
    'softrelu': F.softplus,
    'softsign': F.softsign,
}.items():
    one(f'Activation {kind}', lambda s, x, y: (s.op('Activation', 'a', x, act_type=kind), f(y)))
for attrs, f in [
    ({}, lambda y: F.leaky_relu(y, 0.25)),
    ({'act_type': 'leaky', 'slope': 0.1}, lambda y: F.leaky_relu(y, 0.1)),
    ({'act_type': 'elu', 'slope': 0.5}, lambda y: F.elu(y, 0.5)),
    ({'act_type': 'selu'}, F.selu),
    ({'act_type': 'rrelu'}, lambda y: F.leaky_relu(y, (0.125 + 0.334) / 2)),
]:
    one(f'LeakyReLU {attrs}', lambda s, x, y: (s.op('LeakyReLU', 'a', x, **attrs), f(y)))


def pooled(attrs, f, size=(6, 7)):
    one(f'Pooling {attrs}', lambda s, x, y: (s.op('Pooling', 'p', x, **attrs), f(y)), size)


pooled({'pool_type': 'max', 'kernel': (3, 2), 'stride': (2, 2), 'pad': (1, 1)}, lambda y: F.max_pool2d(y, (3, 2), 2, (1, 1)))
pooled(
    {'pool_type': 'max', 'kernel': (3, 3), 'stride': (2, 2), 'pooling_convention': 'full'},
    lambda y: F.max_pool2d(y, 3, 2, 0, ceil_mode=True),
)
pooled({'pool_type': 'avg', 'kernel': (3, 3), 'stride': (2, 2), 'pad': (1, 1)}, lambda y: F.avg_pool2d(y, 3, 2, 1))
pooled(
    {'pool_type': 'avg', 'kernel': (3, 3), 'stride': (2, 2), 'pad': (1, 1), 'count_include_pad': False},
    lambda y: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
)
pooled(
    {'pool_type': 'avg', 'kernel': (3, 3), 'stride': (2, 2), 'pad': (1, 1), 'pooling_convention': 'full'},
    lambda y: F.avg_pool2d(y, 3, 2, 1, ceil_mode=True),
)
pooled(
    {'pool_type': 'avg', 'kernel': (2, 2), 'stride': (2, 2), 'pooling_convention': 'full'},
    lambda y: F.avg_pool2d(y, 2, 2, 0, ceil_mode=True),
    (5, 7),
)
pooled({'pool_type': 'avg', 'kernel': (1, 1), 'global_pool': True}, lambda y: y.mean((2, 3), True))
pooled({'pool_type': 'max', 'kernel': (1, 1), 'global_pool': True}, lambda y: y.amax((2, 3), True))
pooled({'pool_type': 'sum', 'kernel': (2, 2)}, lambda y: F.avg_pool2d(y, 2, 1) * 4)


def dense(s, x, y):
    w, b = draw(5, 120), draw(5)
    x = s.op('Flatten', 'f', x)
    x = s.op('Dropout', 'd', x)
    x = s.op('FullyConnected', 'fc', x, s.var('w', w), s.var('b', b), num_hidden=5)
    return x, F.linear(y.flatten(1), t(w), t(b))


def dense_last(s, x, y):
    w = draw(5, 6)
    x = s.op('FullyConnected', 'fc', x, s.var('w', w), num_hidden=5, no_bias=True, flatten=False)
    return x, F.linear(y, t(w))


def squeeze_excite(s, x, y):
    w, b = draw(4, 4, 1, 1), draw(4)
    g = s.op('Pooling', 'p', x, kernel=(1, 1), global_pool=True, pool_type='avg')
    g = s.op('Activation', 'sg', s.conv(g, 'c', w, b), act_type='sigmoid')
    return s.op('broadcast_mul', 'm', x, g), y * torch.sigmoid(F.conv2d(y.mean((2, 3), True), t(w), t(b)))


def arithmetic(s, x, y):
    x2, y2 = x, y
    for op, v, f in [
        ('_PlusScalar', 1.5, lambda a: a + 1.5),
        ('_rminus_scalar', 2, lambda a: 2 - a),
        ('_DivScalar', 4, lambda a: a / 4),
        ('_maximum_scalar', -1, lambda a: a.clamp_min(-1)),
        ('_mul_scalar', 3, lambda a: a * 3),
        ('_MinusScalar', 0.5, lambda a: a - 0.5),
    ]:
        x2, y2 = s.op(op, op, x2, scalar=v), f(y2)
    gain = draw(1, 4, 1, 1)
    x2, y2 = s.op('broadcast_mul', 'gain', x2, s.var('g', gain)), y2 * t(gain)
    x2, y2 = s.op('_Minus', 'minus', x2, x), y2 - y
    x2, y2 = s.op('clip', 'clip', x2, a_min=-1, a_max=2.5), y2.clamp(-1, 2.5)
    return s.op('add_n', 'n', x2, x, x2), y2 + y + y2


def pieces(s, x, y):
    s.op('SliceChannel', 'sl', x, num_outputs=2, axis=1)
    i = len(s.nodes) - 1
    x = s.op('Concat', 'cat', (i, 1, 0), (i, 0, 0), x, dim=1, num_args=3)
    a, b = y.chunk(2, 1)
    return x, torch.cat([b, a, y], 1)


def shapes(s, x, y):
    x = s.op('transpose', 't', x, axes=(0, 2, 3, 1))
    x = s.op('Reshape', 'r', x, shape=(0, -3, 0))
    x = s.op('Reshape', 'r2', x, shape=(0, -4, 2, -1, -2))
    x = s.op('softmax', 's', x, axis=2)
    return x, y.permute(0, 2, 3, 1).flatten(1, 2).reshape(2, 2, 15, 4).softmax(2).permute(0, 1, 2, 3)


def heads_of_a_detector(s, x, y):
    """As RetinaFace's: two classes of two anchors each, softmax over the classes, and the scores cut to the map of another."""
    r = s.op('Reshape', 'r', x, shape=(0, 2, -1, 0))
    r = s.op('SoftmaxActivation', 'p', r, mode='channel')
    r = s.op('Reshape', 'r2', r, shape=(0, 4, -1, 0))
    scores = y.reshape(2, 2, 10, 6).softmax(1).reshape(2, 4, 5, 6)
    u = s.op('UpSampling', 'u', x, scale=2, sample_type='nearest', num_args=1)
    c = s.op('Crop', 'c', u, x, num_args=2)
    c2 = s.op('Crop', 'c2', u, h_w=(3, 4), center_crop=True)
    wide = F.interpolate(y, scale_factor=2, mode='nearest')
    return [r, c, c2], [scores, wide[:, :, :5, :6], wide[:, :, 3:6, 4:8]]


def lengths(s, x, y):
    f = s.op('L2Normalization', 'l', s.op('Flatten', 'f', x), mode='instance')
    c = s.op('L2Normalization', 'l2', x, mode='channel', eps=0.25)
    flat = y.flatten(1)
    return [f, c], [flat / (flat.square().sum(1, True) + 1e-10).sqrt(), y / (y.square().sum(1, True) + 0.25).sqrt()]


def reduced(s, x, y):
    m = s.op('mean', 'm', x, axis=(2, 3))
    k = s.op('max', 'k', x, axis=1, keepdims=True)
    p = s.op('Pad', 'p', x, mode='constant', pad_width=(0, 0, 0, 0, 1, 2, 0, 3), constant_value=0.5)
    a = s.op('slice_axis', 'sa', x, axis=-1, begin=1, end=-2)
    return [m, k, p, a], [y.mean((2, 3)), y.amax(1, True), F.pad(y, (0, 3, 1, 2), value=0.5), y[..., 1:-2]]


one('Flatten, Dropout and FullyConnected', dense)
one('FullyConnected over the last axis', dense_last)
one('a channel attention', squeeze_excite)
one('arithmetic with numbers and arrays', arithmetic)
one('SliceChannel and Concat', pieces)
one('transpose, Reshape and softmax', shapes)
one("a detector's heads", heads_of_a_detector)
one('L2Normalization', lengths)
one('reductions, Pad and slice_axis', reduced)

out = pathlib.Path(__file__).with_suffix('.json.gz')
out.write_bytes(gzip.compress((json.dumps({'cases': cases}) + '\n').encode(), 9, mtime=0))
print(len(cases), out.stat().st_size)
