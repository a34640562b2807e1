/** Inference of a whole network: MobileFaceNet at 112x112, its weights those that every peer is given. */
import { compile } from '../src/compile.ts';
import { host } from '../src/core/tensor.ts';
import type { Device, Executable } from '../src/device/device.ts';
import { WasmDevice } from '../src/device/wasm.ts';
import { WebGpuDevice } from '../src/device/webgpu.ts';
import { MobileFaceNet } from '../src/models/mobileFaceNet.ts';
import type { ConvBlock } from '../src/nn/layers.ts';
import { matmul } from '../src/ops/matmul.ts';
import type { ModeName } from './machine.ts';
import { faces, matrices, mobileFaceNet, multiplications } from './peers/net.ts';
import { profilePlan } from './profile.ts';
import { sampleAll, type Work } from './sample.ts';
import { type Amount, type Ceilings, type Result, resultOf, type Summary } from './table.ts';
import type { TracedRun } from './trace.ts';

/** MobileFaceNet with the weights of `mobileFaceNet()`: batch norms that add a bias and do nothing else. */
export function peerNetwork(): MobileFaceNet {
  const net = new MobileFaceNet();
  for (const l of mobileFaceNet()) {
    const path = l.name.split('.');
    const block = (path[0] === 'blocks'
      ? net.blocks[Number(path[1])]![path[2] as 'expand']
      : net[path[0] as 'stem']) as unknown as ConvBlock;
    const { conv, bn, prelu } = block;
    conv.weight.write(l.weight);
    bn.weight!.write(new Float32Array(l.cout).fill(1));
    bn.bias.write(l.bias);
    bn.runningMean.write(new Float32Array(l.cout));
    bn.runningVar.write(new Float32Array(l.cout).fill(1 - bn.eps));
    if (l.slope) prelu!.weight.write(l.slope);
  }
  return net;
}

/** The device of a mode; threads count on WASM alone. */
export const openModeDevice = (mode: ModeName, threads: number): Promise<Device> =>
  mode === 'webgpu' ? WebGpuDevice.create() : WasmDevice.create({ threads });

export interface Engine {
  readonly device: Device;
  /** Embeddings of faces [batch, 112, 112, 3], weights folded and packed beforehand. */
  forward(batch: number): () => Promise<Float32Array>;
  /** The plan of `forward` and its inputs. */
  plan(batch: number): Promise<{ plan: Executable; inputs: ReadonlyMap<string, Float32Array> }>;
  /** The product of two [n, n] matrices. */
  product(n: number): () => Promise<Float32Array>;
}

/** Our engine as one of those compared: what it is given and gives is host data, as with the others. */
export async function openEngine(threads: number, mode: ModeName): Promise<Engine> {
  const device = await openModeDevice(mode, threads);
  const net = peerNetwork();
  const embed = compile(({ x }, ctx) => net.call(x!, ctx), { device });
  const multiply = compile(({ a, b }) => matmul(a!, b!), { device });
  return {
    device,
    forward(batch) {
      const x = host(faces(batch), [batch, 112, 112, 3]);
      return async () => (await embed({ x })).result!.data as Float32Array;
    },
    async plan(batch) {
      const shape = [batch, 112, 112, 3];
      return { plan: await embed.plan({ x: { shape, dtype: 'f32' } }), inputs: new Map([['x', faces(batch)]]) };
    },
    product(n) {
      const [a, b] = matrices(n).map((m) => host(m, [n, n])) as [ReturnType<typeof host>, ReturnType<typeof host>];
      return async () => (await multiply({ a, b })).result!.data as Float32Array;
    },
  };
}

export interface ForwardOptions {
  readonly mode: ModeName;
  readonly batches: readonly number[];
  readonly threads: readonly number[];
  readonly seconds: number;
  /** Time every kernel call, with the most threads. */
  readonly profile: boolean;
  readonly log: (line: string) => void;
}

export async function benchForward(
  { mode, batches, threads, seconds, profile, log }: ForwardOptions,
  ceilings: Ceilings,
): Promise<{ results: Result[]; summaries: Summary[]; profiles: TracedRun[] }> {
  const flop = 2 * multiplications(mobileFaceNet());
  const engines = await Promise.all(threads.map((n) => openEngine(n, mode)));
  const results: Result[] = [];
  for (const batch of batches) {
    const amounts = threads.map(
      (n): Amount => ({ work: `forward b${batch}`, threads: n, mode, flops: batch * flop, items: batch }),
    );
    const works = engines.map((e, i): Work => {
      const run = e.forward(batch);
      return { name: `${amounts[i]!.work} ${threads[i]}`, run: () => run().then(() => undefined) };
    });
    const times = await sampleAll(works, { seconds });
    times.forEach((ms, i) => {
      results.push(resultOf(amounts[i]!, ms, ceilings));
    });
  }
  const profiles: TracedRun[] = [];
  const { device, plan: planOf } = engines[engines.length - 1]!;
  for (const batch of profile ? batches : []) {
    const { plan, inputs } = await planOf(batch);
    const traced = await profilePlan(plan, inputs, { mode, device, name: `forward b${batch}`, log });
    if (traced) profiles.push(traced);
  }
  await Promise.all(engines.map((e) => e.device.dispose()));
  const summaries: Summary[] = batches.flatMap((batch) => {
    const rows = results.filter((r) => r.work === `forward b${batch}`);
    const [one, many] = [rows[0]!, rows[rows.length - 1]!];
    return one === many
      ? []
      : [
          {
            what: `forward b${batch}: ${many.threads} threads against ${one.threads}`,
            mode,
            value: one.bestMs / many.bestMs,
            unit: 'x' as const,
          },
        ];
  });
  return { results, summaries, profiles };
}
