/** Wide mode for tests: apart from the harness, since V8's flags are Node's alone and the harness also runs in a page. */
import v8 from 'node:v8';
import { declareWide } from '../../src/device/mode.ts';
import { WasmDevice } from '../../src/device/wasm.ts';

export const hasWide = Number(process.versions.v8.split('.')[0]) >= 13;

/**
 * A device in wide mode. It sets V8's flag for all modules compiled from here on, so narrow results are to be had before.
 */
export async function wideDevice(threads: number): Promise<WasmDevice> {
  v8.setFlagsFromString('--experimental-wasm-revectorize');
  declareWide();
  return WasmDevice.create({ threads });
}
