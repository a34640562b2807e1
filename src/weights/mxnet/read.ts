/**
 * Reads MXNet's checkpoints: the symbol and its arrays, which lie beside one another, as a graph; arrays alone as a state.
 */
import { DataError } from '../../core/errors.ts';
import { fileName, type GraphFile, type ImportedFile, type ReadOptions, type WeightSource } from '../format.ts';
import { sizeNote, withInputSize } from '../inputSize.ts';
import { isMxnetParams } from '../magic.ts';
import { graphOfSymbol, planOf } from './graph.ts';
import { readParams } from './params.ts';
import { readSymbol } from './symbol.ts';

/** Epochs looked for behind a symbol's name. */
const mostEpoch = 300;

/** The arrays that lie beside a symbol: the earliest epoch. */
async function paramsBeside(source: WeightSource): Promise<{ name: string; bytes: Uint8Array }> {
  const stem = fileName(source.name).replace(/(-symbol)?\.json$/, '');
  const names = Array.from({ length: mostEpoch }, (_, i) => `${stem}-${String(i).padStart(4, '0')}.params`);
  for (const name of [...names, `${stem}.params`]) {
    const bytes = await source.beside(name);
    if (bytes) return { name, bytes };
  }
  throw new DataError(
    `${source.name}: expected the network's arrays in ${names[0]} beside it, but there is none\nPut the .params file there, or give that file.`,
  );
}

function graphOf(
  symbol: { name: string; bytes: Uint8Array },
  params: { name: string; bytes: Uint8Array },
  given: readonly [number, number] | undefined,
): GraphFile {
  const network = readSymbol(symbol.bytes, symbol.name);
  const arrays = readParams(params.bytes, params.name);
  const plan = planOf(network, arrays, symbol.name);
  const { made, size, guessed } = withInputSize(given ?? plan.size, (s) =>
    graphOfSymbol(network, plan, arrays, s, symbol.name),
  );
  const used = new Set(plan.nodes.map((n) => n?.name));
  const unused = [...arrays.keys()].filter((name) => !used.has(name));
  const notes = [
    ...(guessed ? [sizeNote(size)] : []),
    ...(unused.length ? [`arrays of no layer: ${unused.join(', ')}`] : []),
  ];
  return {
    kind: 'graph',
    graph: made,
    ...(plan.normalises && { preprocessing: { colourOrder: 'RGB', mean: 0, scale: 1, inputSize: size } }),
    notes,
  };
}

/** Throws DataError for a file that is damaged, holds what is not supported, or lacks its other half. */
export async function readMxnet(source: WeightSource, { inputSize }: ReadOptions): Promise<ImportedFile> {
  const bytes = await source.bytes();
  if (!isMxnetParams(bytes) && /\.json$/i.test(source.name))
    return graphOf({ name: source.name, bytes }, await paramsBeside(source), inputSize);
  const symbolName = `${fileName(source.name).replace(/(-\d+)?\.params$/i, '')}-symbol.json`;
  const symbol = await source.beside(symbolName);
  if (symbol) return graphOf({ name: symbolName, bytes: symbol }, { name: source.name, bytes }, inputSize);
  return {
    kind: 'state',
    tensors: readParams(bytes, source.name),
    convention: 'mxnet',
    notes: [`without ${symbolName} beside it the file is arrays by name`],
  };
}
