/** Verification sets of InsightFace on disk: one file. */
import { fileSource } from '../files.ts';
import { writeWhole } from '../partFile.ts';
import type { DataFormat } from './format.ts';
import { verificationBinDataset, writeVerificationBin } from './verificationBin.ts';

/** How pickles of a pair of lists begin: protocol 2 and on (a tuple or list, framed or not), or 0 and 1. */
const begins = (head: Uint8Array) =>
  head[0] === 0x80
    ? head[1]! <= 5 && '](\x95'.includes(String.fromCharCode(head[2]!))
    : /^\((lp|[(\]])/.test(String.fromCharCode(...head.subarray(0, 3)));

export const verificationBinFormat: DataFormat = {
  name: 'verification',
  means: 'pairs to verify on in one .bin file, as InsightFace distributes them',
  ending: '.bin',
  holds: { labels: false, names: false, pairs: true, mixed: false, raw: false },
  detect: (path, folder, head) => !folder && /\.(bin|pkl|pickle)$/i.test(path) && begins(head),
  async open(path, { onProgress } = {}) {
    const file = await fileSource(path);
    try {
      return await verificationBinDataset(file, onProgress ? { onProgress } : {});
    } finally {
      await file.close();
    }
  },
  createFromPairs: (path, pairs, read) => writeWhole(path, (sink) => writeVerificationBin(sink, pairs, read)),
};
