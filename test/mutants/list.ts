/**
 * One wrong character at a time: changes to the sources that a test must notice.
 *
 * The one idea: a bound, a constant and an index are flipped in every kernel family and in the parts of the engine that
 * decide order and memory. A change that leaves results as they are (a block size, a hint) is no mutant.
 */

import { gpuMutants } from './gpu.ts';
import { type Change, type Mutant, of } from './mutant.ts';

const native = (family: string, file: string, changes: readonly Change[], test = family): Mutant[] =>
  of(family, `native/${file}.ts`, `test/native/${test}.test.ts`, changes);

/** Kernel families; each has every kind at least once (mutants.test.ts holds it). */
export const kernelMutants: readonly Mutant[] = [
  ...native('matmul', 'matmul', [
    ['constant', 'aBatch: d.batchedA ? 4 * d.m * d.k : 0', 'aBatch: d.batchedA ? 2 * d.m * d.k : 0'],
    [
      'bound',
      'f.let(f.let(start.add(args.rowsPerChunk)).minS(m))',
      'f.let(f.let(start.add(args.rowsPerChunk)).minS(m.sub(1)))',
    ],
    [
      'index',
      'const j0 = f.let(nBlock.mul(args.columnsPerChunk));',
      'const j0 = f.let(mBlock.mul(args.columnsPerChunk));',
    ],
    ['index', 'const batchRow = f.let(batch.mul(m));', 'const batchRow = f.let(batch.mul(n));'],
  ]),
  ...native(
    'gemm',
    'gemm',
    [
      ['constant', 'loadSplat(a.column, 4 * i)', 'loadSplat(a.column, 4 * (i ^ 1))'],
      ['constant', 'f.inc(from, p.tile.nr * 4);', 'f.inc(from, p.tile.mr * 4);'],
      [
        'bound',
        'const vectorEnd = f.let(to.add(k.and(-4).mul(line)));',
        'const vectorEnd = f.let(to.add(k.add(3).and(-4).mul(line)));',
      ],
      ['bound', 'f.while(row.ltS(rows), () => tileRows(mr - 1', 'f.while(row.ltS(rows.sub(1)), () => tileRows(mr - 1'],
      ['index', 'ab0.lanes(cd0, [2, 3, 6, 7])', 'ab0.lanes(cd0, [2, 3, 7, 6])'],
      ['index', 'p.cursor.right(16);', 'p.cursor.right(4);'],
    ],
    'matmul',
  ),
  ...native(
    'packing of B',
    'matmulParts',
    [
      ['constant', 'chunk.mul(k).mul(4 * tile.nr)', 'chunk.mul(k).mul(4 * tile.mr)'],
      ['bound', 'columns: f.let(n.sub(j)),', 'columns: f.let(n.sub(j).sub(1)),'],
      [
        'index',
        'transposed ? j.mul(stride) : j.shl(2))),\n          stride,',
        'transposed ? j.shl(2) : j.shl(2))),\n          stride,',
      ],
    ],
    'matmul',
  ),
  ...native(
    'gemm split and merge',
    'matmulSplit',
    [
      ['constant', 'i.divU(args.rowsPerBlock).mul(tile.mr)', 'i.divU(args.rowsPerBlock).mul(tile.nr)'],
      [
        'bound',
        'f.let(f.let(start.add(args.kPerSplit)).minS(k))',
        'f.let(f.let(start.add(args.kPerSplit)).minS(k.sub(1)))',
      ],
      ['bound', 'f.for(1, args.splits, 1,', 'f.for(2, args.splits, 1,'],
      ['index', 'at.mul(bStride).add(j0.shl(2))', 'at.mul(aStride).add(j0.shl(2))'],
      ['index', 'x.lanes(y, [1, 2, 3, 4])', 'x.lanes(y, [1, 2, 3, 5])'],
    ],
    'matmul',
  ),
  ...native('conv2d', 'convGemm', [
    ['constant', 'const first = grad ? j.mul(4 * cout)', 'const first = grad ? j.mul(4 * toGroup)'],
    ['bound', 'minS(a.columnsPerChunk));', 'minS(a.columnsPerChunk.sub(1)));'],
    ['index', 's.mul(columns.tapStep).add(columns.firstTap)', 's.mul(columns.tapStep)'],
  ]),
  ...native(
    'conv2d as a product',
    'conv2d',
    [
      ['constant', 'return g.groups === 1 && plain(g.rows)', 'return g.groups >= 1 && plain(g.rows)'],
      ['bound', 'q < geometry.columns.stride', 'q < geometry.columns.stride - 1'],
      ['index', 'gradAxis(geometry.columns, q)', 'gradAxis(geometry.columns, p)'],
    ],
    'conv2d',
  ),
  ...native(
    'conv2d geometry',
    'convGeometry',
    [
      ['constant', 'tapStep: -a.stride / common,', 'tapStep: -a.stride,'],
      ['bound', 'Math.ceil((a.size - place) / a.stride)', 'Math.floor((a.size - place) / a.stride)'],
      ['index', '((phase - a.before) % a.stride)', '((phase + a.before) % a.stride)'],
    ],
    'conv2d',
  ),
  ...native(
    'conv2d weight gradient',
    'convWeightGrad',
    [
      ['constant', 'for (let j = whole; j < coutGroup; j += 4)', 'for (let j = whole + 4; j < coutGroup; j += 4)'],
      ['bound', 'f.set(end, end.minS(lines * g.groups));', 'f.set(end, end.minS(lines * g.groups - 1));'],
      ['index', 'row: f.let(block.divU(across).mul(cut.rows))', 'row: f.let(block.remU(across).mul(cut.rows))'],
    ],
    'conv2d',
  ),
  ...native(
    'im2col',
    'im2col',
    [
      ['constant', 'done = n & ~15;', 'done = n & ~7;'],
      ['bound', 'inColumns.sub(columnTaps - 1)', 'inColumns.sub(columnTaps - 2)'],
      ['index', 'f.inc(from, columns.step * pixel);', 'f.inc(from, pixel);'],
    ],
    'conv2d',
  ),
  ...native('depthwise', 'depthwise', [
    ['constant', 'r.cursor.seek(place.pixelNumber, cb.shrU(2)', 'r.cursor.seek(place.pixelNumber, cb.shrU(3)'],
    ['bound', 'f.set(end, end.minS(a.rows));', 'f.set(end, end.minS(a.rows.sub(1)));'],
    ['index', 'inputStep: f.let(inRow.mul(taps.inStep))', 'inputStep: f.let(inRow)'],
  ]),
  ...native(
    '8-bit results',
    'int8',
    [
      ['constant', 'const magicBits = 0x4b400000;', 'const magicBits = 0x4b400001;'],
      ['constant', '? v.pmax(v.mul(slope))', '? v.pmin(v.mul(slope))'],
      ['bound', 'v.pmax(splats.low).pmin(splats.high)', 'v.pmax(splats.low)'],
      ['bound', 'if (attrs.residual) f.copy(edge, args.residual.add(place), count);', ''],
      ['index', 'loadV128(place, 16))] as const', 'loadV128(place, 0))] as const'],
    ],
    'int8',
  ),
  ...native(
    '8-bit products',
    'int8Product',
    [
      ['constant', 'const paddedK = (k: number) => (k + 3) & ~3;', 'const paddedK = (k: number) => k & ~3;'],
      ['bound', 'f.while(src.ltU(end), one);', 'f.while(src.ltU(wholes), one);'],
      ['bound', 'f.if(left.gtS(0), () => store.some', 'f.if(left.gtS(1), () => store.some'],
      ['index', 'const x = f.let(loadSplat(rows[i]!, 4 * step));', 'const x = f.let(loadSplat(rows[i]!, 0));'],
      ['index', '.add(row.and(1).shl(1))', '.add(row.and(1))'],
    ],
    'int8',
  ),
  ...native(
    '8-bit depthwise',
    'int8Depthwise',
    [
      ['constant', 'const ring = (rows.kernel - 1) * rows.dilation + 1;', 'const ring = rows.kernel;'],
      ['bound', 'else f.if(left.gtS(t), one);', 'else one();'],
      ['bound', 'f.if(\n            y.ltU(rows.size),', 'f.if(\n            y.ltS(rows.size),'],
      ['index', '(i * columns.kernel + s) * 4 * eight(channels)', '(i + s * columns.kernel) * 4 * eight(channels)'],
    ],
    'int8',
  ),
  ...native(
    'depthwise window',
    'window',
    [
      [
        'constant',
        'column: output * a.stride + tap * a.dilation - a.before',
        'column: output * a.stride + tap - a.before',
      ],
      ['bound', 'Math.max(...feeds.map((x) => x.column)) + 1;', 'Math.max(...feeds.map((x) => x.column));'],
      ['bound', 'i32(a.dilation - 1)', 'i32(a.dilation)'],
      [
        'index',
        'count: f.let(end.sub(first)),\n    input: f.let(start.add(first.mul(a.dilation))),',
        'count: f.let(end.sub(first)),\n    input: f.let(start.add(first)),',
      ],
    ],
    'depthwise',
  ),
  ...native(
    'depthwise input gradient',
    'window',
    [
      ['constant', 'inStep: -(step * a.dilation) / a.stride,', 'inStep: -step / a.stride,'],
      ['bound', 't.geS(0).and(t.ltS(limit))', 't.geS(1).and(t.ltS(limit))'],
      [
        'index',
        'const column = (output + a.before - tap * a.dilation) / a.stride;',
        'const column = (output + a.before + 1 - tap * a.dilation) / a.stride;',
      ],
    ],
    'depthwise',
  ),
  ...native(
    'depthwise weight gradient',
    'depthwiseWeightGrad',
    [
      [
        'constant',
        'const sums = f.let(a.partials.add(chunk.mul(wBytes)));',
        'const sums = f.let(a.partials.add(chunk.mul(tapRow)));',
      ],
      ['bound', 'f.while(left.gtS(0), () => {', 'f.while(left.gtS(1), () => {'],
      [
        'index',
        'const weight = f.let(sums.add(taps.first.mul(tapRow)));',
        'const weight = f.let(sums.add(taps.first.mul(pixel)));',
      ],
    ],
    'depthwise',
  ),
  ...native(
    'global depthwise',
    'depthwiseGlobal',
    [
      [
        'constant',
        'const out = f.let(a.dx.add(image.mul(a.map)));',
        'const out = f.let(a.dx.add(image.mul(a.pixel)));',
      ],
      ['bound', 'const end = f.let(dw.add(a.rowBytes));', 'const end = f.let(dw.add(a.rowBytes.sub(a.pixel)));'],
      ['index', 'f.inc(x, a.rowBytes);', 'f.inc(x, a.pixel);'],
    ],
    'depthwise',
  ),
  ...native('pool', 'pool', [
    ['constant', 'f32(rows.kernel * columns.kernel)', 'f32(rows.kernel * rows.kernel)'],
    ['bound', 'f.set(to, to.minS(a.size));', 'f.set(to, to.minS(a.size - 1));'],
    ['bound', 'p.sub(a.kernel - a.stride).divS(a.stride)', 'p.sub(a.kernel).divS(a.stride)'],
    ['index', 'i32(line).sub(across.to.sub(across.from).mul(pixel))', 'i32(line).sub(across.to.mul(pixel))'],
  ]),
  ...native(
    'lanes',
    'lanes',
    [
      ['constant', 'const rest = channels & ~3;', 'const rest = channels & ~1;'],
      ['bound', 'f.for(4 * rest, 4 * channels, 4,', 'f.for(4 * rest, 4 * channels - 4, 4,'],
      ['index', 'body(i32(4 * pairs), quadLanes)', 'body(i32(pairs), quadLanes)'],
    ],
    'pool',
  ),
  ...native('resize', 'resize', [
    ['constant', '.sub(0.5)\n          .max(0)', '.sub(0.25)\n          .max(0)'],
    ['bound', 'f.set(high, high.minS(n - 1));', 'f.set(high, high.minS(n));'],
    ['index', '{ at: s.high, weight: s.weight },', '{ at: s.low, weight: s.weight },'],
  ]),
  ...native('pointwise', 'pointwise', [
    ['constant', 'Math.ceil(allRows / rows) * blocks', 'Math.floor(allRows / rows) * blocks'],
    ['bound', 'const body = f.let(count.and(-8));', 'const body = f.let(count.add(7).and(-8));'],
  ]),
  ...of('pointwise', 'src/core/axes.ts', 'test/native/pointwise.test.ts', [
    ['index', 'out[i] = n === 1 ? 0 : step;', 'out[i] = step;'],
  ]),
  ...native(
    'constants',
    'constants',
    [['bound', 'Array.from({ length: count }, (_, i) => f.let(', 'Array.from({ length: 1 }, (_, i) => f.let(']],
    'pointwise',
  ),
  ...of('constants', 'src/expr/liftConstants.ts', 'test/native/pointwise.test.ts', [
    ['constant', 'at = values.push(e.value) - 1;', 'at = values.push(e.value);'],
    ['index', 'values.findIndex((v) => Object.is(v, e.value))', 'values.findIndex((v) => v !== e.value)'],
  ]),
  ...native(
    'elements',
    'elements',
    [
      ['constant', 'min(f32x4(255))', 'min(f32x4(256))'],
      ['bound', '.toFloat() : x.igtS(i32x4(0))', '.toFloat() : x.igtS(i32x4(1))'],
      ['index', '[0, 4, 8, 12, 16, 20, 24, 28,', '[0, 4, 8, 12, 20, 16, 24, 28,'],
    ],
    'pointwise',
  ),
  ...native('reduce', 'reduce', [
    ['constant', 'max: Number.NEGATIVE_INFINITY', 'max: 0'],
    ['bound', "f.set(r1, r1.minS(arg('red')));", "f.set(r1, r1.minS(arg('red').sub(1)));"],
    ['bound', 'f.for(body, count, 1, (i) => emit(i, 0));', 'f.for(body, count.sub(1), 1, (i) => emit(i, 0));'],
    ['index', "[r0, i32(access === 'along' ? 1 : 0)]", "[r0, i32(access === 'along' ? 2 : 0)]"],
  ]),
  ...native(
    'argReduce',
    'argReduce',
    [
      ['constant', 'now[h]!.iadd(i32x4(8))', 'now[h]!.iadd(i32x4(7))'],
      ['bound', 'f.for(body, red, 1, (i) => {', 'f.for(body, red.sub(1), 1, (i) => {'],
      ['index', 'f.let(i32x4(4, 5, 6, 7))', 'f.let(i32x4(4, 5, 7, 6))'],
      ['index', 'v.eq(value).and(i.ltS(place))', 'v.eq(value).and(i.gtS(place))'],
    ],
    'reduce',
  ),
  ...native('batchNorm', 'batchNorm', [
    ['constant', 'before.mul(share).splat()', 'n.mul(share).splat()'],
    ['bound', 'f.set(r1, r1.minS(rows));', 'f.set(r1, r1.minS(rows.sub(1)));'],
    ['bound', 'left.minS(length).toF32()', 'length.toF32()'],
    ['index', 'scratch.add(i.sub(i0).mul(12))', 'scratch.add(i.sub(i0).mul(8))'],
  ]),
  ...native('movement', 'movement', [
    ['constant', 'start += x.shape[axis]!;', 'start += 1;'],
    ['bound', 'const end8 = f.let(end.sub(7));', 'const end8 = f.let(end.sub(6));'],
    ['index', 'Math.min(n, pads[k]![0] + x!.shape[k]!)', 'Math.min(n, pads[k]![1] + x!.shape[k]!)'],
  ]),
  ...native(
    'strided copy',
    'stridedCopy',
    [
      ['constant', 'dst = at(dst, x.d * (x.n - 1));', 'dst = at(dst, x.d * x.n);'],
      ['bound', 'last.s === x.s * x.n && last.d === x.d * x.n', 'last.s === x.s * x.n'],
      [
        'index',
        'srcStrides[k]! * bytes, d: dstStrides[k]! * bytes',
        'srcStrides[k]! * bytes, d: srcStrides[k]! * bytes',
      ],
    ],
    'movement',
  ),
  ...native(
    'panels',
    'panels',
    [
      ['constant', 'i32(16).sub(end.sub(d))', 'i32(15).sub(end.sub(d))'],
      ['bound', 'select(bi.add(1).eq(a.rowBlocks)', 'select(bi.eq(a.rowBlocks)'],
      ['index', 'lo01.lanes(lo23, [2, 3, 6, 7])', 'lo01.lanes(lo23, [2, 3, 7, 6])'],
    ],
    'movement',
  ),
  ...native(
    'cast',
    'cast',
    [
      ['constant', 'v.ieq(i32x4(0)).not()', 'v.ieq(i32x4(1)).not()'],
      ['bound', 'const end16 = f.let(end.sub(15));', 'const end16 = f.let(end.sub(14));'],
      ['index', 'narrowU8(out[2].narrowI16(out[3]))', 'narrowU8(out[3].narrowI16(out[2]))'],
    ],
    'movement',
  ),
  ...native('gather', 'gather', [
    ['constant', 'const wordNaN = 0x7fc00000;', 'const wordNaN = 0x7f800000;'],
    ['bound', 'index.ltU(a.size),\n        () => emitCopy', 'index.leU(a.size),\n        () => emitCopy'],
    ['index', 'o.mul(a.indexOuter).add(k.mul(a.inner))', 'o.mul(a.indexOuter).add(k)'],
  ]),
  ...native(
    'scatter',
    'gather',
    [
      ['constant', 'f.storeF32(d.add(index.shl(2)), 1)', 'f.storeF32(d.add(index.shl(2)), 2)'],
      ['bound', 'f.while(left.geS(8), () => {', 'f.while(left.geS(7), () => {'],
      ['index', 'f.set(place, loadI32(list).sub(low));', 'f.set(place, loadI32(list));'],
      ['index', 'f.set(from, o.mul(a.count).mul(pitch).add(col.shl(2)));', 'f.set(from, o.mul(a.count).mul(pitch));'],
    ],
    'gather',
  ),
  ...native('random', 'random', [
    ['constant', '0x1bd11bda', '0x1bd11bdb'],
    ['constant', '[13, 15, 26, 6, 17, 29, 16, 24]', '[13, 15, 26, 6, 17, 29, 24, 16]'],
    ['bound', 'left.geS(8)', 'left.geS(7)'],
    ['index', 'iadd(i32x4(4, 5, 6, 7))', 'iadd(i32x4(5, 4, 6, 7))'],
  ]),
  ...native('topK', 'topK', [
    ['constant', 'bits.shrS(31).and(0x7fffffff)', 'bits.shrS(31).and(0x3fffffff)'],
    ['bound', 'f.while(size.geS(1), () => {', 'f.while(size.geS(2), () => {'],
    ['bound', 'f.set(i, k.shrU(1).sub(1));', 'f.set(i, k.shrU(1).sub(2));'],
    ['index', 'a.eq(b).and(j.ltS(i))', 'a.eq(b).and(i.ltS(j))'],
  ]),
  ...native('math', 'math', [
    ['constant', '0.16666512, 0.041666187', '0.16666512, 0.041696187'],
    ['constant', '0.20002119, -0.16667996', '0.20012119, -0.16667996'],
    ['constant', '0.008332131, -0.0001951084', '0.008342131, -0.0001951084'],
    ['constant', '0.074952416, 0.0454771', '0.074972416, 0.0454771'],
    ['constant', '0.13331492, -0.053743534', '0.13341492, -0.053743534'],
    ['constant', '0.2402265, 0.055503245', '0.2402265, 0.055513245'],
    ['bound', 'a.pmin(v.c(89))', 'a.pmin(v.c(88))'],
    ['bound', 's.select(b, t.lt(v.c(0.625)))', 's.select(b, t.lt(v.c(1.625)))'],
    ['index', 'q.ishrU(1).ishl(31)', 'q.ishrU(2).ishl(31)'],
  ]),
  ...native(
    'epilogue',
    'epilogue',
    [
      [
        'constant',
        "if (kind === 'row') this.f.inc(this.place[i] as Local<I32>, 4);",
        "if (kind === 'row') this.f.inc(this.place[i] as Local<I32>, 8);",
      ],
      ['bound', 'this.fresh(b, offset + 16)', 'this.fresh(b, offset)'],
      ['index', 'i32(row).mul(columns).add(column)', 'i32(row).mul(columns)'],
    ],
    'matmul',
  ),
];

