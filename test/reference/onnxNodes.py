"""The ONNX standard's node test cases for the operators that are imported, as small models with inputs and outputs.

Cases of the standard's own generators (onnx.backend.test.case.node), each made a model that importing takes: numbers that
a file would hold (weights, shapes, indices) are initializers; values that networks compute are inputs with the batch in
front. Where all of a case is known when a graph is made (shape arithmetic), the model adds the result to an input of
zeros. Operator sets beyond 22 are written as 22 where onnxruntime gives the same for both.
Old forms, which the standard's generators no longer write, are made here with onnxruntime's results.

Writes onnxNodes.json.gz: {cases: [{name, model, inputs, outputs}], leftOut: {reason: [name]}}; arrays as [shape, base64].
Made with onnx 1.23.1, onnxruntime 1.30.0, numpy 2: python onnxNodes.py
"""
import base64, collections, gzip, json, os, warnings
import numpy as np
import onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper

warnings.filterwarnings('ignore')
onnxruntime.set_default_logger_severity(4)
from onnx.backend.test.case.node import collect_testcases

LATEST = 22
MOST = 1500  # numbers of a case
OPS = '''Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos DepthToSpace Div
Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
Round Selu Shape Sigmoid Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile Transpose
Unsqueeze Upsample Where'''.split()
# The first input is a value of the network, the others are numbers of the file.
WEIGHTS = {'Conv', 'ConvTranspose', 'BatchNormalization', 'PRelu', 'InstanceNormalization', 'LayerNormalization', 'Clip', 'Pad', 'Resize',
           'Upsample', 'Dropout', 'Pow'}
KNOWN = {'And', 'Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Mod', 'Not', 'Or', 'Where', 'Range',
         'ConstantOfShape', 'Shape', 'Size', 'Constant', 'ReduceProd', 'CastLike'}
NUMBERS = {np.dtype(t) for t in ('float32', 'float64', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint64',
                                     'uint32', 'uint16', 'uint8', 'bool')}


def run(model, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, feeds)


def array(a):
    a = np.asarray(a, dtype=np.float32)
    return [list(a.shape), base64.b64encode(a.tobytes()).decode()]


def model_of(node, opset, inputs, initializers, outputs, more=()):
    info = lambda name, a: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
    graph = helper.make_graph([node, *more], 'g', [info(n, a) for n, a in inputs], [info(n, a) for n, a in outputs],
                              [numpy_helper.from_array(a, n) for n, a in initializers])
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)])
    m.ir_version = 8
    m.producer_name = ''
    return m


cases, left = [], collections.defaultdict(list)


def add(name, node, opset, inputs, outputs):
    """inputs, outputs: [(name, array)]"""
    plain = lambda a: (numpy_helper.to_array(a) if isinstance(a, TensorProto) and a.data_type in range(1, 14) else a)
    inputs, outputs = [[(n, plain(a)) for n, a in values] for values in (inputs, outputs)]
    arrays = [a for _, a in inputs + outputs]
    if any(not isinstance(a, np.ndarray) and not np.isscalar(a) for a in arrays):
        return left['strings, and numbers of fewer than 16 bits or with 8 bits of exponent'].append(name)
    inputs = [(n, np.asarray(a)) for n, a in inputs]
    outputs = [(n, np.asarray(a)) for n, a in outputs]
    arrays = [a for _, a in inputs + outputs]
    if any(a.dtype not in NUMBERS for a in arrays):
        return left['element types that are not read'].append(name)
    if sum(a.size for a in arrays) > MOST:
        return left[f'more than {MOST} numbers'].append(name)
    if any(a.size == 0 for _, a in outputs) or inputs and inputs[0][1].size == 0:
        return left['nothing in, or nothing out'].append(name)
    if node.op_type not in KNOWN:  # a network is float32
        single = lambda a: a.astype(np.float32) if a.dtype == np.float64 else a
        inputs, outputs = [[(n, single(a)) for n, a in values] for values in (inputs, outputs)]
    floats = [(n, a) for n, a in inputs if a.dtype.kind == 'f']
    first = next((a for n, a in inputs if a.dtype.kind == 'f'), None)
    known = node.op_type in KNOWN or first is None or first is not inputs[0][1]
    feeds, held = [], []
    for n, a in inputs:
        wants = not known and a.dtype.kind == 'f' and (
            a is first or (node.op_type not in WEIGHTS and a.shape and a.shape[:1] == first.shape[:1]
                           and a.ndim == first.ndim))
        (feeds if wants else held).append((n, a))
    if node.op_type == 'Gemm':
        feeds, held = feeds[:1], feeds[1:] + held
    if not known and first.ndim == 0:
        return left['single numbers in place of batches'].append(name)
    if not known and any(a.dtype != np.float32 for _, a in floats):
        return left['networks of other than float32'].append(name)
    if not known and any(a.dtype.kind != 'f' for _, a in outputs):
        return left['values of the network as whole numbers'].append(name)
    if known and node.op_type in ('MaxPool', 'AveragePool'):
        return left['networks of other than float32'].append(name)
    if known:
        if len(outputs) > 1:
            return left['several results that are known'].append(name)
        if node.op_type == 'Shape' or node.op_type == 'Size':
            feeds, held = ([inputs[0]], []) if inputs[0][1].dtype == np.float32 else ([], inputs)
        out = outputs[0]
        n = max(1, out[1].size)
        more = [helper.make_node('Cast', [out[0]], ['_as_float'], to=TensorProto.FLOAT),
                helper.make_node('Reshape', ['_as_float', '_flat_shape'], ['_flat']),
                helper.make_node('Add', ['_zeros', '_flat'], ['_sum'])]
        zeros = ('_zeros', np.zeros((feeds[0][1].shape[0] if feeds else 1, n), np.float32))
        held = held + [('_flat_shape', np.array([1, n], np.int64))]
        feeds = feeds + [zeros]
        flat = out[1].astype(np.float32).reshape(1, n)
        outputs = [('_sum', zeros[1] + flat)]
        model = lambda v: model_of(node, v, feeds, held, outputs, more)
    else:
        model = lambda v: model_of(node, v, feeds, held, outputs)
    if opset > LATEST:
        try:
            got = run(model(LATEST), dict(feeds))
        except Exception as e:
            return left['of a later operator set'].append(name)
        if not all(np.allclose(g, a, rtol=1e-3, atol=1e-5, equal_nan=True) for g, (_, a) in zip(got, outputs)):
            return left['another result in operator set 22'].append(name)
        opset = LATEST
    if not all(np.all(np.isfinite(a)) for _, a in feeds + outputs):
        return left['results that are not finite'].append(name)
    cases.append({'name': name, 'model': base64.b64encode(model(opset).SerializeToString()).decode(),
                  'inputs': {n: array(a) for n, a in feeds}, 'outputs': {n: array(a) for n, a in outputs}})


