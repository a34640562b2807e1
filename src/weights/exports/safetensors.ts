/** facegrad's own file with the network alone: what it was trained from, to be used, fine-tuned or imported elsewhere. */

import { describeNetwork, networkOf } from '../../models/index.ts';
import { loadState, stateOf, variablesOf } from '../../nn/module.ts';
import { checkpointVersion, parseCheckpoint } from '../checkpoint.ts';
import { writeSafetensors } from '../safetensors.ts';
import { type ExportTarget, lastingMetadata } from './target.ts';

export const safetensorsTarget: ExportTarget = {
  name: 'safetensors',
  means: "facegrad's own weights file, without head and optimizer state",
  endings: ['.safetensors'],
  prepares: false,
  halves: true,
  async write({ network, metadata, name, half }) {
    const bytes = writeSafetensors(
      await stateOf(variablesOf(network)),
      {
        ...lastingMetadata(metadata),
        ...describeNetwork(network),
        format: 'facegrad',
        version: String(checkpointVersion),
      },
      // Vectors are few numbers, and variances may leave the range of halves.
      { half: (_, t) => half && t.shape.length > 1 },
    );
    return { files: [{ name, bytes }], notes: [] };
  },
  async readBack([file]) {
    const { tensors, metadata } = parseCheckpoint(file!.bytes, file!.name);
    const network = networkOf(metadata, file!.name);
    loadState(variablesOf(network), tensors, file!.name);
    return network;
  },
};
