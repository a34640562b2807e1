/**
 * Mutants of the WebGPU side: kernels in WGSL, the code that composes them, and the plan that places and links them.
 *
 * The one idea: each names the few tests that cover its code, for an emulated GPU takes long to compile a kernel. A
 * mutant is valid WGSL: one that does not compile would prove nothing.
 */
import { type Change, type Mutant, of } from './mutant.ts';

/** A file of kernels/, with the tests of test/kernels/ that cover it. */
const kernel = (family: string, file: string, test: string, only: string, changes: readonly Change[]): Mutant[] =>
  of(family, `kernels/${file}`, `test/kernels/${test}.test.ts`, changes, only);

const staged = 'gpu: 64x64, 8x4 each, nn';
const direct = 'software: 32x32, 16x16 each, nn';
const slices = 'tiles of software cuts long sums';
const convolves = 'tiles of software convolves';
const tails = 'tiles of software applies what follows';
const windowGradient = 'every edge: gradient';
const weightGradient = 'weight gradient of several blocks';
const moments = 'moments on the GPU of numbers';
const oddColumns = 'reductions \\[301,65\\]';
const maximum = 'the maximum and its gradient';
const resizes = 'resizes \\[1,19,25,3\\]';
const draws = 'draws the numbers';

const gemmFamily: readonly Mutant[] = [
  ...kernel('gemm in WGSL', 'gemm.wgsl', 'gemm', direct, [
    ['constant', 'a.z * b[2]', 'a.z * b[1]'],
    ['bound', 'min(p.k, (slice + 1u) * p.depth)', 'min(p.k - 1u, (slice + 1u) * p.depth)'],
    ['bound', 'if (row < p.m) { putC', 'if (row + 1u < p.m) { putC'],
    ['index', 'row + 2u, column, block[2]', 'row + 2u, column, block[3]'],
  ]),
  ...kernel('gemm in WGSL', 'gemm.ts', 'gemm', direct, [
    ['bound', 'if (column + 2u < p.n) { storeC', 'if (column + 3u < p.n) { storeC'],
    ['index', 'storeC(at + 2u, v.z)', 'storeC(at + 2u, v.w)'],
  ]),
  ...kernel('gemm staged', 'gemmStaged.wgsl', 'gemm', staged, [
    ['constant', 'first += TILE_K', 'first += BLOCKS_K'],
    ['bound', 'i < (BLOCKS_M + BLOCKS_N) * BLOCKS_K; i +=', 'i < (BLOCKS_M + BLOCKS_N) * BLOCKS_K - 1u; i +='],
    ['index', 'stageB[at + 2u * NEXT] = block[2];', 'stageB[at + 2u * NEXT] = block[3];'],
  ]),
  ...kernel('gemm direct', 'gemmDirect.wgsl', 'gemm', direct, [
    ['constant', 'k += 4u', 'k += 8u'],
    ['bound', 'k < tile.end;', 'k + 4u < tile.end;'],
    ['index', '4u * (lane / ACROSS)', '4u * (lane % ACROSS)'],
  ]),
  ...kernel('gemm slices', 'gemmSlices.wgsl', 'gemm', slices, [
    ['bound', 'slice < p.slices', 'slice + 1u < p.slices'],
    ['index', 'loadX(slice * p.count + i)', 'loadX(slice + i)'],
  ]),
  ...kernel('gemm slices', 'tiles.ts', 'gemm', slices, [
    ['bound', 'slices: most === 1 ? 1 : ceilDiv(k, depth)', 'slices: most === 1 ? 1 : Math.floor(k / depth)'],
  ]),
  ...kernel('matmul in WGSL', 'matmul.ts', 'gemm', slices, [
    ['constant', 'batchedB ? k * n : 0', 'batchedB ? k * m : 0'],
    ['index', 'transB ? k : n', 'transB ? n : k'],
  ]),
  ...kernel('matmul in WGSL', 'gemm.ts', 'gemm', slices, [
    ['index', "alongK === (name === 'A')", "alongK !== (name === 'A')"],
  ]),
];

