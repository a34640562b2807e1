"""Small networks in ncnn's files, with what PyTorch gives for them in float64: ncnn.json.gz.

The text of layers and the numbers are written here as ncnn's converters do; semantics are those of ncnn's documentation of its
operators and its plain implementations, spelt out with PyTorch's functions.

  python3 test/reference/ncnn.py
"""

import base64
import gzip
import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.RandomState(11)
torch.set_default_dtype(torch.float64)


def draw(*shape, scale=1.0, centre=0.0):
    return (np.round((rng.uniform(-1, 1, shape) * scale + centre) * 64) / 64).astype(np.float32)


def f32(x):
    """As ncnn reads numbers of its text."""
    return float(np.float32(x))


def t(a):
    return torch.from_numpy(a.astype(np.float64))


class Net:
    def __init__(self, half=False):
        self.half = half
        self.lines = []
        self.blobs = 0
        self.bin = b''

    def layer(self, kind, inputs, outputs=1, params='', name=None):
        made = [f'b{self.blobs + i}' for i in range(outputs)]
        self.blobs += outputs
        name = name or f'l{len(self.lines)}'
        self.lines.append(f'{kind:<16} {name:<10} {len(inputs)} {outputs} {" ".join([*inputs, *made])} {params}')
        return made if outputs > 1 else made[0]

    def plain(self, *arrays):
        for a in arrays:
            self.bin += np.ascontiguousarray(a, np.float32).tobytes()

    def tagged(self, a):
        if self.half:
            raw = a.astype(np.float16).tobytes()
            self.bin += struct.pack('<I', 0x01306B47) + raw + bytes(-len(raw) % 4)
        else:
            self.bin += struct.pack('<I', 0) + a.astype(np.float32).tobytes()

    def text(self):
        return '\n'.join(['7767517', f'{len(self.lines)} {self.blobs}', *self.lines]) + '\n'


cases = []


def case(name, build, size=(5, 6), channels=4, half=False, stated=True):
    net = Net(half)
    image = draw(1, channels, *size, scale=2)
    x = net.layer('Input', [], 1, f'0={size[1]} 1={size[0]} 2={channels}' if stated else '', 'data')
    y = build(net, x, t(image))
    y = y if isinstance(y, list) else [y]
    cases.append(
        {
            'name': name,
            'param': net.text(),
            'bin': base64.b64encode(net.bin).decode(),
            'size': list(size),
            'input': base64.b64encode(np.ascontiguousarray(image.transpose(0, 2, 3, 1)).tobytes()).decode(),
            'outputs': [
                {'shape': list(v.shape), 'f64': v.flatten().tolist()}
                for v in (v.permute(0, 2, 3, 1) if v.ndim == 4 else v for v in y)
            ],
        }
    )


