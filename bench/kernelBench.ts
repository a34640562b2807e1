/** Timing of lowerings on one thread: best of many runs, since other load on the machine only ever adds time. */
import type { Emitter, Lowering, Value } from '../native/lower.ts';
import type { KernelRunner } from '../test/helpers/kernelRunner.ts';

/** A function that runs every call of an f32 op in order, on buffers of its own filled with small numbers. */
export function bindLowering<Attrs>(
  lower: Lowering<Attrs>,
  inputs: readonly (readonly number[])[],
  outputs: readonly (readonly number[])[],
  attrs: Attrs,
  runner: KernelRunner,
): () => void {
  const value = (shape: readonly number[]): Value => {
    const n = shape.reduce((a, b) => a * b, 1);
    const id = runner.alloc(4 * n);
    const data = runner.f32(id, n);
    for (let i = 0; i < n; i++) data[i] = ((i * 7919) % 1024) / 1024 - 0.5;
    return { shape, dtype: 'f32', buffer: { id, offset: 0 } };
  };
  const runs: (() => void)[] = [];
  const emitter: Emitter = {
    mode: runner.mode,
    call(kernel, args, chunks) {
      const numbers = Object.fromEntries(
        Object.entries<number | { id: number; offset: number }>(args).map(([k, v]) => [
          k,
          typeof v === 'number' ? v : v.id + v.offset,
        ]),
      );
      runs.push(runner.bind(kernel, numbers as never, chunks));
    },
    temp: (bytes) => ({ id: runner.alloc(bytes), offset: 0 }),
    prepared(_, bytes, emit) {
      const to = this.temp(bytes);
      emit(to);
      return to;
    },
  };
  lower(emitter, inputs.map(value), outputs.map(value), attrs);
  return () => {
    for (const run of runs) run();
  };
}

/** Best time of one run: at least 5 runs and `seconds` of them. */
export function bestSeconds(run: () => void, seconds = 0.15): number {
  let best = Number.POSITIVE_INFINITY;
  run();
  for (let i = 0, spent = 0; i < 5 || spent < seconds; i++) {
    const t = performance.now();
    run();
    const s = (performance.now() - t) / 1e3;
    spent += s;
    best = Math.min(best, s);
  }
  return best;
}