const convFamily: readonly Mutant[] = [
  ...kernel('conv2d in WGSL', 'conv2d.wgsl', 'gemm', convolves, [
    ['constant', 'y * p.strideY + u32(p.offsetY)', 'y * p.strideX + u32(p.offsetY)'],
    ['bound', 'at >= vec4<u32>(2u * size)', 'at > vec4<u32>(2u * size)'],
    ['index', '(y.x * p.inColumns + x.x)', '(y.x * p.inRows + x.x)'],
  ]),
  ...kernel('conv2d in WGSL', 'conv2d.ts', 'gemm', convolves, [
    ['constant', 'everyRow: rows.every * g.columns.size', 'everyRow: g.columns.size'],
    ['bound', ' && a.outSize === a.size', ''],
    ['index', 'firstPixel: rows.place * g.columns.size', 'firstPixel: rows.place * g.rows.size'],
  ]),
  ...kernel('conv2d input gradient in WGSL', 'conv2dInputGrad.wgsl', 'gemm', convolves, [
    ['constant', 'eachB(at + 2u * p.wLine)', 'eachB(at + p.wLine)'],
    ['index', 'taps.x * u32(p.wStepX)', 'taps.x * u32(p.wStepY)'],
  ]),
];

const depthwiseFamily: readonly Mutant[] = [
  ...kernel('depthwise in WGSL', 'depthwise.wgsl', 'depthwise', windowGradient, [
    ['bound', '|| column >= p.outColumns', '|| column + 1u >= p.outColumns'],
    ['index', 'line / p.tilesDown, line % p.tilesDown', 'line % p.tilesDown, line / p.tilesDown'],
  ]),
  ...kernel('depthwise in WGSL', 'depthwisePixels.wgsl', 'depthwise', weightGradient, [
    ['bound', 'u32(column) < p.inColumns', 'u32(column) <= p.inColumns'],
    ['index', 'u32(row)) * p.inColumns', 'u32(row)) * p.inRows'],
  ]),
  ...kernel('depthwise in WGSL', 'depthwise.ts', 'depthwise', windowGradient, [
    ['bound', 'ceilDiv(madeOf(pass, columns), across)', 'Math.floor(madeOf(pass, columns) / across)'],
  ]),
  ...kernel('depthwise by taps in WGSL', 'depthwiseTaps.wgsl', 'depthwise', windowGradient, [
    ['constant', '-i32(step * dilation / stride)', '-i32(step)'],
    ['bound', 'u32(far) / dilation + 1u', 'u32(far) / dilation'],
    ['index', '(r * p.kernelColumns + s)', '(r * p.kernelRows + s)'],
  ]),
  ...kernel('depthwise weight gradient in WGSL', 'depthwiseWeightGrad.wgsl', 'depthwise', weightGradient, [
    ['constant', '(p.channelGroups * p.tapGroups) * PARTS', '(p.channelGroups * p.tapGroups) * COLUMNS'],
    ['bound', 'min(p.tiles, (block + 1u) * p.block)', 'min(p.tiles - 1u, (block + 1u) * p.block)'],
    ['index', '+ lane / COLUMNS;', '+ lane % PARTS;'],
  ]),
  ...kernel('depthwise weight gradient in WGSL', 'depthwise.ts', 'depthwise', weightGradient, [
    ['constant', 'tapGroup / p.tapColumns * p.dilationRows', 'tapGroup % p.tapColumns * p.dilationRows'],
    ['index', 'loadX(r * p.columns + i)', 'loadX(r + i)'],
  ]),
];

const reduceFamily: readonly Mutant[] = [
  ...kernel('batchNorm in WGSL', 'batchNorm.wgsl', 'moments', moments, [
    ['constant', '(a.n * share)', '(b.n * share)'],
    ['index', 'a.mean + d * share', 'b.mean + d * share'],
  ]),
  ...kernel('batchNorm in WGSL', 'batchNormRows.wgsl', 'moments', moments, [
    ['constant', '* 0.125f', '* 0.25f'],
    ['bound', 'firstRow + 8u > p.rows', 'firstRow + 7u > p.rows'],
    ['index', '(x0 - loadX(c)) + mean', '(x1 - loadX(c)) + mean'],
  ]),
  ...kernel('batchNorm in WGSL', 'batchNorm.ts', 'moments', moments, [
    ['constant', 'i + 2u * (i / p.columns)', 'i + (i / p.columns)'],
    ['bound', 'min(p.blockRows, p.rows - block * p.blockRows)', 'p.blockRows'],
    ['index', 'storePart(at + p.columns, sums.mean)', 'storePart(at + p.columns, sums.sum)'],
  ]),
  ...kernel('reduce in WGSL', 'reduce.wgsl', 'reduce', oddColumns, [
    ['bound', 'k < min(PARTS, FEW)', 'k + 1u < min(PARTS, FEW)'],
    ['index', 'parts[lane + k * COLUMNS]', 'parts[lane + k]'],
  ]),
  ...kernel('reduce in WGSL', 'reduce.wgsl', 'reduce', 'reductions \\[3,5000\\]', [
    ['constant', 'var k = part + FEW;', 'var k = part + 2u * FEW;'],
  ]),
  ...kernel('reduce with subgroups', 'reduceSubgroups.wgsl', 'reduce', 'reductions \\[3,5000\\]', [
    ['bound', 'k < subgroups;', 'k + 1u < subgroups;'],
    ['index', 'bySubgroup[subgroup] = sums', 'bySubgroup[lane] = sums'],
  ]),
  ...kernel('reduce in WGSL', 'reduce.ts', 'reduce', 'reductions \\[3,9001\\]', [
    ['index', '}u * p.red * p.columns)`', '}u * p.red)`'],
  ]),
  ...kernel('reduce in WGSL', 'reduce.ts', 'reduce', 'reductions \\[3,1\\]', [
    ['constant', "max: '-0x1.fffffep+127f'", "max: '0.0f'"],
  ]),
  ...kernel('reduce in WGSL', 'reduce.ts', 'reduce', 'covers every element once', [
    ['bound', 'blocks: Math.max(1, ceilDiv(red, block))', 'blocks: Math.max(1, Math.floor(red / block))'],
  ]),
  ...kernel('argReduce in WGSL', 'reduceArg.ts', 'topK', 'argMax and argMin', [
    ['constant', '(v & 0x7fffffffu) > 0x7f800000u', '(v & 0x7fffffffu) >= 0x7f800000u'],
    ['index', 'a.x == b.x && a.y < b.y', 'a.x == b.x && a.y > b.y'],
  ]),
];

