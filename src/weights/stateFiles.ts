/**
 * States in files that hold tensors by name and nothing else: another program's safetensors, whole or in shards, and NumPy
 * archives. Names and axes are PyTorch's there, or a layout says otherwise.
 * Shards: https://huggingface.co/docs/safetensors, `model.safetensors.index.json` as transformers writes it.
 */
import { DataError } from '../core/errors.ts';
import type { StateFile, WeightFormat, WeightSource } from './format.ts';
import { type HostTensor, readSafetensors } from './safetensors.ts';

async function stateFile(all: ReadonlyMap<string, HostTensor>, notes: readonly string[]): Promise<StateFile> {
  const { unwrapped } = await import('./torch/state.ts');
  const { tensors, prefix } = unwrapped(all);
  return {
    kind: 'state',
    convention: 'pytorch',
    tensors,
    notes: prefix ? [...notes, `names were prefixed '${prefix}'`] : notes,
  };
}
const noted = (metadata: Readonly<Record<string, string>>): string[] =>
  Object.entries(metadata)
    .slice(0, 12)
    .map(([key, value]) => `its metadata: ${key} = ${value.length > 80 ? `${value.slice(0, 77)}...` : value}`);

/** Whether bytes begin with a header's length and the header's brace. */
const isSafetensors = (head: Uint8Array): boolean =>
  head.length > 8 && head[8] === 0x7b && head[4] === 0 && head[5] === 0 && head[6] === 0 && head[7] === 0;

const indexEnding = '.safetensors.index.json';

export const safetensorsFormat: WeightFormat = {
  name: 'safetensors',
  means: 'tensors by name, in one file or in shards with an index',
  endings: ['.safetensors', indexEnding],
  looksLike: (head, name) => isSafetensors(head) || name.toLowerCase().endsWith(indexEnding),
  async read(source) {
    const bytes = await source.bytes();
    if (!isSafetensors(bytes) && source.name.toLowerCase().endsWith(indexEnding)) return readShards(bytes, source);
    const { tensors, metadata } = readSafetensors(bytes, source.name);
    if (metadata.format === 'facegrad') return { ...(await stateFile(tensors, [])), metadata };
    return stateFile(tensors, noted(metadata));
  },
};

/** More files than any model has. */
const mostShards = 10_000;

async function readShards(bytes: Uint8Array, source: WeightSource): Promise<StateFile> {
  const fail = (what: string): never => {
    throw new DataError(`${source.name}: ${what}\nFetch the index and all its shards into one folder.`);
  };
  let index: unknown;
  try {
    index = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    fail(`expected an index in JSON, got none: ${(error as Error).message}`);
  }
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  const entries = typeof map === 'object' && map !== null && !Array.isArray(map) ? Object.entries(map) : [];
  if (entries.length === 0) fail("expected tensors' names and files in its weight_map, got none");
  const files = new Map<string, string[]>();
  for (const [tensor, file] of entries) {
    // Shards lie beside their index.
    if (typeof file !== 'string' || !/^[\w.-]+$/.test(file) || /^\.+$/.test(file))
      return fail(
        `expected the name of a file beside it for ${JSON.stringify(tensor.slice(0, 100))}, got ${JSON.stringify(file)?.slice(0, 100)}`,
      );
    files.set(file, [...(files.get(file) ?? []), tensor]);
    if (files.size > mostShards) fail(`expected at most ${mostShards} shards, got more`);
  }
  const out = new Map<string, HostTensor>();
  for (const [file, names] of files) {
    const shard = await source.beside(file);
    if (!shard) return fail(`expected its shard ${file} beside it, got none`);
    const { tensors } = readSafetensors(shard, `${source.name}: ${file}`);
    for (const name of names) {
      const tensor = tensors.get(name);
      if (!tensor) return fail(`expected ${JSON.stringify(name.slice(0, 100))} in ${file}, got none`);
      out.set(name, tensor);
    }
  }
  return stateFile(out, [`${files.size} shards`]);
}

export const npzFormat: WeightFormat = {
  name: 'npz',
  means: "NumPy's archives of arrays by name",
  endings: ['.npz'],
  looksLike: (head, name) =>
    head[0] === 0x50 &&
    head[1] === 0x4b &&
    (name.toLowerCase().endsWith('.npz') || /\.npy/.test(new TextDecoder('latin1').decode(head.subarray(0, 512)))),
  async read(source) {
    const { readNpz } = await import('./npz.ts');
    const arrays = await readNpz(await source.bytes(), source.name);
    const tensors = new Map<string, HostTensor>();
    const notes: string[] = [];
    for (const [name, array] of arrays)
      if (array.dtype === 'text') notes.push(`left out, since it is text: ${name}`);
      else tensors.set(name, array);
    return stateFile(tensors, notes);
  },
};
