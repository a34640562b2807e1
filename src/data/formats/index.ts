/** All data formats. A new one is a file here and a line in this list; the first that recognises a path reads it. */
import type { DataFormat } from '../format.ts';
import { folderFormat } from './folder.ts';
import { listFormat } from './list.ts';
import { megafaceFormat } from './megaface.ts';
import { packedFormat } from './packed.ts';
import { recordioFormat } from './recordio.ts';
import { tfrecordFormat } from './tfrecord.ts';
import { verificationBinFormat } from './verificationBin.ts';

export const formats: readonly DataFormat[] = [
  packedFormat,
  recordioFormat,
  tfrecordFormat,
  verificationBinFormat,
  megafaceFormat,
  folderFormat,
  listFormat,
];
