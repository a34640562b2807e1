/** Published TFLite models, MediaPipe's face detectors, give here what LiteRT gives. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { DataError } from '../../../src/core/errors.ts';
import { readTflite } from '../../../src/weights/tflite/read.ts';
import { tfliteFormat } from '../../../src/weights/tflite.ts';
import { expectAgreement, noise } from './agree.ts';

const require = createRequire(import.meta.url);
const model = (name: string) =>
  new Uint8Array(readFileSync(require.resolve(`@mediapipe/face_detection/${name}.tflite`)));

test.each(['face_detection_short_range', 'face_detection_full_range'])('%s', async (name) => {
  const bytes = model(name);
  expect(tfliteFormat.looksLike(bytes.subarray(0, 4096), name)).toBe(true);
  const { graph, notes } = readTflite(bytes, name);
  expect(notes).toEqual(['weights are half precision in the file']);
  await expectAgreement(bytes, graph, [noise([1, ...graph.spec.inputs[0]!.shape])]);
});

test('a file of sparse weights is refused by the name of its operator', () => {
  const name = 'face_detection_full_range_sparse';
  expect(() => readTflite(model(name), name)).toThrow(DataError);
  expect(() => readTflite(model(name), name)).toThrow(
    `${name}: expected operators that are read, got\n  DENSIFY (46)\nIts weights are stored sparsely: export the network with dense weights.`,
  );
});
