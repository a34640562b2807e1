/** What TensorFlow wrote and made of its own models (reference/tensorflowModels.py). */
import { compile } from '../../../src/compile.ts';
import { host } from '../../../src/core/tensor.ts';
import type { Device } from '../../../src/device/device.ts';
import { graphNetwork } from '../../../src/models/graph/network.ts';
import type { Graph } from '../../../src/models/graph/spec.ts';
import { reference } from '../../helpers/reference.ts';

export interface Numbers {
  readonly shape: readonly number[];
  /** Little-endian float32 in base64. */
  readonly data: string;
}
export interface Made {
  readonly input: Numbers;
  readonly outputs: Readonly<Record<string, Numbers>>;
}
interface Models {
  readonly graphs: Readonly<Record<string, Made & { readonly graph: string }>>;
  readonly tfjs: Readonly<
    Record<string, Made & { readonly model: Record<string, unknown>; readonly shards: string[] }>
  >;
  readonly checkpoint: {
    readonly index: string;
    readonly data: string;
    readonly old: string;
    readonly tensors: Readonly<Record<string, Numbers>>;
  };
}

export const models = reference('tensorflowModels') as Models;

export const bytesOf = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'));
export const floats = ({ data }: Numbers): Float32Array => new Float32Array(bytesOf(data).buffer);

/** Files of a TFJS model of `models`, or of one like it. */
export const tfjsFiles = ({ model, shards }: Pick<Models['tfjs'][string], 'model' | 'shards'>) => ({
  'model.json': new TextEncoder().encode(JSON.stringify(model)),
  'group1-shard1of2.bin': bytesOf(shards[0]!),
  'group1-shard2of2.bin': bytesOf(shards[1]!),
});

/** What a graph gives on a device, by output. */
export async function run(graph: Graph, x: Float32Array, shape: readonly number[], device: Device) {
  const network = graphNetwork(graph);
  const f = compile(({ images }, ctx) => Object.fromEntries(network.outputs([images!], ctx)), { device });
  const made = await f({ images: host(x, shape) });
  f.dispose();
  return made;
}

export const farthest = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
};
