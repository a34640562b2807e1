/** A trained network and some pictures in, the network in 8 bits out. */
import type { Device } from '../device/device.ts';
import { folded } from '../models/graph/fold.ts';
import { traced } from '../models/graph/traced.ts';
import type { FaceNetwork } from '../models/network.ts';
import { type CalibrateOptions, type CalibrationBatch, calibrate } from './calibrate.ts';
import { equalized } from './equalize.ts';
import { Int8Network } from './network.ts';
import { type QuantizeOptions, quantize } from './quantize.ts';

export interface QuantizeNetworkOptions extends Omit<CalibrateOptions, 'preprocessing'>, QuantizeOptions {
  readonly device?: Device | undefined;
}

/**
 * Quantises a network: folds its batch norms, evens out its channels, finds the ranges of its values on example pictures, rounds weights.
 * @param pictures uint8 RGB batches [N, H, W, 3] of aligned faces like those of use; some hundred faces are enough
 * @throws UsageError without pictures; NumericsError where the network gives numbers that are not finite
 */
export async function quantizeNetwork(
  network: FaceNetwork,
  pictures: readonly CalibrationBatch[],
  { keep, ...options }: QuantizeNetworkOptions = {},
): Promise<Int8Network> {
  const { preprocessing } = network;
  const graph = await equalized(folded(await traced(network)), pictures, { device: options.device, preprocessing });
  const ranges = await calibrate(graph, pictures, { ...options, preprocessing });
  return new Int8Network(quantize(graph, ranges, { keep }), preprocessing);
}
