/** ONNX: for onnxruntime and what reads its files. */
import { deployed, type ExportTarget, imported, lastingMetadata, takenBy } from './target.ts';

export const onnxTarget: ExportTarget = {
  name: 'onnx',
  means: 'ONNX, operator set 13: images [N, 3, H, W], any N; batch norms folded',
  endings: ['.onnx'],
  prepares: true,
  async write(context) {
    const { network, name } = context;
    const taken = takenBy(context);
    const { writeOnnx } = await import('../onnx/write.ts');
    const bytes = writeOnnx(deployed(context, { rest: 'keep' }), {
      name: name.replace(/\.onnx$/i, ''),
      metadata: {
        ...lastingMetadata(context.metadata),
        architecture: network.architecture,
        embeddingSize: String(network.options.embeddingSize),
        colourOrder: taken.colourOrder,
        preprocessing: JSON.stringify(taken),
      },
    });
    return { files: [{ name, bytes }], notes: [] };
  },
  readBack: imported,
};
