/** Reads ncnn's networks: the layers and their numbers, which lie beside one another, as a graph. */
import { DataError } from '../../core/errors.ts';
import { fileName, type ImportedFile, type ReadOptions, type WeightSource } from '../format.ts';
import { sizeNote, withInputSize } from '../inputSize.ts';
import { isNcnnParam } from '../magic.ts';
import { checkLayers, graphOfLayers } from './graph.ts';
import { type NcnnLayer, readParam } from './param.ts';

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

/** Throws DataError for a file that is damaged, holds what is not supported, or lacks its other half. */
export async function readNcnn(source: WeightSource, { inputSize }: ReadOptions): Promise<ImportedFile> {
  const own = { name: source.name, bytes: await source.bytes() };
  const isText = isNcnnParam(own.bytes);
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
    notes: guessed ? [sizeNote(size)] : [],
  };
}
