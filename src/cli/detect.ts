/** `facegrad detect`: the faces in pictures, as text, JSON, a drawing, or five points to align by. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { DataError, UsageError } from '../core/errors.ts';
import { number, whole } from '../core/options.ts';
import { closeContainers, readPicture } from '../data/readImage.ts';
import type { Detection } from '../detect/detection.ts';
import { drawDetections } from '../detect/draw.ts';
import { encodePng } from '../image/encode.ts';
import { openDetector } from '../node.ts';
import { ioError, writeAtomically } from '../train/checkpointFile.ts';
import { errorBar } from './bar.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { type Picture, picturesOf } from './faces.ts';
import { described, oneOf } from './options.ts';
import { counted, print, printJson } from './output.ts';

const rules = ['largest', 'surest', 'central'] as const;

interface DetectFlags extends DeviceChoice {
  readonly detector: string;
  readonly score?: number;
  readonly minFace?: number;
  readonly maxSide?: number;
  readonly multiple?: number;
  readonly draw?: string;
  readonly landmarks?: string;
  readonly face: string;
  readonly json?: boolean;
}

interface Found {
  readonly picture: Picture;
  readonly width: number;
  readonly height: number;
  readonly faces: readonly Detection[];
}

/** The face that a picture is of. */
function chosen({ width, height, faces }: Found, rule: (typeof rules)[number]): Detection | undefined {
  const value = ({ box: [x0, y0, x1, y1], score }: Detection): number => {
    if (rule === 'surest') return score;
    if (rule === 'largest') return (x1 - x0) * (y1 - y0);
    return -Math.hypot((x0 + x1 - width) / 2, (y0 + y1 - height) / 2);
  };
  return faces.reduce<Detection | undefined>((best, f) => (best && value(best) >= value(f) ? best : f), undefined);
}

const rounded = (v: number): number => Math.round(v * 100) / 100;
const shown = ({ box, score, points }: Detection) => ({
  score: Math.round(score * 1e5) / 1e5,
  box: box.map(rounded),
  ...(points && {
    points: Array.from({ length: 5 }, (_, i) => [rounded(points[2 * i]!), rounded(points[2 * i + 1]!)]),
  }),
});

/** Where the drawing of a picture goes. */
function drawingOf(draw: string, picture: Picture, several: boolean): string {
  if (/[/\\]$/.test(draw)) return join(draw, `${picture.path.replaceAll('/', '_').replace(/\.[^.]*$/, '')}.png`);
  if (several)
    throw new UsageError(
      `--draw ${draw}: expected a folder for the drawings of several pictures, got a file\nEnd it with /: --draw drawings/.`,
    );
  return draw;
}

