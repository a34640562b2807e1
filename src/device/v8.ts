/**
 * V8's switches for faster kernels (Node only).
 *
 * They hold for the whole process and must be set before the first kernel compiles, so nothing sets them unasked: the
 * command line does, a library user calls `enableFastKernels` first thing. Node 24 (V8 13) pairs 128-bit operations into
 * 256-bit ones; Node 20 has fused multiply-add behind a flag.
 */
import v8 from 'node:v8';
import { declareWide } from './mode.ts';

/** Turns on what this Node has. Call it before any device is made. Gives what was turned on, in words. */
export function enableFastKernels(): string[] {
  const [node] = process.versions.node.split('.').map(Number) as [number];
  const engine = Number(process.versions.v8.split('.')[0]);
  const on: string[] = [];
  if (node < 22) {
    v8.setFlagsFromString('--experimental-wasm-relaxed-simd');
    on.push('fused multiply-add');
  }
  if (engine >= 13) {
    v8.setFlagsFromString('--experimental-wasm-revectorize');
    declareWide();
    on.push('256-bit kernels');
  }
  return on;
}