const poolFamily: readonly Mutant[] = [
  ...kernel('pool in WGSL', 'pool.wgsl', 'pool', 'the mean', [
    ['constant', 'min(windows, far / stride + 1u)', 'min(windows, far / stride)'],
    ['bound', 'min(i32(size), start', 'min(i32(size) - 1, start'],
    ['index', '(image * p.windowRows + row) * p.windowColumns', '(image * p.windowRows + row) * p.windowRows'],
  ]),
  ...kernel('average pool in WGSL', 'poolAvg.wgsl', 'pool', 'the mean', [
    ['constant', 'p.kernelRows * p.kernelColumns', 'p.kernelRows * p.kernelRows'],
    ['bound', 'j < across.end; j++) { sum', 'j + 1u < across.end; j++) { sum'],
    ['index', 'columnsOf(j))', 'columnsOf(i))'],
  ]),
  ...kernel('max pool in WGSL', 'poolMax.wgsl', 'pool', maximum, [
    ['constant', '(v > best.value)', '(v >= best.value)'],
    ['bound', 'column < columns.end', 'column + 1u < columns.end'],
    ['index', 'Bits(first))', 'Bits(0u))'],
  ]),
  ...kernel('max pool gradient in WGSL', 'poolMaxGrad.wgsl', 'pool', maximum, [
    ['bound', 'i < down.end', 'i + 1u < down.end'],
    ['index', 'winnerOf(image, i, j, c)', 'winnerOf(image, j, i, c)'],
  ]),
  ...kernel('max pool in WGSL', 'pool.ts', 'pool', maximum, [['index', 'left: padding[2]', 'left: padding[1]']]),
];

const movementFamily: readonly Mutant[] = [
  ...kernel('movement in WGSL', 'movement.wgsl', 'movement', 'GPU repeat', [
    ['bound', 'i < p.count', 'i + 1u < p.count'],
    ['constant', '* 64u + lane', '* 32u + lane'],
  ]),
  ...kernel('movement in WGSL', 'movement.ts', 'movement', 'GPU pad', [
    ['index', 'n + a.before * a.x', 'n + a.before * a.y'],
  ]),
  ...kernel('movement in WGSL', 'movement.ts', 'movement', 'GPU concat', [['bound', ' && last.y === axis.y * n', '']]),
  ...kernel('transposed tiles', 'movementTile.wgsl', 'movement', 'transposes \\[300,400\\]', [
    ['constant', 'tile[along * (SIDE + 1u) + s]', 'tile[along * SIDE + s]'],
    ['bound', 'row + s < p.rows', 'row + s + 1u < p.rows'],
    ['index', '(column + s) * p.columnStep', '(column + s) * p.rowStep'],
  ]),
  ...kernel('join', 'movement.ts', 'movement', 'GPU concat', [
    ['constant', '(at - end) >>> 0', 'at >>> 0'],
    ['index', 'end += elementsOf(x);', 'end = elementsOf(x);'],
  ]),
];

