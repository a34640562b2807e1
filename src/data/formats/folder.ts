/** A folder per identity on disk; a folder of pictures alone is read as a set whose people are not known. */
import { readdirSync } from 'node:fs';
import { folderDataset, pictureFolder } from '../folder.ts';
import type { DataFormat } from '../format.ts';

const hasFolders = (path: string) =>
  readdirSync(path, { withFileTypes: true }).some((e) => e.isDirectory() && !e.name.startsWith('.'));

export const folderFormat: DataFormat = {
  name: 'folder',
  means: 'a folder of pictures per identity',
  holds: { labels: true, names: true, pairs: false, raw: false },
  detect: (_path, folder) => folder,
  open: async (path) => (hasFolders(path) ? folderDataset(path) : pictureFolder(path)),
};
