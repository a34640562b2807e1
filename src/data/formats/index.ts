/** All data formats. A new one is a file here and a line in this list; the first that recognises a path reads it. */

import { folderFormat } from './folderFormat.ts';
import type { DataFormat } from './format.ts';
import { listFormat } from './listFormat.ts';
import { megafaceFormat } from './megafaceFormat.ts';
import { packedFormat } from './packedFormat.ts';
import { recordioFormat } from './recordioFormat.ts';
import { tfrecordFormat } from './tfrecordFormat.ts';
import { verificationBinFormat } from './verificationBinFormat.ts';

export const formats: readonly DataFormat[] = [
  packedFormat,
  recordioFormat,
  tfrecordFormat,
  verificationBinFormat,
  megafaceFormat,
  folderFormat,
  listFormat,
];
