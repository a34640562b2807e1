/**
 * TFJS models: `model.json` with its weights in files beside it, and bare weights manifests. What reads them is loaded when
 * one comes; it is in tfjsModel.ts.
 */
import type { WeightFormat } from '../format.ts';

export const tfjs: WeightFormat = {
  name: 'tfjs',
  means: 'TFJS model (model.json) or weights manifest, with its weights beside it',
  endings: ['.json'],
  looksLike(head, name) {
    const start = new TextDecoder().decode(head);
    if (!/^\s*[[{]/.test(start) || !/\.json$/i.test(name)) return false;
    return /"(modelTopology|weightsManifest)"|"format"\s*:\s*"(graph|layers)-model"|^\s*\[\s*\{\s*"(weights|paths)"/.test(
      start,
    );
  },
  async read(source, options) {
    const { readTfjs } = await import('./tfjsModel.ts');
    return readTfjs(source, options);
  },
};
