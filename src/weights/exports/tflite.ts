/** TFLite: for LiteRT on phones and small boards, in float32 and in 8-bit integers. */
import { exportTflite, exportTfliteInt8 } from '../tflite.ts';
import { calibrated, type ExportTarget, imported } from './target.ts';

export const tfliteTarget: ExportTarget = {
  name: 'tflite',
  means: 'TFLite in float32: images [N, H, W, 3]',
  endings: ['.tflite'],
  prepares: true,
  async write({ graph, network, name, preprocessing }) {
    const pixels = preprocessing === 'include' ? network.preprocessing : undefined;
    return { files: [{ name, bytes: await exportTflite(graph, { pixels }) }], notes: [] };
  },
  readBack: imported,
};

export const tfliteInt8Target: ExportTarget = {
  name: 'tflite-int8',
  means: 'TFLite in 8-bit integers with float32 input and output, calibrated with pictures',
  endings: [],
  prepares: true,
  calibrates: true,
  lossy: true,
  async write(context) {
    const { graph, network, name, preprocessing, onProgress } = context;
    const { bytes, inFloat } = await exportTfliteInt8(graph, calibrated(context), {
      preprocessing: network.preprocessing,
      pixels: preprocessing === 'include',
      type: 'float32',
      onProgress: (done, all) => onProgress?.('calibrating', done, all),
    });
    const left = [...inFloat].map(([op, n]) => `${n} ${op}`).join(', ');
    return {
      files: [{ name, bytes }],
      notes: left ? [`left in float32, which LiteRT has no integers for: ${left}`] : [],
    };
  },
  readBack: imported,
};
