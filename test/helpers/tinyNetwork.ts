/** A small MobileFaceNet with drawn weights and running statistics, as a weights file: for tests of what uses one. */
import { keyOf, uniform } from '../../src/core/random.ts';
import { describeNetwork } from '../../src/models/index.ts';
import { MobileFaceNet, type MobileFaceNetOptions } from '../../src/models/mobileFaceNet.ts';
import { initialize, StateBuffer, stateOf, variablesOf } from '../../src/nn/module.ts';
import { checkpointVersion } from '../../src/weights/checkpoint.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';

export const tinyOptions: MobileFaceNetOptions = { width: 0.125, embeddingSize: 16, inputSize: [32, 32] };

/** Batch norm's statistics away from 0 and 1, so that a mode mixed up shows. */
export function tinyNetwork(options: MobileFaceNetOptions = tinyOptions, seed = 3): MobileFaceNet {
  const net = initialize(new MobileFaceNet(options), seed);
  variablesOf(net).forEach((v, i) => {
    if (!(v instanceof StateBuffer)) return;
    const u = uniform(keyOf(seed + i), v.size);
    v.write(u.map((x) => (v.name.endsWith('runningVar') ? 0.5 + x : 0.2 * x - 0.1)));
  });
  return net;
}

export async function weightsOf(
  net: MobileFaceNet,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array> {
  return writeSafetensors(await stateOf(variablesOf(net)), {
    format: 'facegrad',
    version: String(checkpointVersion),
    ...describeNetwork(net),
    ...metadata,
  });
}

/** n images of drawn noise, RGB. */
export const noiseImages = (n: number, size = 32, seed = 5) =>
  Array.from({ length: n }, (_, i) => ({
    width: size,
    height: size,
    data: Uint8Array.from(uniform(keyOf(seed * 1000 + i), size * size * 3), (u) => u * 256),
  }));
