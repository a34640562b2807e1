/** What commands show of names that hold what a terminal obeys, or lines of their own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { setText } from '../../src/cli/inspectText.ts';
import { fail, print, printJson } from '../../src/cli/output.ts';
import { createPacked } from '../../src/data/formats/packedFormat.ts';
import { inspect } from '../../src/data/inspect/inspect.ts';
import { prepare } from '../../src/data/prepare/prepare.ts';
import { closeContainers } from '../../src/data/readImage.ts';
import { encodePng } from '../../src/image/encode.ts';
import { picture } from '../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-names-'));
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true });
});
const hostile = 'a\x1b[2J\u009b\nAll 2 images can be read.\u202egnp.1';

it('inspect shows a bad picture in one line', async () => {
  const path = join(folder, 'x.faces');
  const writer = await createPacked(path);
  const image = { label: 0, identity: 'p' };
  const bytes = encodePng(picture(0, 0, 8));
  await writer.add({ ...image, name: 'ok', bytes });
  await writer.add({ ...image, name: hostile, bytes: bytes.subarray(0, 40) });
  await writer.finish({ identities: ['p'] });
  const found = await inspect(path, { verify: true, workers: 0 });
  if (found.kind !== 'images') throw new Error('no images');
  const text = setText(found, false);
  expect(text).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
  expect(text).not.toMatch(/^All 2 images/m);
  expect(text).toContain('a\\u001b[2J\\u009b\\u000aAll 2 images can be read.\\u202egnp.1');
  const error = await prepare({ sources: [path], out: join(folder, 'out'), check: true, workers: 0 }).catch((e) => e);
  expect(error.name).toBe('DataError');
  expect(error.message).toMatch(/^\S+x\.faces: image 1 \(a\\u001b\[2J\\u009b\\u000aAll 2 images .*damaged/);
});

it('what is printed holds no controls, JSON the same values', () => {
  const written: string[] = [];
  const taken = (text: string | Uint8Array) => {
    written.push(String(text));
    return true;
  };
  const out = vi.spyOn(process.stdout, 'write').mockImplementation(taken);
  const err = vi.spyOn(process.stderr, 'write').mockImplementation(taken);
  const code = process.exitCode;
  try {
    print(hostile);
    printJson({ name: hostile });
    fail(new Error(hostile));
  } finally {
    out.mockRestore();
    err.mockRestore();
    process.exitCode = code;
  }
  expect(written.length).toBe(3);
  for (const text of written) expect(text).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
  expect(JSON.parse(written[1]!)).toEqual({ name: hostile });
});
