/** ONNX models: which files they are. What reads them is loaded when one comes; it is in onnx/. */
import type { ImportedFile, WeightFormat } from './format.ts';

/** Fields that follow the first one of a model, as tags. */
const next: readonly (number | undefined)[] = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];

export const onnxFormat: WeightFormat = {
  name: 'onnx',
  means: 'ONNX model, operator sets 7 to 22',
  endings: ['.onnx'],
  // Protobuf has no magic number: field 1 is the version, a small number, as in few other messages.
  looksLike: (head, name) =>
    name.toLowerCase().endsWith('.onnx') ||
    (head[0] === 0x08 && head[1]! > 0 && head[1]! < 32 && next.includes(head[2])),
  async read(source, options): Promise<ImportedFile> {
    const { readOnnxFile } = await import('./onnx/read.ts');
    return readOnnxFile(source, options);
  },
};
