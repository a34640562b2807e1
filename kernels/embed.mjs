/**
 * Writes kernels/sources.ts: the text of every .wgsl file of this folder as TypeScript, so that Node and bundlers need no
 * loader. Part of `npm run build`.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const here = new URL('./', import.meta.url);
const files = readdirSync(here)
  .filter((f) => f.endsWith('.wgsl'))
  .sort();
const entries = files.map((f) => {
  const text = readFileSync(new URL(f, here), 'utf8').replaceAll('\r\n', '\n');
  return `  ${f.replace('.wgsl', '')}: ${JSON.stringify(text)},\n`;
});
const code = `/** The .wgsl files of this folder. Written by embed.mjs. */\nexport const sources: Readonly<Record<string, string>> = {\n${entries.join('')}};\n`;
const out = new URL('sources.ts', here);
let before;
try {
  before = readFileSync(out, 'utf8');
} catch {}
if (code !== before) writeFileSync(out, code);
