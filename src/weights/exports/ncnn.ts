/** ncnn: for phones and small boards. */
import { deployed, type ExportTarget, imported } from './target.ts';

export const ncnnTarget: ExportTarget = {
  name: 'ncnn',
  means: 'ncnn: .param, and .bin beside it, one image at a time',
  endings: ['.param'],
  prepares: true,
  async write(context) {
    const { writeNcnn } = await import('../ncnn/write.ts');
    const { param, bin } = writeNcnn(deployed(context));
    const base = context.name.replace(/\.param$/i, '');
    return {
      files: [
        { name: `${base}.param`, bytes: new TextEncoder().encode(param) },
        { name: `${base}.bin`, bytes: bin },
      ],
      notes: [],
    };
  },
  readBack: imported,
};