async function run(paths: readonly string[], flags: DetectFlags): Promise<void> {
  const rule = oneOf('face', flags.face, rules);
  const pictures = await picturesOf(paths);
  const drawings =
    flags.draw === undefined ? undefined : pictures.map((p) => drawingOf(flags.draw!, p, pictures.length > 1));
  const { score, minFace, maxSide, multiple } = flags;
  const device = await openDevice(flags);
  const results: Found[] = [];
  const bar = errorBar();
  try {
    const detector = await openDetector(flags.detector, {
      device,
      ...(score !== undefined && { score }),
      ...(minFace !== undefined && { minFace }),
      ...(maxSide !== undefined && { maxSide }),
      ...(multiple !== undefined && { multiple }),
    });
    if (flags.landmarks !== undefined && detector.kind === 'ultraface')
      throw new UsageError(
        `--landmarks: expected a detector that gives points, got ${detector.kind}\nUse RetinaFace or MTCNN.`,
      );
    if (flags.draw !== undefined && /[/\\]$/.test(flags.draw))
      await mkdir(flags.draw, { recursive: true }).catch((error) => {
        throw ioError(`making ${flags.draw}`, error);
      });
    for (const [i, picture] of pictures.entries()) {
      const image = await readPicture(picture.source);
      const faces = await detector.detect(image);
      results.push({ picture, width: image.width, height: image.height, faces });
      if (drawings) await writeAtomically(drawings[i]!, encodePng(drawDetections(image, faces)));
      if (pictures.length > 1) bar.show('detecting', i + 1, pictures.length, `${i + 1}/${pictures.length}`);
    }
    await detector.dispose();
  } finally {
    bar.stop();
    await closeContainers();
    await device.dispose();
  }
  const lacking = results.filter((r) => r.faces.length === 0).map((r) => r.picture.name);
  if (flags.landmarks !== undefined) {
    const entries = results.flatMap((r) => {
      const face = chosen(r, rule);
      return face?.points ? [[r.picture.path, face.points.map(rounded)] as const] : [];
    });
    if (entries.length === 0)
      throw new DataError('--landmarks: expected faces in the pictures, found none\nLower --score.');
    const json = `{\n${entries.map(([path, points]) => `  ${JSON.stringify(path)}: [${points.join(', ')}]`).join(',\n')}\n}\n`;
    await writeAtomically(flags.landmarks, new TextEncoder().encode(json));
  }
  if (flags.json) {
    printJson({
      pictures: results.map(({ picture, width, height, faces }) => ({
        name: picture.name,
        width,
        height,
        faces: faces.map(shown),
      })),
      ...(drawings && { drawings }),
      ...(flags.landmarks !== undefined && { landmarks: flags.landmarks }),
    });
    return;
  }
  for (const { picture, width, height, faces } of results) {
    print(`${picture.name}: ${width}x${height}, ${counted(faces.length, 'face')}`);
    if (results.length > 20) continue;
    for (const face of faces) {
      const { score: sure, box, points } = shown(face);
      const at = points ? `  points ${points.map((p) => p.map((v) => v.toFixed(1)).join(',')).join(' ')}` : '';
      print(`  ${sure.toFixed(4)}  box ${box.map((v) => v.toFixed(1)).join(' ')}${at}`);
    }
  }
  if (drawings) print(`drawn: ${drawings.length === 1 ? drawings[0] : flags.draw}`);
  if (flags.landmarks !== undefined)
    print(
      `${flags.landmarks}: points of ${counted(results.length - lacking.length, 'picture')}, of each the ${rule} face${lacking.length ? `; without a face: ${lacking.slice(0, 5).join(', ')}${lacking.length > 5 ? ` and ${lacking.length - 5} more` : ''}` : ''}`,
    );
}

export function register(program: Command): void {
  const command = program
    .command('detect')
    .description('find the faces in pictures: boxes, scores, five points')
    .argument('<pictures...>', 'JPEG or PNG pictures, folders of them, or data sets of any format')
    .requiredOption(
      '--detector <file>',
      'RetinaFace, MTCNN (any of its three files, the others beside it) or Ultra-Light: a file of facegrad or of any format that import reads',
    )
    .option(
      '--score <s>',
      "least score of a face (default: the detector's)",
      described('score', number({ from: 0, to: 1 }, 0.6, 'score')),
    )
    .option(
      '--min-face <pixels>',
      'MTCNN: smallest face that is looked for (default 20)',
      described('min-face', whole({ from: 12 }, 20, 'size')),
    )
    .option(
      '--max-side <pixels>',
      'larger pictures are brought down to this first (default 1280)',
      described('max-side', whole({ from: 32 }, 1280, 'size')),
    )
    .option(
      '--multiple <pixels>',
      'RetinaFace: fill sides up to a multiple of this (default 1); 32 is faster where pictures differ in size',
      described('multiple', whole({ from: 1, to: 512 }, 1, 'size')),
    )
    .option('--draw <file>', 'a PNG file of the picture with its faces marked; for several pictures a folder/')
    .option('--landmarks <file>', 'JSON of five points a picture, as prepare --align and embed --landmarks take them')
    .option('--face <rule>', `whose points those are, where there are several: ${rules.join(', ')}`, 'largest')
    .option('--json', 'pictures with their faces as JSON on standard output');
  addDeviceOptions(command).action(run);
}
