import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { formats } from '../../../src/data/formats/index.ts';

it('the README lists every format with what --to takes and its ending', () => {
  const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8');
  const rows = readme
    .split('\n')
    .filter((l) => /^\| .*`\w+`/.test(l))
    .map((l) => l.split('|')[2]!.trim());
  for (const { name, ending, create, createFromPairs } of formats)
    expect(rows).toContain(
      `\`${name}\`${ending ? `, \`${ending}\`` : ''}${create || createFromPairs ? '' : ' (read only)'}`,
    );
});
