/** Reading an ONNX file: its messages, the files beside it that hold numbers, and the graph. */
import { DataError } from '../../core/errors.ts';
import type { GraphFile, ReadOptions, WeightSource } from '../format.ts';
import { sizeNote, withInputSize } from '../inputSize.ts';
import { leavesSizeOpen, onnxGraph } from './graph.ts';
import { decodeMessage, type ModelProto, type TensorProto } from './messages.ts';
import { statedPreprocessing } from './stated.ts';

/** A file as messages. Throws DataError. */
export function readOnnx(bytes: Uint8Array, name: string): ModelProto {
  try {
    return decodeMessage('ModelProto', bytes);
  } catch (error) {
    throw new DataError(
      `${name}: expected an ONNX model, got damaged protobuf data (${(error as Error).message})\nFetch or export the file again.`,
    );
  }
}

/** Names of the files that hold numbers of this one. */
function locations(model: ModelProto): Set<string> {
  const out = new Set<string>();
  const look = (t: TensorProto | undefined) => {
    if (t?.dataLocation === 1) out.add(t.externalData?.find((e) => e.key === 'location')?.value ?? '');
  };
  for (const t of model.graph?.initializer ?? []) look(t);
  for (const n of model.graph?.node ?? []) for (const a of n.attribute ?? []) look(a.t);
  return out;
}

/** The program that wrote a model and what it says of itself, for the metadata of the imported one. */
function told({ producerName, producerVersion, domain, metadataProps = [] }: ModelProto): Record<string, string> {
  const producer = [producerName, producerVersion].filter(Boolean).join(' ');
  return {
    ...(producer && { producer }),
    ...(domain && { domain }),
    ...Object.fromEntries(metadataProps.slice(0, 100).map(({ key = '', value = '' }) => [`onnx.${key}`, value])),
  };
}

export async function readOnnxFile(source: WeightSource, { inputSize }: ReadOptions): Promise<GraphFile> {
  const { name } = source;
  const model = readOnnx(await source.bytes(), name);
  const files = new Map<string, Uint8Array>();
  for (const location of locations(model)) {
    const plain = location.replace(/^\.\//, '');
    if (plain === '' || /[/\\]|^\.\.?$/.test(plain))
      throw new DataError(
        `${name}: expected its numbers in a file of the same folder, got the location '${location}'\nSave the model as one file (onnx.save without external data).`,
      );
    const bytes = await source.beside(plain);
    if (!bytes)
      throw new DataError(
        `${name}: expected its numbers in the file '${plain}' beside it, which is not there\nPut both files into one folder.`,
      );
    files.set(location, bytes);
  }
  const outside = (location: string) => files.get(location);
  const build = (size?: readonly [number, number]) => onnxGraph(model, name, { inputSize: size, outside });
  const sized = leavesSizeOpen(model) ? withInputSize(inputSize, build) : undefined;
  const { graph, opset, normalises, notes } = sized?.made ?? build(inputSize);
  const [height = 1, width = 1] = graph.spec.inputs[0]!.shape;
  const asTheyAre = { colourOrder: 'RGB', mean: 0, scale: 1 } as const;
  const stated = statedPreprocessing(model) ?? (normalises ? asTheyAre : undefined);
  return {
    kind: 'graph',
    graph,
    ...(stated && { preprocessing: { ...stated, inputSize: [height, width] } }),
    notes: [...(sized?.guessed ? [sizeNote(sized.size)] : []), ...notes],
    metadata: { ...told(model), opset: String(opset) },
  };
}
