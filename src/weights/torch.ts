/**
 * PyTorch's files (.pt, .pth, .ckpt) of every container, as states: tensors by name. Their pickles are read by an interpreter
 * that knows how to rebuild tensors and runs nothing (torch/globals.ts). What reads them is loaded when one comes; it is in
 * torch/.
 */
import type { StateFile, WeightFormat } from './format.ts';
import { isTorchStream, isTorchTar, isZip } from './magic.ts';
import type { TorchOptions } from './torch/read.ts';

export type { TorchOptions } from './torch/read.ts';

/**
 * Reads a file of PyTorch.
 * @param bytes the whole file
 * @param name what errors call it
 * @throws DataError naming file and place where it is damaged or hostile, or holds no tensors by name; nothing is executed
 */
export const readTorch = async (bytes: Uint8Array, name: string, options: TorchOptions = {}): Promise<StateFile> =>
  (await import('./torch/read.ts')).readTorch(bytes, name, options);

export const torchFormat: WeightFormat = {
  name: 'torch',
  means: "PyTorch's state dicts and checkpoints, and the weights of pickled or scripted modules",
  endings: ['.pt', '.pth', '.ckpt', '.pth.tar', '.tar', '.pkl'],
  looksLike: (head, name) => isTorchStream(head) || isTorchTar(head) || (isZip(head) && isTorchZip(head, name)),
  read: async (source) => readTorch(await source.bytes(), source.name),
};

/** Archives of other programs are zip files too: those of PyTorch begin with one of its members, or have its endings. */
function isTorchZip(head: Uint8Array, name: string): boolean {
  const start = new TextDecoder('latin1').decode(head.subarray(0, 512));
  return (
    /\/(data\.pkl|constants\.pkl|version|byteorder|\.data\/|data\/\d)/.test(start) || /\.(pt|pth|ckpt)$/i.test(name)
  );
}
