/** What the README says of formats of weights is what the registry holds. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { weightFormats } from '../../src/weights/formats.ts';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const section = readme.slice(readme.indexOf('## Models of other programs'), readme.indexOf('## Faces in photographs'));

it('the table names every format, and no other', () => {
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  const named = rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([^`]+)`/g)].map((m) => m[1]!));
  expect(named.toSorted()).toEqual(weightFormats.map((f) => f.name).toSorted());
});
