"""Small models in Keras' files, with what PyTorch gives for them in float64: keras.json.gz.

Keras itself is not needed: files are written by h5py in the layouts of Keras 2 and 3, configurations spelt out as model.to_json()
does. Semantics are those of Keras' documentation, with TensorFlow's padding, spelt out with PyTorch's functions.

  python3 test/reference/keras.py      (h5py 3.7, PyTorch 1.13)
"""

import base64
import io
import gzip
import json
import math
import pathlib
import re
import zipfile

import h5py
import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.RandomState(5)
torch.set_default_dtype(torch.float64)


def draw(*shape, scale=1.0, centre=0.0):
    return (np.round((rng.uniform(-1, 1, shape) * scale + centre) * 64) / 64).astype(np.float32)


def t(a):
    return torch.from_numpy(a.astype(np.float64))


class Model:
    """A functional model as it grows: configuration, weights by layer, and PyTorch's value beside each of its own."""

    def __init__(self, image, shape=None, three=False):
        self.three = three
        self.layers = []
        self.weights = {}
        self.image = image
        self.shapes = {}
        shape = shape or [None, *image.shape[1:]]
        self.layers.append(
            {
                'class_name': 'InputLayer',
                'config': {('batch_shape' if three else 'batch_input_shape'): shape, 'dtype': 'float32', 'name': 'images'},
                'name': 'images',
                'inbound_nodes': [],
            }
        )
        self.x = ('images', t(image).permute(0, 3, 1, 2))

    def node(self, names):
        if not self.three:
            return [[[n, 0, 0, {}] for n in names]]
        tensors = [
            {'class_name': '__keras_tensor__', 'config': {'shape': [None], 'dtype': 'float32', 'keras_history': [n, 0, 0]}}
            for n in names
        ]
        return [{'args': [tensors] if len(tensors) > 1 else tensors, 'kwargs': {}}]

    def add(self, kind, inputs, value, weights=None, **config):
        inputs = inputs if isinstance(inputs, list) else [inputs]
        count = sum(l['class_name'] == kind for l in self.layers)
        name = config.pop('name', None) or f'{kind.lower()}_{count + 1}'
        self.layers.append(
            {
                'class_name': kind,
                'config': {'name': name, 'trainable': True, **config},
                'name': name,
                'inbound_nodes': self.node([i[0] for i in inputs]),
            }
        )
        self.weights[name] = weights or {}
        return (name, value)

    # layers that the cases share
    def conv(self, x, o, k, strides=(1, 1), padding='valid', bias=True, groups=1, dilation=(1, 1), activation='linear', f=None):
        i = x[1].shape[1]
        w, b = draw(*k, i // groups, o, scale=0.5), draw(o)
        y = F.conv2d(around(x[1], k, strides, padding, dilation), t(w).permute(3, 2, 0, 1), t(b) if bias else None, strides, 0, dilation, groups)
        return self.add(
            'Conv2D',
            x,
            f(y) if f else y,
            {'kernel': w, **({'bias': b} if bias else {})},
            filters=o,
            kernel_size=list(k),
            strides=list(strides),
            padding=padding,
            data_format='channels_last',
            dilation_rate=list(dilation),
            groups=groups,
            activation=activation,
            use_bias=bias,
        )

    def depthwise(self, x, k, strides=(1, 1), padding='valid', bias=True, times=1):
        c = x[1].shape[1]
        w, b = draw(*k, c, times, scale=0.5), draw(c * times)
        weight = t(w).permute(2, 3, 0, 1).reshape(c * times, 1, *k)
        y = F.conv2d(around(x[1], k, strides, padding), weight, t(b) if bias else None, strides, 0, 1, c)
        return self.add(
            'DepthwiseConv2D',
            x,
            y,
            {'kernel' if self.three else 'depthwise_kernel': w, **({'bias': b} if bias else {})},
            kernel_size=list(k),
            strides=list(strides),
            padding=padding,
            depth_multiplier=times,
            use_bias=bias,
            activation='linear',
        )

    def bn(self, x, axis=(3,), scale=True, center=True, epsilon=0.001):
        c = x[1].shape[1]
        gamma, beta, mean = draw(c, scale=0.3, centre=1), draw(c), draw(c, scale=0.3)
        var = np.abs(draw(c)) + np.float32(0.5)
        y = F.batch_norm(x[1], t(mean), t(var), t(gamma) if scale else None, t(beta) if center else None, False, 0, epsilon)
        weights = {
            **({'gamma': gamma} if scale else {}),
            **({'beta': beta} if center else {}),
            'moving_mean': mean,
            'moving_variance': var,
        }
        return self.add(
            'BatchNormalization',
            x,
            y,
            weights,
            axis=list(axis) if isinstance(axis, tuple) else axis,
            momentum=0.99,
            epsilon=epsilon,
            center=center,
            scale=scale,
        )

    def prelu(self, x):
        a = draw(1, 1, x[1].shape[1], scale=0.25, centre=0.25)
        return self.add('PReLU', x, F.prelu(x[1], t(a).flatten()), {'alpha': a}, shared_axes=[1, 2])

    def dense(self, x, o, activation='linear', f=None):
        w, b = draw(x[1].shape[-1], o, scale=0.3), draw(o)
        y = x[1] @ t(w) + t(b)
        return self.add('Dense', x, f(y) if f else y, {'kernel': w, 'bias': b}, units=o, activation=activation, use_bias=True)

    def flatten(self, x):
        return self.add('Flatten', x, x[1].permute(0, 2, 3, 1).flatten(1), data_format='channels_last')

    def config(self, outputs, kind='Functional'):
        return {
            'class_name': kind,
            'config': {
                'name': 'model',
                'layers': self.layers,
                'input_layers': ['images', 0, 0] if self.three else [['images', 0, 0]],
                'output_layers': [[n, 0, 0] for n, _ in outputs],
            },
        }


def around(y, k, strides, padding, dilation=(1, 1), value=0):
    """TensorFlow's padding: the odd one behind."""
    if padding == 'valid':
        return y
    pads = []
    for size, kernel, stride, d in zip(y.shape[2:], k, strides, dilation):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (kernel - 1) * d + 1 - size)
        pads.append((total // 2, total - total // 2))
    return F.pad(y, (*pads[1], *pads[0]), value=value)


def h5(weights, config=None, version='2.4.0', library='earliest'):
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w', libver=library) as file:
        root = file
        if config is not None:
            file.attrs['model_config'] = json.dumps(config).encode()
            root = file.create_group('model_weights')
        file.attrs['keras_version'] = version.encode()
        file.attrs['backend'] = b'tensorflow'
        root.attrs['layer_names'] = np.array([n.encode() for n in weights])
        for layer, tensors in weights.items():
            group = root.create_group(layer)
            names = [f'{layer}/{w}:0' for w in tensors]
            group.attrs['weight_names'] = np.array([n.encode() for n in names], dtype='S') if names else np.zeros((0,), 'S1')
            for n, a in zip(names, tensors.values()):
                group.create_dataset(n, data=a)
    return buffer.getvalue()


def snake(kind):
    return re.sub('([a-z])([A-Z])', r'\1_\2', re.sub('(.)([A-Z][a-z]+)', r'\1_\2', kind)).lower()


def keras3(model, config, by_name):
    """The archive of Keras 3: weights by number, under the name of the class or of the layer."""
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        counts = {}
        for layer in model.layers:
            kind = snake(layer['class_name'])
            n = counts.get(kind, 0)
            counts[kind] = n + 1
            name = layer['name'] if by_name else (f'{kind}_{n}' if n else kind)
            group = file.create_group(f'layers/{name}/vars')
            for i, a in enumerate(model.weights.get(layer['name'], {}).values()):
                group.create_dataset(str(i), data=a)
        file.create_group('optimizer/vars').create_dataset('0', data=np.float32([1]))
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for name, content in {
            'metadata.json': b'{"keras_version": "3.3.3"}',
            'config.json': json.dumps(config).encode(),
            'model.weights.h5': buffer.getvalue(),
        }.items():
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            z.writestr(info, content)
    return out.getvalue()


def last(y):
    y = y.permute(0, 2, 3, 1) if y.ndim == 4 else y
    return {'shape': list(y.shape), 'f64': y.flatten().tolist()}


def b64(data):
    return base64.b64encode(data).decode()


files, cases = [], []


def entry(name, model, outputs, **more):
    return {
        'name': name,
        'size': list(model.image.shape[1:3]),
        'input': b64(np.ascontiguousarray(model.image).tobytes()),
        'outputs': [last(v) for _, v in outputs],
        **more,
    }


def network(m):
    """A small face network of the layers that such have: K210's, MobileFaceNet's, attention, two branches."""
    x = m.add('ZeroPadding2D', m.x, F.pad(m.x[1], (1, 1, 1, 1)), padding=[[1, 1], [1, 1]], data_format='channels_last')
    x = m.conv(x, 4, (3, 3), (2, 2), 'valid', False)
    x = m.bn(x)
    x = m.add('LeakyReLU', x, F.leaky_relu(x[1], 0.25), **({'negative_slope': 0.25} if m.three else {'alpha': 0.25}))
    y = m.depthwise(x, (3, 3), (1, 1), 'same', False)
    y = m.bn(y, -1)
    y = m.prelu(y)
    y = m.conv(y, 4, (1, 1))
    x = m.add('Add', [x, y], x[1] + y[1])
    g = m.add('GlobalAveragePooling2D', x, x[1].mean((2, 3)), keepdims=False)
    g = m.dense(g, 4, 'sigmoid', torch.sigmoid)
    g = m.add('Reshape', g, g[1][:, :, None, None], target_shape=[1, 1, 4])
    x = m.add('Multiply', [x, g], x[1] * g[1])
    y = m.conv(x, 4, (3, 3), (2, 2), 'same', True, 2, activation='relu', f=F.relu)
    z = m.add('MaxPooling2D', x, F.max_pool2d(x[1], 2, 2), pool_size=[2, 2], strides=[2, 2], padding='valid')
    x = m.add('Concatenate', [y, z], torch.cat([y[1], z[1]], 1), axis=-1)
    x = m.add('Dropout', x, x[1], rate=0.1)
    x = m.flatten(x)
    x = m.dense(x, 6)
    return m.bn(x, (1,) if not m.three else -1, scale=False)


m = Model(draw(2, 8, 8, 3, scale=2))
out = network(m)
config = m.config([out])
files.append(entry('a whole model', m, [out], file='model.h5', bytes=b64(h5(m.weights, config))))
files.append(
    entry('a model of Keras 2.1', m, [out], file='old.h5', bytes=b64(h5(m.weights, m.config([out], 'Model'), '2.1.0', 'latest')))
)
m = Model(draw(2, 8, 8, 3, scale=2), three=True)
out = network(m)
files.append(entry('an archive of Keras 3, by class', m, [out], file='model.keras', bytes=b64(keras3(m, m.config([out]), False))))
files.append(entry('an archive of Keras 3, by name', m, [out], file='named.keras', bytes=b64(keras3(m, m.config([out]), True))))


def case(name, build, size=(5, 6), channels=4, shape=None):
    """One layer, or a few: build(model, x) gives the output or several."""
    m = Model(draw(2, *size, channels, scale=2), shape)
    outputs = build(m, m.x)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    weights = {
        f'{layer}/{w}': {'shape': list(a.shape), 'data': b64(a.tobytes())}
        for layer, tensors in m.weights.items()
        for w, a in tensors.items()
    }
    cases.append(entry(name, m, outputs, config=m.config(outputs), weights=weights))


case('Conv2D, SAME, strides, dilation', lambda m, x: [m.conv(x, 3, (3, 2), (2, 1), 'same'), m.conv(x, 3, (3, 3), (1, 1), 'same', dilation=(2, 1))])
case('Conv2D of any size of image', lambda m, x: m.conv(x, 3, (3, 3)), (5, 6), 3, [None, None, None, 3])
case('DepthwiseConv2D, two filters a channel', lambda m, x: m.depthwise(x, (3, 3), (2, 2), 'same', True, 2))


def separable(m, x):
    d, p, b = draw(3, 3, 4, 2, scale=0.5), draw(1, 1, 8, 3), draw(3)
    y = F.conv2d(around(x[1], (3, 3), (2, 2), 'same'), t(d).permute(2, 3, 0, 1).reshape(8, 1, 3, 3), None, 2, 0, 1, 4)
    y = F.relu(F.conv2d(y, t(p).permute(3, 2, 0, 1), t(b)))
    weights = {'depthwise_kernel': d, 'pointwise_kernel': p, 'bias': b}
    return m.add('SeparableConv2D', x, y, weights, filters=3, kernel_size=[3, 3], strides=[2, 2], padding='same', depth_multiplier=2, use_bias=True, activation='relu')


def prelu_places(m, x):
    a = draw(5, 6, 4)
    y = x[1].clamp_min(0) + t(a).permute(2, 0, 1) * x[1].clamp_max(0)
    return m.add('PReLU', x, y, {'alpha': a}, shared_axes=None)


case('SeparableConv2D', separable)
case('PReLU with a slope for each place', prelu_places)
case('BatchNormalization without gamma and beta', lambda m, x: [m.bn(x, -1, False, True), m.bn(x, (3,), False, False, 0.01)])


def act(kind, f, **config):
    case(f'{kind} {config}', lambda m, x: m.add(kind, x, f(x[1]), **config))


act('ReLU', lambda y: F.relu6(y), max_value=6.0, negative_slope=0.0, threshold=0.0)
act('ReLU', lambda y: F.leaky_relu(y, 0.5).clamp_max(1.5), max_value=1.5, negative_slope=0.5, threshold=0.0)
act('ReLU', F.relu, max_value=None)
act('LeakyReLU', lambda y: F.leaky_relu(y, 0.3))
act('ELU', lambda y: F.elu(y, 0.5), alpha=0.5)
act('Softmax', lambda y: y.softmax(1), axis=-1)
for name, f in {
    'relu': F.relu,
    'relu6': F.relu6,
    'sigmoid': torch.sigmoid,
    'hard_sigmoid': lambda y: (0.2 * y + 0.5).clamp(0, 1),
    'tanh': torch.tanh,
    'elu': F.elu,
    'selu': F.selu,
    'softplus': F.softplus,
    'swish': F.silu,
    'softmax': lambda y: y.softmax(1),
    'exponential': torch.exp,
    'linear': lambda y: y,
}.items():
    act('Activation', f, activation=name)


def pooled(kind, f, pool_size, strides, padding, size=(6, 7)):
    case(
        f'{kind} {pool_size} {strides} {padding}',
        lambda m, x: m.add(kind, x, f(x[1]), pool_size=pool_size, strides=strides, padding=padding, data_format='channels_last'),
        size,
    )


def mean(y, k, s):
    ones = around(torch.ones_like(y), k, s, 'same')
    return F.avg_pool2d(around(y, k, s, 'same'), k, s) / F.avg_pool2d(ones, k, s)


pooled('MaxPooling2D', lambda y: F.max_pool2d(around(y, (3, 3), (2, 2), 'same', value=-math.inf), 3, 2), [3, 3], [2, 2], 'same')
pooled('MaxPooling2D', lambda y: F.max_pool2d(y, (2, 3), (2, 3)), [2, 3], None, 'valid')
pooled('AveragePooling2D', lambda y: mean(y, (3, 3), (2, 2)), [3, 3], [2, 2], 'same')
case('GlobalMaxPooling2D', lambda m, x: m.add('GlobalMaxPooling2D', x, x[1].amax((2, 3), True), keepdims=True))
case('ZeroPadding2D, uneven', lambda m, x: m.add('ZeroPadding2D', x, F.pad(x[1], (2, 3, 0, 1)), padding=[[0, 1], [2, 3]]))
case('Cropping2D', lambda m, x: m.add('Cropping2D', x, x[1][:, :, 1:-1, 2:-1], cropping=[[1, 1], [2, 1]]))
case('UpSampling2D', lambda m, x: m.add('UpSampling2D', x, F.interpolate(x[1], scale_factor=2), size=[2, 2], interpolation='nearest'))
case(
    'UpSampling2D bilinear',
    lambda m, x: m.add(
        'UpSampling2D', x, F.interpolate(x[1], scale_factor=2, mode='bilinear', align_corners=False), size=[2, 2], interpolation='bilinear'
    ),
)
case('Permute', lambda m, x: m.add('Permute', x, x[1].permute(0, 1, 3, 2), dims=[2, 1, 3]))
case('Rescaling', lambda m, x: m.add('Rescaling', x, x[1] * 0.5 - 1, scale=0.5, offset=-1.0))
case('UnitNormalization', lambda m, x: m.add('UnitNormalization', x, x[1] / x[1].square().sum(1, True).sqrt(), axis=-1))
case(
    'merges',
    lambda m, x: [
        m.add(kind, [x, y], f(x[1], y[1]))
        for y in [m.add('Activation', x, x[1].tanh(), activation='tanh')]
        for kind, f in [
            ('Subtract', torch.sub),
            ('Maximum', torch.maximum),
            ('Minimum', torch.minimum),
            ('Average', lambda a, b: (a + b) / 2),
        ]
    ],
)

# A layer that is called twice, and a model inside the model.
m = Model(draw(1, 4, 4, 3))
w, b = draw(1, 1, 3, 3), draw(3)
conv = lambda y: F.conv2d(y, t(w).permute(3, 2, 0, 1), t(b))
m.add('Conv2D', m.x, None, {'kernel': w, 'bias': b}, name='shared', filters=3, kernel_size=[1, 1], strides=[1, 1], padding='valid', activation='linear', use_bias=True)
m.layers[-1]['inbound_nodes'] = [[['images', 0, 0, {}]], [['shared', 0, 0, {}]]]
inner = Model(draw(1, 4, 4, 3))
v = draw(1, 1, 3, 2)
inner.layers[0]['name'] = inner.layers[0]['config']['name'] = 'inside'
inner.add('Conv2D', ('inside', inner.x[1]), None, name='deep', filters=2, kernel_size=[1, 1], strides=[1, 1], padding='valid', activation='linear', use_bias=False)
nested = inner.config([('deep', None)])
nested['config']['input_layers'] = [['inside', 0, 0]]
nested['config']['name'] = 'body'
m.layers.append({**nested, 'name': 'body', 'inbound_nodes': [[['shared', 1, 0, {}]]]})
value = F.conv2d(conv(conv(m.x[1])), t(v).permute(3, 2, 0, 1))
weights = {'shared/kernel': w, 'shared/bias': b, 'body/deep/kernel:0': v}
cases.append(
    entry(
        'a layer called twice, a model inside',
        m,
        [('body', value)],
        config=m.config([('body', None)]),
        weights={n: {'shape': list(a.shape), 'data': b64(a.tobytes())} for n, a in weights.items()},
    )
)

# Sequential, as Keras 1 has it: a list of layers, the first of which says what it takes.
m = Model(draw(2, 4, 5, 3))
x = m.conv(m.x, 4, (3, 3), activation='relu', f=F.relu)
x = m.flatten(x)
x = m.dense(x, 3)
layers = [{k: l[k] for k in ('class_name', 'config')} for l in m.layers[1:]]
layers[0]['config']['batch_input_shape'] = [None, 4, 5, 3]
entries = {f'{l}/{n}': {'shape': list(a.shape), 'data': b64(a.tobytes())} for l, ts in m.weights.items() for n, a in ts.items()}
cases.append(entry('Sequential', m, [x], config={'class_name': 'Sequential', 'config': {'name': 's', 'layers': layers}}, weights=entries))
cases.append(entry('Sequential of Keras 1', m, [x], config={'class_name': 'Sequential', 'config': layers}, weights=entries))

out = pathlib.Path(__file__).with_suffix('.json.gz')
out.write_bytes(gzip.compress((json.dumps({'files': files, 'cases': cases}) + '\n').encode(), 9, mtime=0))
print(len(files), len(cases), out.stat().st_size)