def standard():
    for c in collect_testcases(None):
        m = c.model
        if len(m.graph.node) != 1 or m.opset_import[0].domain or m.graph.node[0].op_type not in OPS:
            continue
        node = m.graph.node[0]
        opset = max(7, m.opset_import[0].version)
        ins, outs = c.data_sets[0]
        names = [i for i in node.input if i]
        add(c.name.removeprefix('test_'), node, opset, list(zip(names, ins)), list(zip([o for o in node.output if o], outs)))


rng = np.random.default_rng(5)
f32 = lambda *s: rng.standard_normal(s).astype(np.float32)
i64 = lambda *v: np.array(v, np.int64)


def old(name, op, opset, x, others=(), outputs=1, **attrs):
    node = helper.make_node(op, ['x', *[n for n, _ in others]], [f'y{i}' for i in range(outputs)], **attrs)
    graph = helper.make_graph([node], 'g', [helper.make_tensor_value_info('x', TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info(f'y{i}', TensorProto.FLOAT, None) for i in range(outputs)],
                              [numpy_helper.from_array(a, n) for n, a in others])
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)])
    m.ir_version = 4
    got = run(m, {'x': x})
    add(f'opset{opset}_{name}', node, opset, [('x', x), *others], [(f'y{i}', a) for i, a in enumerate(got)])