const indexFamily: readonly Mutant[] = [
  ...kernel('gather in WGSL', 'gather.wgsl', 'gather', 'GPU gather$', [
    ['bound', 'index >= p.size', 'index > p.size'],
    ['index', '(row / p.entries) * p.size', '(row / p.size) * p.size'],
  ]),
  ...kernel('gather in WGSL', 'gather.ts', 'gather', 'GPU gather$', [
    ['constant', "'f32' ? 0x7fc00000 : 0", "'f32' ? 0x7f800000 : 0"],
  ]),
  ...kernel('one-hot in WGSL', 'gather.ts', 'gather', 'oneHot', [
    ['index', '4 * column + vec4<i32>(0, 1, 2, 3)', '4 * column + vec4<i32>(0, 1, 3, 2)'],
  ]),
  ...kernel('scatter in WGSL', 'gatherAdd.wgsl', 'gather', 'GPU scatterAdd$', [
    ['constant', 'p.inner + column, 0u, row', 'p.inner + column, 1u, row'],
    ['bound', 'k < p.entries; k++', 'k + 1u < p.entries; k++'],
    ['index', 'sumFrom(top, own, place)', 'sumFrom(top, own + 1u, place)'],
  ]),
  ...kernel('topK in WGSL', 'topK.wgsl', 'topK', 'topK of \\[2,3,33\\]', [
    ['constant', '~float, float > 0x80000000u', '~float, float >= 0x80000000u'],
    ['bound', 'min(LANES, end - base)', 'min(LANES, end - base - 1u)'],
    ['index', 'other.index < own.index', 'other.index > own.index'],
  ]),
  ...kernel('topK in WGSL', 'topK.ts', 'topK', 'topK of \\[2,5000\\]', [
    ['index', 'storeKept(row * p.left + at, index)', 'storeKept(at, index)'],
  ]),
  ...kernel('resize in WGSL', 'resize.wgsl', 'resize', resizes, [
    ['constant', '1.0f - s.weight, s.low == at', 's.weight, s.low == at'],
    ['bound', 'min(low + 1u, a.size - 1u)', 'min(low + 1u, a.size)'],
    ['index', '(bottom + h.low)', '(bottom + h.high)'],
  ]),
  ...kernel('resize in WGSL', 'resize.ts', 'resize', resizes, [
    ['constant', '[2 * n, n - m, 2 * m]', '[2 * n, n + m, 2 * m]'],
    ['bound', 'Math.max(1, m - 1)', 'Math.max(1, m)'],
  ]),
  ...kernel('random in WGSL', 'random.wgsl', 'resize', draws, [
    ['constant', '0x1bd11bdau', '0x1bd11bdbu'],
    ['bound', 'i < 4u', 'i < 3u'],
    ['index', 'vec4<u32>(0u, 1u, 2u, 3u) + k0', 'vec4<u32>(0u, 1u, 3u, 2u) + k0'],
  ]),
  ...kernel('random in WGSL', 'random.ts', 'resize', draws, [['constant', 'stream: stream >>> 0', 'stream: 0']]),
];

const devices = 'test/evaluate/devices.test.ts';
const graphs = 'test/ops/graphs.test.ts';
const pointwise = 'test/kernels/pointwise.test.ts';
const webgpu = 'test/device/webgpu.test.ts';

const expressionFamily: readonly Mutant[] = [
  ...kernel('math in WGSL', 'pointwiseMath.wgsl', 'math', 'stays within its bound', [
    ['constant', '0.041666187f), r, 0.16666512f', '0.041696187f), r, 0.16666512f'],
    ['constant', '0.20002119f), g', '0.20012119f), g'],
    ['constant', '0.008332131f), z', '0.008342131f), z'],
    ['constant', '0.074952416f), z', '0.074972416f), z'],
    ['constant', '0.2402265f), r, 0.6931472f', '0.2402965f), r, 0.6931472f'],
    ['bound', 'a < 0.625f', 'a < 1.625f'],
    ['index', '(k & 2) == 2', '(k & 1) == 1'],
  ]),
  ...kernel('constants in WGSL', 'expressions.ts', 'math', 'sqrt and division', [
    ['constant', '{ f32: v }', '{ f32: i }'],
  ]),
  ...of(
    'pointwise in WGSL',
    'kernels/pointwise.ts',
    graphs,
    [
      ['constant', '}u, p.last)', '}u % 2u, p.last)'],
      ['bound', 'vectors: ceilDiv(n, 4)', 'vectors: Math.floor(n / 4)'],
    ],
    'of whole numbers',
  ),
  ...of('rows in pointwise WGSL', 'kernels/pointwise.ts', pointwise, [['index', ') >> 2u`', ') >> 1u`']], 'and'),
  ...kernel('epilogue in WGSL', 'compose.ts', 'gemm', tails, [
    ['index', '}(i)`;', '}(0u)`;'],
    ['constant', 'whole ? fused.columns / 4 : fused.columns', 'whole ? fused.columns / 2 : fused.columns'],
  ]),
  ...kernel('bytes in WGSL', 'compose.ts', 'movement', 'GPU flip', [
    ['constant', '(value.y << 8u)', '(value.y << 9u)'],
    ['index', '((i & 3u) * 8u)', '((i & 1u) * 8u)'],
  ]),
  ...of(
    'float16 storage',
    'kernels/compose.ts',
    devices,
    [
      ['index', 'unpack2x16float(v.y));', 'unpack2x16float(v.x));'],
      ['index', 'pack2x16float(v.zw)', 'pack2x16float(v.xy)'],
    ],
    'nearly the same with float16',
  ),
];

