/** Initial numbers of parameters. Every rule draws from the parameter's own key. */
import { normal, uniform } from '../core/random.ts';
import { sizeOf } from '../core/shape.ts';
import type { Init } from './module.ts';

export const constantInit =
  (value: number): Init =>
  (_, shape) =>
    new Float32Array(sizeOf(shape)).fill(value);

/** N(0, std²). */
export const normalInit =
  (std: number): Init =>
  (key, shape) =>
    normal(key, sizeOf(shape)).map((x) => x * std);

/** Convolution weights [kh, kw, Cin/groups, Cout]: N(0, 2 / (kh·kw·Cout)), He et al. 2015 with fan-out. */
export const convInit: Init = (key, shape) => {
  const [kh, kw, , out] = shape as [number, number, number, number];
  return normalInit(Math.sqrt(2 / (kh * kw * out)))(key, shape);
};

/** Convolution weights: N(0, 2 / (kh·kw·Cin/groups)), He et al. 2015 with fan-in, which keeps the size of maps going forward. */
export const convFanInInit: Init = (key, shape) => {
  const [kh, kw, inputs] = shape as [number, number, number, number];
  return normalInit(Math.sqrt(2 / (kh * kw * inputs)))(key, shape);
};

/**
 * Uniform in ±sqrt(6 / (fan in + fan out)): Glorot and Bengio 2010, eq. 16. The last two axes are in and out; those before
 * them are a convolution's kernel, which both fans count.
 */
export const xavierUniform: Init = (key, shape) => {
  const [rows, columns] = shape.slice(-2) as [number, number];
  const kernel = sizeOf(shape) / (rows * columns);
  const bound = Math.sqrt(6 / (kernel * (rows + columns)));
  return uniform(key, sizeOf(shape)).map((u) => (2 * u - 1) * bound);
};

/** The same variance from a normal distribution, N(0, 2 / (fan in + fan out)): Glorot and Bengio 2010, eq. 12. */
export const xavierNormal: Init = (key, shape) => {
  const [rows, columns] = shape.slice(-2) as [number, number];
  return normalInit(Math.sqrt(2 / ((sizeOf(shape) / (rows * columns)) * (rows + columns))))(key, shape);
};

/** Uniform in ±1/sqrt(fan in), the last axis being out: PyTorch's default for convolutions and dense layers. */
export const fanInUniform: Init = (key, shape) => {
  const bound = Math.sqrt(shape[shape.length - 1]! / sizeOf(shape));
  return uniform(key, sizeOf(shape)).map((u) => (2 * u - 1) * bound);
};
