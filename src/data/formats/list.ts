/** A text file of `path label` lines on disk. */
import type { DataFormat } from '../format.ts';
import { listDataset } from '../list.ts';

export const listFormat: DataFormat = {
  name: 'list',
  means: "a text file of 'path label' lines",
  ending: '.txt',
  holds: { labels: true, names: true, pairs: false, raw: false },
  detect: (path, folder) => !folder && /\.(txt|list)$/i.test(path),
  open: async (path) => listDataset(path),
};