def mobile(net, x, y):
    """The parts of MobileFaceNet: folded and unfolded, shortcuts, a depthwise end, a dense layer with its norm."""
    x = net.layer('BinaryOp', [x], 1, '0=1 1=1 2=0.25')
    x = net.layer('BinaryOp', [x], 1, '0=2 1=1 2=5.000000e-01')
    y = (y - 0.25) * 0.5

    def bn(x, y, n):
        slope, mean, var, bias = draw(n, scale=0.3, centre=1), draw(n, scale=0.3), np.abs(draw(n)) + np.float32(0.5), draw(n)
        net.plain(slope, mean, var, bias)
        return net.layer('BatchNorm', [x], 1, f'0={n}'), F.batch_norm(y, t(mean), t(var), t(slope), t(bias), False, 0, 0)

    def conv(x, y, o, i, k, stride, pad, groups=1, bias=False, more='', size=None):
        h, w = k
        weight = draw(o, i // groups, h, w, scale=0.5)
        kind = 'Convolution' if groups == 1 else 'ConvolutionDepthWise'
        p = f'0={o} 1={w} 11={h} 3={stride} 4={pad} 5={int(bias)} 6={weight.size}'
        x = net.layer(kind, [x], 1, p + (f' 7={groups}' if groups > 1 else '') + more)
        net.tagged(weight)
        b = draw(o) if bias else None
        if bias:
            net.plain(b)
        return x, F.conv2d(y, t(weight), None if b is None else t(b), stride, pad, 1, groups)

    def prelu(x, y, n):
        a = draw(n, scale=0.25, centre=0.25)
        net.plain(a)
        return net.layer('PReLU', [x], 1, f'0={n}'), F.prelu(y, t(a))

    x, y = conv(x, y, 8, 3, (3, 3), 2, 1)
    x, y = bn(x, y, 8)
    x, y = prelu(x, y, 8)
    skip, x = net.layer('Split', [x], 2)
    keep = y
    x, y = conv(x, y, 8, 8, (3, 3), 1, 1, 8, True, ' 9=2 -23310=1,2.000000e-01')
    y = F.leaky_relu(y, f32(0.2))
    x, y = conv(x, y, 8, 8, (1, 1), 1, 0, 1, True)
    x, y = net.layer('BinaryOp', [x, skip], 1, '0=0'), y + keep
    a, b = net.layer('Split', [x], 2)
    x, y = net.layer('Eltwise', [a, b], 1, '0=1 -23301=2,5.000000e-01,2.000000e+00'), y * 2.5
    x, y = conv(x, y, 8, 8, (4, 4), 1, 0, 8)
    x, y = bn(x, y, 8)
    w, b = draw(6, 8), draw(6)
    net.tagged(w)
    net.plain(b)
    x, y = net.layer('InnerProduct', [x], 1, '0=6 1=1 2=48'), F.linear(y.flatten(1), t(w), t(b))
    return bn(x, y, 6)[1]


case('the parts of MobileFaceNet', mobile, (8, 8), 3, stated=False)
case('the same with halves', mobile, (8, 8), 3, half=True)


def uneven(net, x, y):
    w, b = draw(6, 2, 3, 2), draw(6)
    net.layer('ConvolutionDepthWise', [x], 1, '0=6 1=2 11=3 2=2 12=1 3=1 13=2 4=2 14=1 15=1 16=0 5=1 6=72 7=2 9=3 -23310=2,-1.0,6.0')
    net.tagged(w)
    net.plain(b)
    return F.conv2d(F.pad(y, (2, 1, 1, 0)), t(w), t(b), (2, 1), 0, (1, 2), 2).clamp(-1, 6)


def same(tag, value=0):
    def build(net, x, y):
        w = draw(3, 4, 3, 3)
        net.layer('Convolution', [x], 1, f'0=3 1=3 3=2 4={tag} 5=0 6=108 18={value}')
        net.tagged(w)
        pads = (0, 1, 1, 1) if tag == -233 else (1, 0, 1, 1)
        return F.conv2d(F.pad(y, pads, value=value), t(w), None, 2)

    return build


case('ConvolutionDepthWise in groups, uneven, clipped', uneven)
case("Convolution with TensorFlow's padding behind", same(-233))
case("Convolution with TensorFlow's padding in front, of ones", same(-234, 1))


def acted(number, params, f):
    def build(net, x, y):
        w = draw(4, 4, 1, 1)
        net.layer('Convolution', [x], 1, f'0=4 1=1 5=0 6=16 9={number}{params}')
        net.tagged(w)
        return f(F.conv2d(y, t(w)))

    case(f'Convolution with activation {number}', build)


acted(1, '', F.relu)
acted(4, '', torch.sigmoid)
acted(6, ' -23310=2,1.666667e-01,5.000000e-01', F.hardswish)


def single(kind, params, f, size=(5, 6)):
    case(f'{kind} {params}', lambda net, x, y: (net.layer(kind, [x], 1, params), f(y))[1], size)


single('ReLU', '', F.relu)
single('ReLU', '0=0.1', lambda y: F.leaky_relu(y, f32(0.1)))
single('Sigmoid', '', torch.sigmoid)
single('TanH', '', torch.tanh)
single('Swish', '', F.silu)
single('ELU', '0=0.5', lambda y: F.elu(y, 0.5))
single('Clip', '0=-0.5 1=1', lambda y: y.clamp(-0.5, 1))
single('HardSigmoid', '', lambda y: (y * f32(0.2) + 0.5).clamp(0, 1))
single('HardSwish', '', lambda y: y * (y * f32(0.2) + 0.5).clamp(0, 1))
single('HardSwish', '0=1.666667e-01 1=5.000000e-01', F.hardswish)
single('Dropout', '0=0.5', lambda y: y * 0.5)
single('Noop', '', lambda y: y)
single('BinaryOp', '0=7 1=1 2=2.5', lambda y: 2.5 - y)
single('BinaryOp', '0=4 1=1 2=0.5', lambda y: y.clamp_min(0.5))
single('UnaryOp', '0=0', torch.abs)
single('UnaryOp', '0=4', torch.square)
single('UnaryOp', '0=16', torch.tanh)
single('UnaryOp', '0=7', torch.exp)
single('Flatten', '', lambda y: y.flatten(1))
single('Softmax', '0=0 1=1', lambda y: y.softmax(1))
single('Softmax', '0=2 1=1', lambda y: y.softmax(3))
for i, axes in enumerate([(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)]):
    single('Permute', f'0={i}', lambda y: y.permute(0, *axes))
single('Reshape', '0=-1 1=4', lambda y: y.reshape(1, 4, 30))
single('Reshape', '0=6 1=-1 2=2', lambda y: y.reshape(1, 2, 10, 6))
single('Reshape', '0=-1', lambda y: y.flatten(1))
single('Padding', '0=1 1=2 2=0 3=3 5=0.5', lambda y: F.pad(y, (0, 3, 1, 2), value=0.5))
single('Crop', '-23309=2,1,-4 -23310=2,-233,-1 -23311=2,0,2', lambda y: y[:, 1:, :, -4:-1])
single('Interp', '0=1 1=2.0 2=2.0', lambda y: F.interpolate(y, scale_factor=2, mode='nearest'))
single('Interp', '0=2 3=9 4=11', lambda y: F.interpolate(y, (9, 11), mode='bilinear', align_corners=False))
single('Interp', '0=2 3=9 4=11 6=1', lambda y: F.interpolate(y, (9, 11), mode='bilinear', align_corners=True))
single('Pooling', '0=0 1=3 2=2', lambda y: F.max_pool2d(y, 3, 2, 0, ceil_mode=True), (6, 7))
single('Pooling', '0=0 1=3 2=2 3=1 5=1', lambda y: F.max_pool2d(y, 3, 2, 1), (6, 7))
single('Pooling', '0=1 1=3 2=2 3=1 5=1 6=1', lambda y: F.avg_pool2d(y, 3, 2, 1), (6, 7))
single('Pooling', '0=1 1=3 2=2 3=1 5=1', lambda y: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False), (6, 7))
single(
    'Pooling',
    '0=1 1=2 11=3 2=2 12=2 3=0 13=1 14=0 15=1 5=0 6=1',
    lambda y: F.avg_pool2d(F.pad(y, (0, 1, 1, 2)), (3, 2), 2),
    (6, 7),
)
single('Pooling', '0=1 1=3 2=2 5=2', lambda y: F.avg_pool2d(y, 3, 2, (1, 1), count_include_pad=False), (7, 7))
single('Pooling', '0=1 4=1', lambda y: y.mean((2, 3)))
single('Pooling', '0=0 4=1', lambda y: y.amax((2, 3)))
single('Pooling', '0=1 7=1 8=1', lambda y: y.mean((2, 3), True))
single('Reduction', '0=3 1=0 -23303=2,1,2 4=1', lambda y: y.mean((2, 3), True))


