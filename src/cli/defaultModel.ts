/**
 * The model that commands use where none is named: finds the faces of a photograph, their points, and embeds them.
 *
 * It is faceplugin-face-recognition-js from npm (MIT): Ultra-Light-Fast-Generic-Face-Detector RFB-320, a network of 68 points,
 * and a residual network of 512 numbers at 112x112, aligned to ArcFace's template; its own program normalises (x - 127)/128.
 */
import { DataError } from '../core/errors.ts';
import { readPicture } from '../data/readImage.ts';
import type { Detection } from '../detect/detection.ts';
import { fivePoints, landmarks68 } from '../detect/landmarks68.ts';
import { ultraFace } from '../detect/ultraFace.ts';
import type { Device } from '../device/device.ts';
import { type Embedder, embedderOf, type FaceImage } from '../evaluate/embedder.ts';
import { looksAligned } from '../image/alignedCheck.ts';
import type { RgbImage } from '../image/jpeg.ts';
import type { GraphNetwork } from '../models/graph/network.ts';
import { importFile } from '../train/modelFile.ts';
import { type ModelPackage, packageFolder } from './packages.ts';

export const defaultPackage: ModelPackage = {
  name: 'faceplugin-face-recognition-js',
  version: '0.0.1',
  integrity: 'shriXjd4zJHEwhK1jHK+bWo8Vv6Vu9B/w6RRsd4AFtNM/jaI2vhuOamOSMl9qQmLd8WlQ7dgqN+3C2iOi5pXWw==',
  license: 'MIT',
  bytes: 41_114_878,
  files: {
    'model/fr_detect.onnx': '6c0256ccd3164f844736a401faf936ec2930764a87ae39442180887d0c5c8854',
    'model/fr_landmark.onnx': 'f10b0ba1d2a8a099adefede1ebf3733e44fe370715e7303dbeb7f59c02142258',
    'model/fr_feature.onnx': '87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581',
    LICENSE: 'ceb7e9130f684a8e335940a09ccfb81c2fa18f6aa54975d656c54bb7992aee1a',
  },
};

/** Cosine from which on two faces are one person's: the best on LFW, folds 1 to 3, where it is right in 99.2 % (no flip). */
export const defaultModelThreshold = 0.3;

/** A face of a picture, ready to be embedded. */
export interface FoundFace {
  readonly image: FaceImage;
  /** Where it is; undefined for a picture that is an aligned crop itself. */
  readonly face?: Detection;
  /** Faces in the picture. */
  readonly faces: number;
}

export interface DefaultModel {
  readonly embedder: Embedder;
  /** The largest face of a picture. Throws DataError where there is none. */
  face(path: string): Promise<FoundFace>;
  dispose(): Promise<void>;
}

const area = ({ box: [x0, y0, x1, y1] }: Detection): number => (x1 - x0) * (y1 - y0);

/** Opens the default model on a device. `say` is told what is fetched. Throws DataError where it cannot be had. */
export async function openDefaultModel(device: Device, say: (text: string) => void): Promise<DefaultModel> {
  const folder = await packageFolder(defaultPackage, say);
  const network = async (file: string) =>
    (await importFile(`${folder}/model/${file}`, { preprocessing: { mean: 127, scale: 1 / 128 } }))
      .network as GraphNetwork;
  const embedder = embedderOf(await network('fr_feature.onnx'), device, { owns: { network: true } });
  const [height, width] = embedder.preprocessing.inputSize;
  const detector = ultraFace(await network('fr_detect.onnx'), device);
  const landmarker = landmarks68(await network('fr_landmark.onnx'), device);

  const largest = async (picture: RgbImage, path: string): Promise<FoundFace> => {
    const faces = await detector.detect(picture);
    if (faces.length === 0)
      throw new DataError(
        `${path}: expected a face, found none in ${picture.width}x${picture.height} pixels\nGive a picture in which a face is upright and not small.`,
      );
    const face = faces.reduce((a, b) => (area(b) > area(a) ? b : a));
    const points = fivePoints(await landmarker.points(picture, face.box));
    return { image: { ...picture, points }, face: { ...face, points }, faces: faces.length };
  };
  return {
    embedder,
    async face(path) {
      const picture = await readPicture({ kind: 'file', path });
      const crop = picture.width === width && picture.height === height;
      if (crop && looksAligned(picture, [height, width]).aligned) return { image: picture, faces: 1 };
      return largest(picture, path);
    },
    async dispose() {
      await embedder.dispose();
      await detector.dispose();
      landmarker.dispose();
    },
  };
}
