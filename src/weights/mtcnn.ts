/**
 * MTCNN's weights, which come as three files: `pnet.pt`, `rnet.pt`, `onet.pt` (facenet-pytorch) or `det1.npy`, `det2.npy`, `det3.npy`
 * (davidsandberg/facenet). Any of the three stands for all; the others are read from beside it. What reads them is loaded when
 * they come; it is in mtcnn/.
 */
import type { WeightFormat } from './format.ts';

const names = /(^|[\\/])([pro]net\.pth?|det[123]\.npy)$/i;

export const mtcnnFormat: WeightFormat = {
  name: 'mtcnn',
  means: "MTCNN's three files, any of them: pnet.pt, rnet.pt, onet.pt or det1.npy, det2.npy, det3.npy",
  endings: ['pnet.pt', 'det1.npy'],
  looksLike: (_, name) => names.test(name),
  async read(source) {
    const { readMtcnn } = await import('./mtcnn/read.ts');
    return readMtcnn(source);
  },
};
