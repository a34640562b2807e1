/**
 * ncnn's files: `NAME.param`, the layers as text (or `.param.bin`), and `NAME.bin`, their numbers. Either names both. Parsers
 * and layers are in ncnn/; ncnnWrite.ts writes them.
 */
import { DataError } from '../core/errors.ts';
import type { ImportedFile, WeightFormat } from './format.ts';
import { sizeNote, withInputSize } from './inputSize.ts';
import { checkLayers, graphOfLayers } from './ncnn/graph.ts';
import { isParam, type NcnnLayer, readParam } from './ncnn/param.ts';
import { startsTagged } from './ncnn/weights.ts';

const fileName = (path: string): string => path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);

/** [height, width] of the first input, where its layer says. */
function statedSize(layers: readonly NcnnLayer[]): readonly [number, number] | undefined {
  const { params } = layers.find((l) => l.type === 'Input') ?? {};
  const [width, height] = [params?.whole(0) ?? 0, params?.whole(1) ?? 0];
  return width > 0 && height > 0 ? [height, width] : undefined;
}

/** Whether the first input goes into numbers that are taken off or multiplied. */
function normalises(layers: readonly NcnnLayer[]): boolean {
  const input = layers.find((l) => l.type === 'Input')?.outputs[0] ?? '';
  const next = layers.find((l) => l.inputs.includes(input));
  return next !== undefined && ['BinaryOp', 'Scale', 'BatchNorm'].includes(next.type);
}

export const ncnnFormat: WeightFormat = {
  name: 'ncnn',
  means: 'ncnn network: NAME.param with NAME.bin',
  endings: ['.param', '.param.bin', '.bin'],
  // A .bin has no magic number of its own, but begins with the tag of the first layer's weights.
  looksLike: (head, name) => isParam(head) || (name.toLowerCase().endsWith('.bin') && startsTagged(head)),
  async read(source, { inputSize }): Promise<ImportedFile> {
    const own = { name: source.name, bytes: await source.bytes() };
    const isText = isParam(own.bytes);
    const stem = fileName(source.name).replace(/(\.param)?(\.bin)?$/i, '');
    const other = isText ? [`${stem}.bin`] : [`${stem}.param`, `${stem}.param.bin`];
    let beside: { name: string; bytes: Uint8Array } | undefined;
    for (const name of other) {
      const bytes = beside ? undefined : await source.beside(name);
      if (bytes) beside = { name, bytes };
    }
    if (!beside)
      throw new DataError(
        `${source.name}: expected ${other[0]} beside it, but there is none\nncnn's networks are two files: put both into one folder.`,
      );
    const [param, bin] = isText ? [own, beside] : [beside, own];
    const layers = readParam(param.bytes, param.name);
    checkLayers(layers, param.name);
    const { made, size, guessed } = withInputSize(inputSize ?? statedSize(layers), (s) =>
      graphOfLayers(layers, bin, s, param.name),
    );
    const known = normalises(layers);
    return {
      kind: 'graph',
      graph: made,
      ...(known && { preprocessing: { colourOrder: 'RGB', mean: 0, scale: 1, inputSize: size } }),
      notes: [
        ...(guessed ? [sizeNote(size)] : []),
        ...(known
          ? []
          : ['the network does not normalise images itself, and the file does not say how they are to be']),
      ],
    };
  },
};
