/** Runs a lowering with the chunks of every call in descending order: what a chunk writes must not depend on it. */
import { blockHeaderWords } from '../../native/kernel.ts';
import type { Buffer, Emitter, Lowering, Value } from '../../native/lower.ts';
import type { KernelRunner } from './kernelRunner.ts';

type Host = { readonly data: Float32Array; readonly shape: readonly number[] };

export function runReversed<Attrs>(
  lower: Lowering<Attrs>,
  inputs: readonly Host[],
  outputs: readonly (readonly number[])[],
  attrs: Attrs,
  runner: KernelRunner,
): Float32Array[] {
  const value = (shape: readonly number[], address: number): Value => ({
    shape,
    dtype: 'f32',
    buffer: { id: address, offset: 0 },
  });
  const ins = inputs.map((x) => value(x.shape, runner.put(x.data)));
  const counts = outputs.map((shape) => shape.reduce((a, b) => a * b, 1));
  const outs = outputs.map((shape, i) => value(shape, runner.alloc(4 * (counts[i] as number))));
  const scratch = runner.alloc(8 << 20);
  const emitter: Emitter = {
    mode: runner.mode,
    temp: (bytes) => ({ id: runner.alloc(bytes), offset: 0 }),
    prepared(_, bytes, emit) {
      const to = this.temp(bytes);
      emit(to);
      return to;
    },
    call(kernel, args, chunks) {
      const instance = new WebAssembly.Instance(new WebAssembly.Module(kernel.encode(runner.mode)), {
        env: { memory: runner.memory },
      });
      const run = instance.exports.run as (block: number, scratch: number) => void;
      const values = args as Readonly<Record<string, number | Buffer>>;
      const names = Object.keys(kernel.args);
      const counter = runner.alloc(4);
      const block = runner.alloc(4 * (blockHeaderWords + names.length));
      const words = new DataView(runner.memory.buffer, block);
      words.setInt32(0, counter, true);
      names.forEach((name, i) => {
        const v = values[name] as number | Buffer;
        words.setInt32(4 * (blockHeaderWords + i), typeof v === 'number' ? v : v.id + v.offset, true);
      });
      for (let chunk = chunks - 1; chunk >= 0; chunk--) {
        runner.i32(counter, 1)[0] = chunk;
        words.setInt32(4, chunk + 1, true);
        run(block, scratch);
      }
    },
  };
  lower(emitter, ins, outs, attrs);
  return outs.map((y, i) => runner.f32(y.buffer.id, counts[i] as number).slice());
}
