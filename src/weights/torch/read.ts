/**
 * Reads PyTorch's files of every container (containers.ts) as states: which of the dicts in a file is the weights, and its
 * tensors as this engine's.
 */
import { DataError } from '../../core/errors.ts';
import type { StateFile } from '../format.ts';
import { isTorchStream, isTorchTar, isZip } from '../magic.ts';
import { hostTensorOf } from '../pickleNumpy.ts';
import type { HostTensor } from '../safetensors.ts';
import { readStream, readTar, readZip, type TorchContent } from './containers.ts';
import { describeValue, findStates, otherValues, unwrapped } from './state.ts';
import { hostTensor, TorchTensor } from './tensors.ts';

export interface TorchOptions {
  /** Which state of several, by its path: 'state_dict' or 'ema.model'. Default: the best-known name, then the largest. */
  readonly state?: string;
}

/** Views may repeat numbers, and halves become twice as long; more than this is no file of weights. */
const mostTimes = 16;

/**
 * Reads a file of PyTorch.
 * @param bytes the whole file
 * @param name what errors call it
 * @throws DataError naming file and place where it is damaged or hostile, or holds no tensors by name; nothing is executed
 */
export async function readTorch(bytes: Uint8Array, name: string, { state }: TorchOptions = {}): Promise<StateFile> {
  const content = await contentOf(bytes, name);
  const states = findStates(content.value, () => {
    throw new DataError(
      `${name}: its modules or dicts hold one another too often\nIt is hostile, or no file of weights.`,
    );
  });
  const paths = states.map((s) => s.path || '(the file itself)').join(', ');
  if (states.length === 0)
    throw new DataError(
      `${name}: expected tensors by name, got ${describeValue(content.value)} without any\nSave the network's weights alone: torch.save(model.state_dict(), file).`,
    );
  const found = state === undefined ? states[0]! : states.find((s) => s.path === state);
  if (!found) throw new DataError(`${name}: expected a state '${state}', but it holds ${paths}\nName one of these.`);

  const notes: string[] = [];
  if (found.path) notes.push(`the weights are its '${found.path}'`);
  if (states.length > 1) notes.push(`it holds several states: ${paths}`);
  notes.push(...otherValues(content.value, states));
  const { tensors, prefix } = unwrapped(found.tensors);
  if (prefix) notes.push(`names were prefixed '${prefix}'`);

  const wanted = [...tensors.values()].filter((t) => t instanceof TorchTensor);
  await content.load(new Set(wanted.map(({ storage }) => storage.root?.storage ?? storage)));
  let left = mostTimes * bytes.length + 2 ** 24;
  const known = new Map<unknown, HostTensor>();
  const out = new Map<string, HostTensor>();
  for (const [key, tensor] of tensors) {
    const what = `${name}: tensor ${JSON.stringify(key.slice(0, 100))}`;
    const read =
      known.get(tensor) ?? (tensor instanceof TorchTensor ? hostTensor(tensor, what) : hostTensorOf(tensor, what));
    if (!known.has(tensor)) left -= read.data.byteLength;
    if (left < 0)
      throw new DataError(
        `${name}: its tensors are views of the same numbers, together far more than the file\nIt is hostile, or is to be saved as contiguous tensors.`,
      );
    known.set(tensor, read);
    out.set(key, read);
  }
  return { kind: 'state', convention: 'pytorch', tensors: out, notes };
}

async function contentOf(bytes: Uint8Array, name: string): Promise<TorchContent> {
  if (isZip(bytes)) return readZip(bytes, name);
  if (isTorchStream(bytes)) return readStream(bytes, name);
  if (isTorchTar(bytes)) return readTar(bytes, name);
  throw new DataError(
    `${name}: expected a file of torch.save (a zip archive, its older stream or a tar archive), got other bytes\nFetch it again, or import it as what it is.`,
  );
}
