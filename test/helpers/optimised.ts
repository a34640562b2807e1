/**
 * Import for its effect, before any module compiles: kernels run as V8's optimising tier makes them, with pairs of
 * vectors fused. Other test files run in processes of their own, mostly in the baseline tier.
 */
import v8 from 'node:v8';

v8.setFlagsFromString('--no-liftoff');
// Refused or without effect before Node 24.
if (Number(process.versions.node.split('.')[0]) >= 24) v8.setFlagsFromString('--experimental-wasm-revectorize');