def old_forms():
    x = f32(2, 3, 4, 6)
    old('slice', 'Slice', 9, x, starts=[0, 1, -3], ends=[3, 3, 1000], axes=[1, 2, 3])
    old('slice_default_axes', 'Slice', 7, x, starts=[0, 1], ends=[2, 3])
    old('squeeze', 'Squeeze', 11, f32(2, 1, 4, 1), axes=[1, -1])
    old('unsqueeze', 'Unsqueeze', 11, f32(2, 5), axes=[1, 3])
    old('split', 'Split', 11, x, outputs=2, axis=3, split=[2, 4])
    old('split_equal', 'Split', 7, x, outputs=2, axis=2)
    for mode in ('constant', 'reflect', 'edge'):
        old(f'pad_{mode}', 'Pad', 10, x, mode=mode, pads=[0, 0, 1, 2, 0, 0, 2, 1], value=1.5)
    for op in ('ReduceMean', 'ReduceSum', 'ReduceMax', 'ReduceMin', 'ReduceL1', 'ReduceL2', 'ReduceSumSquare',
               'ReduceLogSumExp'):
        old(op.lower(), op, 11, x, axes=[2, 3], keepdims=1)
        old(f'{op.lower()}_drop', op, 12, x, axes=[-1], keepdims=0)
    old('clip', 'Clip', 10, x, min=-0.5, max=0.75)
    old('clip_min', 'Clip', 7, x, min=-0.25)
    old('dropout', 'Dropout', 10, x, ratio=0.25)
    for op in ('Softmax', 'LogSoftmax'):
        for axis in (1, 2, 3):
            old(f'{op.lower()}_coerced_{axis}', op, 11, x, axis=axis)
        old(f'{op.lower()}_coerced_default', op, 9, f32(2, 5))
    norm = [('s', f32(3)), ('b', f32(3)), ('m', f32(3)), ('v', np.abs(f32(3)) + 0.5)]
    old('batchnorm_7', 'BatchNormalization', 7, x, norm)
    old('batchnorm_9', 'BatchNormalization', 9, x, norm, epsilon=1e-2)
    old('upsample_scales', 'Upsample', 7, x, mode='nearest', scales=[1.0, 1.0, 2.0, 3.0])
    old('upsample_input', 'Upsample', 9, x, [('s', np.array([1, 1, 2, 2], np.float32))], mode='nearest')
    old('resize_10', 'Resize', 10, x, [('s', np.array([1, 1, 2, 2], np.float32))], mode='nearest')
    old('resize_10_down', 'Resize', 10, x, [('s', np.array([1, 1, 0.5, 0.5], np.float32))], mode='nearest')
    old('resize_11', 'Resize', 11, x, [('roi', np.zeros(0, np.float32)), ('s', np.array([1, 1, 2, 2], np.float32))],
        mode='linear', coordinate_transformation_mode='pytorch_half_pixel')
    old('maxpool_8', 'MaxPool', 8, x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    old('maxpool_ceil', 'MaxPool', 10, x, kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1)
    old('avgpool_7', 'AveragePool', 7, x, kernel_shape=[2, 3], strides=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1)
    old('avgpool_ceil_counted', 'AveragePool', 11, x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
        count_include_pad=1)
    old('gemm_7', 'Gemm', 7, f32(2, 4), [('w', f32(5, 4)), ('c', f32(5))], transB=1, alpha=0.5, beta=2.0)
    old('gemm_transposed', 'Gemm', 9, f32(4, 2), [('w', f32(4, 5)), ('c', f32(2, 1))], transA=1)
    for groups, dilation in ((1, 1), (2, 1), (4, 2)):
        old(f'conv_groups_{groups}_dilation_{dilation}', 'Conv', 11, f32(2, 4, 7, 6),
            [('w', f32(8, 4 // groups, 3, 3)), ('b', f32(8))], group=groups, dilations=[dilation] * 2, pads=[2, 1, 0, 1],
            strides=[2, 1])
    for groups, attrs in ((1, dict(strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2])), (2, dict(dilations=[2, 1])),
                          (4, dict(strides=[2, 2], pads=[1, 1, 1, 1])), (1, dict(pads=[3, 2, 3, 1]))):
        old(f'convtranspose_groups_{groups}_{"_".join(attrs)}', 'ConvTranspose', 11, f32(2, 4, 5, 4),
            [('w', f32(4, 6 // (2 if groups > 1 else 1), 3, 2)), ('b', f32(6 // (2 if groups > 1 else 1) * groups))], group=groups, **attrs)
    for auto in ('SAME_UPPER', 'SAME_LOWER', 'VALID'):
        old(f'conv_{auto.lower()}', 'Conv', 7, f32(2, 3, 6, 7), [('w', f32(4, 3, 3, 2))], auto_pad=auto, strides=[2, 2])
    for shape in ((3, 1, 1), (1,), (1, 1, 6), (3, 4, 6)):
        old(f'prelu_{"x".join(map(str, shape))}', 'PRelu', 9, x, [('s', f32(*shape))])
    old('reshape_batch', 'Reshape', 11, x, [('s', i64(2, -1))])
    old('concat_channels', 'Concat', 7, x, [('w', f32(2, 2, 4, 6))], axis=1)
    old('matmul_images', 'MatMul', 11, x, [('w', f32(6, 5))])
    old('slice_steps', 'Slice', 11, x, [('s', i64(-1, 0)), ('e', i64(-1000, 6)), ('a', i64(2, 3)), ('t', i64(-2, 2))])
    old('gather_channels', 'Gather', 11, x, [('i', i64(2, 0, -1))], axis=1)
    old('erf', 'Erf', 9, x)
    old('mish', 'Mish', 18, x)
    like = helper.make_node('CastLike', ['x', 'y'], ['z'])
    add('opset15_castlike', like, 15, [('x', np.array([1.5, -2.5, 0], np.float32)), ('y', i64(7))], [('z', i64(1, -2, 0))])
    old('gather_one', 'Gather', 11, x, [('i', np.array(1, np.int64))], axis=2)


standard()
old_forms()
here = os.path.dirname(os.path.abspath(__file__))
text = json.dumps({'cases': cases, 'leftOut': {k: sorted(v) for k, v in left.items()}}, separators=(',', ':'))
with open(os.path.join(here, 'onnxNodes.json.gz'), 'wb') as f:
    f.write(gzip.compress(text.encode(), 9, mtime=0))
print(len(cases), 'cases;', {k: len(v) for k, v in left.items()}, os.path.getsize(os.path.join(here, 'onnxNodes.json.gz')))
for k, v in left.items(): print(k, v)
