/** A network of 8-bit numbers as the bytes of a weights file: a checkpoint whose tensors and metadata quant/file.ts names. */
import { int8State } from '../quant/file.ts';
import type { Int8Network } from '../quant/network.ts';
import { checkpointVersion } from './checkpoint.ts';
import { lastingMetadata } from './exports/target.ts';
import { writeSafetensors } from './safetensors.ts';

/** @param metadata of the float32 network: what lasts of it is kept, such as its threshold */
export function int8Bytes(network: Int8Network, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const state = int8State(network);
  return writeSafetensors(state.tensors, {
    ...lastingMetadata(metadata),
    ...state.metadata,
    format: 'facegrad',
    version: String(checkpointVersion),
  });
}