const planFamily: readonly Mutant[] = [
  ...of(
    'banks',
    'src/plan/arena.ts',
    graphs,
    [
      ['constant', 'if (at + up(b.bytes) <= places[j]!.offset) break;', 'if (at <= places[j]!.offset) break;'],
      ['index', 'at = Math.max(at, places[j]!.offset + up(other.bytes));', 'at = Math.max(at, places[j]!.offset);'],
    ],
    'of smooth functions',
  ),
  ...of(
    'banks',
    'src/plan/arena.ts',
    devices,
    [['bound', 'enemies[j]!.add(i);', 'enemies[i]!.add(i);']],
    'are the same on WebGPU',
  ),
  ...of(
    'links of WebGPU',
    'src/device/webgpuPlan.ts',
    graphs,
    [['index', 'offset + (this.lowered.places.get(id)?.offset ?? 0)', 'offset']],
    'of smooth functions',
  ),
  ...of(
    'views on WebGPU',
    'src/device/lowerWgsl.ts',
    webgpu,
    [
      ['constant', '(from.buffer.offset - start) / size', 'from.buffer.offset - start'],
      ['bound', 'offset % alignment === 0) return o', 'offset % 4 === 0) return o'],
      ['index', 'loadX(4u * i + 1u + p.skip)', 'loadX(4u * i + p.skip)'],
    ],
    'binds views at any offset',
  ),
  ...of(
    'float16 storage',
    'src/device/lowerWgsl.ts',
    devices,
    [['constant', '? bytes / 2 : bytes', '? bytes / 1 : bytes']],
    'half the step memory',
  ),
  ...of(
    'small operands together',
    'src/device/lowerWgsl.ts',
    pointwise,
    [['constant', 'size += 4 * ceilDiv(elementsOf(value), 4);', 'size += 4;']],
    'small operands',
  ),
  ...of(
    'small operands together',
    'kernels/compose.ts',
    pointwise,
    [['index', 'At + 4u * i;', 'At + i;']],
    'in the store of a convolution',
  ),
  ...of(
    'results of WebGPU',
    'src/device/webgpuPlan.ts',
    webgpu,
    [['index', 'at + (buffer.offset % 4)', 'at']],
    'binds views at any offset',
  ),
  ...of(
    'links of WebGPU',
    'src/device/webgpuPlan.ts',
    devices,
    [['constant', 'offset = paramStride * at++', 'offset = 0 * at++']],
    'are the same on WebGPU',
  ),
  ...of(
    'prologue of WebGPU',
    'src/device/webgpuPlan.ts',
    devices,
    [['bound', 'this.watch.due() ? [...prologue, ...main] : main', 'this.watch.due() ? main : main']],
    'are the same on WebGPU',
  ),
  ...of(
    'grids',
    'src/device/webgpuPlan.ts',
    webgpu,
    [['constant', 'x: Math.ceil(n / y)', 'x: Math.floor(n / y)']],
    'at most 65,535 workgroups',
  ),
  ...of(
    'variables',
    'src/device/variables.ts',
    'test/device/wasm.test.ts',
    [
      ['constant', 'movedTo(this.home);\n    copy.writes++;', 'movedTo(this.home);'],
      ['bound', 'copy.version = v.version;\n      copy.writes++;', 'copy.version = v.version;'],
    ],
    'redo the prologue',
  ),
  ...of(
    'variables',
    'src/device/variables.ts',
    webgpu,
    [['index', 'v.home === this.home ? this.copies.get(v)', 'v.home !== this.home ? this.copies.get(v)']],
    'in the order asked for',
  ),
];

export const gpuMutants: readonly Mutant[] = [
  ...gemmFamily,
  ...convFamily,
  ...depthwiseFamily,
  ...reduceFamily,
  ...poolFamily,
  ...movementFamily,
  ...indexFamily,
  ...expressionFamily,
  ...planFamily,
];