const graphs = 'test/ops/graphs.test.ts';
const device = 'test/device/wasm.test.ts';
const readers = 'test/plan/readers.test.ts';

/** Order, memory, differentiation, update. */
export const engineMutants: readonly Mutant[] = [
  ...of('kernel', 'native/kernel.ts', 'test/native/matmul.test.ts', [
    ['bound', 'f.while(next.ltS(count), () => {', 'f.while(next.ltS(count.sub(1)), () => {'],
  ]),
  ...of('fuse', 'src/plan/fuse.ts', graphs, [
    [
      'bound',
      '!canBind(sizes, s.outputs.length + 1) || fresh.some((o) => readyAt(o.tensor) >= i)',
      '!canBind(sizes, s.outputs.length + 1)',
    ],
    ['index', 'E.input(1 + rest.findIndex((r) => r.id === t.id))', 'E.input(1)'],
    [
      'constant',
      'else if (strides[i] !== expected) return undefined;',
      'else if (strides[i] === -1) return undefined;',
    ],
  ]),
  ...of('merging', 'src/plan/fuse.ts', device, [
    ['constant', 'JSON.stringify(node.attrs, exactly)', 'JSON.stringify(node.attrs)'],
  ]),
  ...of('epilogue fusion', 'src/plan/fuse.ts', readers, [['bound', '        uses.get(x.id) !== 1 ||\n', '']]),
  ...of('arena', 'src/plan/arena.ts', graphs, [
    [
      'bound',
      'other.end < b.start || other.start > b.end) continue;\n      if (at + align',
      'other.end <= b.start || other.start > b.end) continue;\n      if (at + align',
    ],
    ['constant', 'if (at + align(b.bytes) <= offsets[j]!) break;', 'if (at <= offsets[j]!) break;'],
    ['index', 'at = Math.max(at, offsets[j]! + align(other.bytes));', 'at = Math.max(at, offsets[j]!);'],
  ]),
  ...of('liveness', 'src/plan/lower.ts', graphs, [
    ['bound', 'for (const { buffer } of outputs.values()) extend(buffer.id, touches.length);', ''],
  ]),
  ...of('barriers', 'src/device/lowerWasm.ts', 'test/plan/barriers.test.ts', [
    ['bound', '      r.some((x) => writes.some((y) => overlap(x, y)));', '      false;'],
    ['index', 'a[1] < b[2] && b[1] < a[2]', 'a[1] < b[1] && b[1] < a[2]'],
  ]),
  ...of('assignment', 'src/plan/lower.ts', readers, [
    ['bound', 'i < made || i === made || readsOf(s)', 'i <= made || true || readsOf(s)'],
  ]),
  ...of('prologue', 'src/device/variables.ts', device, [
    ['index', 'now.some((n, i) => n !== this.seen![i])', 'now.some((n, i) => n < this.seen![i]!)'],
  ]),
  ...of('grad', 'src/grad.ts', 'test/ops/generated.test.ts', [
    ['constant', 'before ? add(before, dy) : dy', 'before ?? dy'],
    ['bound', 'for (const node of order.reverse()) {', 'for (const node of order.reverse().slice(1)) {'],
  ]),
  ...of('diff', 'src/expr/diff.ts', 'test/expr/expr.test.ts', [
    ['constant', 'sub(1, mul(e, e))', 'sub(2, mul(e, e))'],
    ['index', 'choose(ge(a, b), d(a), d(b))', 'choose(ge(a, b), d(b), d(a))'],
  ]),
  ...of('sgd', 'src/optim/sgd.ts', 'test/optim/sgd.test.ts', [
    ['constant', 'nesterov ? add(g, mul(v, momentum)) : v', 'nesterov ? mul(v, momentum) : v'],
    ['index', 'decayed(gradient, p, decay(p))', 'decayed(p.tensor, p, decay(p))'],
  ]),
  ...of('accumulate', 'src/plan/accumulate.ts', 'test/train/step.test.ts', [
    ['constant', 'mul(t, 1 / parts)', 'mul(t, 1 / (parts + 1))'],
    ['index', 'blocks.map((b) => b[i]!)', 'blocks.map((b) => b[0]!)'],
  ]),
];

export const mutants: readonly Mutant[] = [...kernelMutants, ...gpuMutants, ...engineMutants];
