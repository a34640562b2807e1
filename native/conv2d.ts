/**
 * 2-D convolution in WASM, all three passes: chooses between a plain matrix product (1×1), the depthwise kernels and the
 * implicit GEMM.
 */
import { emitConvProduct } from './convGemm.ts';
import { type ConvAttrs, type ConvGeometry, convGeometry, forwardAxis, gradAxis } from './convGeometry.ts';
import { emitConvWeightGrad } from './convWeightGrad.ts';
import { depthwiseInputGradWasm, depthwiseWasm, depthwiseWeightGradWasm } from './depthwise.ts';
import type { Epilogue } from './epilogue.ts';
import type { Lowering, Value } from './lower.ts';
import { matmulWasm } from './matmul.ts';
import type { Axis } from './window.ts';

export type { ConvAttrs };

/** Attributes of the forward pass: the epilogue's column is the output channel, its row the output pixel. */
export type ConvForwardAttrs = ConvAttrs & { readonly epilogue?: Epilogue };

const isDepthwise = (g: ConvGeometry) => g.groups > 1 && g.groups === g.cin && g.cout === g.cin;

/** A 1×1 convolution that reads every pixel once: rows of channels times a matrix. */
const isMatmul = (g: ConvGeometry) => {
  const plain = (a: Axis) => a.kernel === 1 && a.stride === 1 && a.before === 0 && a.outSize === a.size;
  return g.groups === 1 && plain(g.rows) && plain(g.columns);
};

/** The value as a matrix of rows of its last dimension. */
const flat = (v: Value): Value => {
  const columns = v.shape[v.shape.length - 1] as number;
  return { ...v, shape: [v.shape.slice(0, -1).reduce((a, b) => a * b, 1), columns] };
};

/**
 * y[n, i, j, o] = Σ_{r,s,c} x[n, i·sh + r·dh − top, j·sw + s·dw − left, c] · w[r, s, c, o], c over o's group.
 *
 * Inputs x [N, H, W, Cin], w [kh, kw, Cin/groups, Cout]; output y [N, OH, OW, Cout]. The epilogue, if any, is applied
 * before the store.
 * @throws ShapeError where the shapes do not fit.
 */
export const conv2dWasm: Lowering<ConvForwardAttrs> = (e, [x, w], [y], attrs) => {
  const geometry = convGeometry('conv2d', x!, w!, y!, attrs);
  const { epilogue } = attrs;
  if (isDepthwise(geometry)) return depthwiseWasm(e, [x!, w!], [y!], attrs);
  if (isMatmul(geometry)) {
    const product = { transA: false, transB: false, ...(epilogue ? { epilogue } : {}) };
    return matmulWasm(e, [flat(x!), flat(w!)], [flat(y!)], product);
  }
  const [rows, columns] = [forwardAxis(geometry.rows), forwardAxis(geometry.columns)];
  emitConvProduct(e, { pass: 'forward', geometry, rows, columns, epilogue }, x!.buffer, w!, y!.buffer);
};

/**
 * dx[n, h, v, c] = Σ dy[n, i, j, o] · w[r, s, c, o] over i·sh + r·dh − top = h, j·sw + s·dw − left = v and o in c's group.
 *
 * Inputs dy [N, OH, OW, Cout], w [kh, kw, Cin/groups, Cout]; output dx [N, H, W, Cin].
 * @throws ShapeError where the shapes do not fit.
 */
export const conv2dInputGradWasm: Lowering<ConvAttrs> = (e, [dy, w], [dx], attrs) => {
  const geometry = convGeometry('conv2dInputGrad', dx!, w!, dy!, attrs);
  if (isDepthwise(geometry)) return depthwiseInputGradWasm(e, [dy!, w!], [dx!], attrs);
  if (isMatmul(geometry)) return matmulWasm(e, [flat(dy!), flat(w!)], [flat(dx!)], { transA: false, transB: true });
  for (let p = 0; p < geometry.rows.stride; p++)
    for (let q = 0; q < geometry.columns.stride; q++) {
      const [rows, columns] = [gradAxis(geometry.rows, p), gradAxis(geometry.columns, q)];
      emitConvProduct(e, { pass: 'grad', geometry, rows, columns }, dy!.buffer, w!, dx!.buffer);
    }
};

/**
 * dw[r, s, c, o] = Σ_{n,i,j} x[n, i·sh + r·dh − top, j·sw + s·dw − left, c] · dy[n, i, j, o], c over o's group.
 *
 * Inputs x [N, H, W, Cin], dy [N, OH, OW, Cout]; output dw [kh, kw, Cin/groups, Cout].
 * @throws ShapeError where the shapes do not fit.
 */
export const conv2dWeightGradWasm: Lowering<ConvAttrs> = (e, [x, dy], [dw], attrs) => {
  const geometry = convGeometry('conv2dWeightGrad', x!, dw!, dy!, attrs);
  if (isDepthwise(geometry)) return depthwiseWeightGradWasm(e, [x!, dy!], [dw!], attrs);
  if (isMatmul(geometry)) return matmulWasm(e, [flat(x!), flat(dy!)], [flat(dw!)], { transA: true, transB: false });
  emitConvWeightGrad(e, geometry, x!.buffer, dy!.buffer, dw!.buffer);
};
