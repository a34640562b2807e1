/** The K210: a TFLite file for nncase, its calibration data and its call. */
import { exportK210 } from '../tflite.ts';
import { calibrated, type ExportTarget, imported } from './target.ts';

export const k210Target: ExportTarget = {
  name: 'k210',
  means: 'for the K210 chip: TFLite of what its compiler nncase reads, calibration data, how to call it',
  endings: [],
  prepares: false,
  calibrates: true,
  async write(context) {
    const { graph, network, name } = context;
    const base = name.replace(/\.tflite$/i, '');
    const { model, calibration, instructions, notes } = await exportK210(graph, calibrated(context), {
      preprocessing: network.preprocessing,
      name: base,
    });
    return {
      files: [
        { name, bytes: model },
        ...[...calibration].map(([file, bytes]) => ({ name: `calibration/${file}`, bytes })),
        { name: `${base}.txt`, bytes: new TextEncoder().encode(instructions) },
      ],
      notes,
    };
  },
  readBack: (files, context) => imported(files.slice(0, 1), context),
};