def scaled(net, x, y):
    a, b = draw(4), draw(4)
    net.layer('Scale', [x], 1, '0=4 1=1')
    net.plain(a, b)
    return y * t(a).reshape(4, 1, 1) + t(b).reshape(4, 1, 1)


def normalized(net, x, y):
    x = net.layer('Flatten', [x])
    net.layer('Normalize', [x], 1, '0=1 1=1 2=0.5 3=1 4=1 9=0')
    net.plain(np.float32([2]))
    y = y.flatten(1)
    return y / (y.square().sum(1, True) + 0.5).sqrt() * 2


def normalized_channels(net, x, y):
    a = draw(4)
    net.layer('Normalize', [x], 1, '0=0 1=0 2=0.25 3=4 4=1 9=1')
    net.plain(a)
    return y / y.square().sum(1, True).sqrt().clamp_min(0.25) * t(a).reshape(4, 1, 1)


def parts(net, x, y):
    a, b, c = net.layer('Slice', [x], 3, '-23300=3,1,-233,-233 1=0')
    net.layer('Concat', [c, a, b, a], 1, '0=0')
    return torch.cat([y[:, 2:], y[:, :1], y[:, 1:2], y[:, :1]], 1)


def attention(net, x, y):
    w, b = draw(4, 4), draw(4)
    x, z = net.layer('Split', [x], 2)
    z = net.layer('Pooling', [z], 1, '0=1 4=1')
    z = net.layer('InnerProduct', [z], 1, '0=4 1=1 2=16 9=4')
    net.tagged(w)
    net.plain(b)
    net.layer('BinaryOp', [x, z], 1, '0=2')
    return y * torch.sigmoid(F.linear(y.mean((2, 3)), t(w), t(b)))[:, :, None, None]


def memory(net, x, y):
    m = draw(4, 5, 6)
    k = net.layer('MemoryData', [], 1, '0=6 1=5 2=4')
    net.plain(m)
    net.layer('Eltwise', [x, k], 1, '0=2')
    return torch.maximum(y, t(m)[None])


case('Scale', scaled)
case('Normalize of a vector', normalized)
case('Normalize over the channels', normalized_channels)
case('Slice and Concat', parts)
case('a channel attention: a vector beside a map', attention)
case('MemoryData', memory)

out = pathlib.Path(__file__).with_suffix('.json.gz')
out.write_bytes(gzip.compress((json.dumps({'cases': cases}) + '\n').encode(), 9, mtime=0))
print(len(cases), out.stat().st_size)
