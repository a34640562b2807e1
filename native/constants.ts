/** Lifted constants of an expression (src/expr/liftConstants.ts) as arguments of its kernel. */
import type { ArgType } from './kernel.ts';
import type { Pack } from './math.ts';
import type { F32, Fn, Local } from './wasm.ts';

const nameOf = (i: number) => `k${i}`;

/** Argument words of `count` lifted constants. */
export const constantArgs = (count: number): Record<string, ArgType> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [nameOf(i), 'f32' as const]));

/** Their values for `Emitter.call`. */
export const constantValues = (values: readonly number[]): Record<string, number> =>
  Object.fromEntries(values.map((v, i) => [nameOf(i), v]));

/** One pack per lifted constant, in every lane; call it before the loop. */
export function constantPacks(
  f: Fn,
  args: Readonly<Record<string, unknown>>,
  count: number,
): (width: number) => Pack[] {
  const splats = Array.from({ length: count }, (_, i) => f.let((args[nameOf(i)] as Local<F32>).splat()));
  return (width) => splats.map((s) => Array.from({ length: width }, () => s));
}
