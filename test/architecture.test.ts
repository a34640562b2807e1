/**
 * The plan of the house, held: folders import only from those before them, files are where their family is, and what a page
 * loads needs no Node.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const filesIn = (folder: string, ext: string): string[] =>
  existsSync(root + folder)
    ? readdirSync(root + folder, { recursive: true, encoding: 'utf8' })
        .map((f) => `${folder}/${f.replaceAll('\\', '/')}`)
        .filter((f) => f.endsWith(ext) && !f.endsWith('.d.ts') && !f.includes('node_modules'))
    : [];
const text = (file: string) => readFileSync(root + file, 'utf8');

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}
/** Static and dynamic imports of a file; those of own files resolved to paths from the root. */
function importsOf(file: string): Import[] {
  const code = text(file)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
  const found = [...code.matchAll(/(?:^|\n)\s*(import|export)\s+(type\s)?[^;'"]*?from\s+'([^']+)'/g)].map((m) => ({
    spec: m[3]!,
    typeOnly: m[2] !== undefined,
  }));
  for (const m of code.matchAll(/(?:^|\n)\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g))
    found.push({ spec: (m[1] ?? m[2])!, typeOnly: false });
  return found.map(({ spec, typeOnly }) => ({
    from: file,
    to: spec.startsWith('.') ? posix.normalize(posix.join(posix.dirname(file), spec)) : spec,
    typeOnly,
  }));
}

/** Written by the build. */
const generated = 'kernels/sources.ts';
const sources = ['src', 'native', 'kernels', 'datasets']
  .flatMap((folder) => filesIn(folder, '.ts'))
  .filter((f) => f !== generated);
const imports = sources.flatMap(importsOf);
const isOwn = (path: string) => /^(src|native|datasets|bench|kernels)\//.test(path);

/**
 * First to last. Two folders are in two places. The encoder and the vector functions of `native/` come before the
 * expressions, whose WASM printer writes them; the kernel generators come after, since fused kernels hold expressions.
 * What a data set is comes before the synthetic ones; reading their images comes after.
 */
const order: readonly (readonly string[])[] = [
  ['src/core'],
  ['native encoder'],
  ['src/expr'],
  ['native'],
  ['kernels'],
  ['src/ops'],
  ['src/grad.ts'],
  ['src/plan'],
  ['src/device'],
  ['src/compile.ts'],
  ['src/nn'],
  ['src/optim'],
  ['src/models', 'src/heads'],
  ['src/quant'],
  ['src/weights', 'src/image'],
  ['what a data set is'],
  ['datasets'],
  ['src/data'],
  ['src/detect', 'src/evaluate'],
  ['src/train'],
  ['src/index.ts'],
  ['src/node.ts'],
  ['bench'],
  ['src/cli', 'src/web'],
];
const apart = new Map([
  ['native/values.ts', 'native encoder'],
  ['native/wasm.ts', 'native encoder'],
  ['native/math.ts', 'native encoder'],
  ['src/data/dataset.ts', 'what a data set is'],
]);
const placeOf = (file: string): string =>
  apart.get(file) ?? (file.startsWith('src/') ? file.split('/').slice(0, 2).join('/') : file.split('/')[0]!);
const levelOf = (file: string): number => order.findIndex((l) => l.includes(placeOf(file)));

describe('dependencies', () => {
  it('every source folder has its place in the order', () => {
    expect(sources.filter((f) => levelOf(f) < 0)).toEqual([]);
  });
  it('point one way', () => {
    const wrong = imports.filter(
      ({ from, to }) => isOwn(to) && placeOf(from) !== placeOf(to) && !(levelOf(to) < levelOf(from)),
    );
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });
  it('name files that are there', () => {
    const known = new Set([...sources, ...filesIn('bench', '.ts'), generated]);
    const missing = imports.filter(({ to }) => isOwn(to) && !known.has(to));
    expect(missing.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });
  it('on packages are runtime dependencies', () => {
    const { dependencies } = JSON.parse(text('package.json')) as { dependencies: Record<string, string> };
    const packages = imports.filter(({ to, typeOnly }) => !isOwn(to) && !to.startsWith('node:') && !typeOnly);
    const missing = packages.filter(({ from, to }) => {
      const name = to
        .split('/')
        .slice(0, to.startsWith('@') ? 2 : 1)
        .join('/');
      return !from.startsWith('datasets/') && !(name in dependencies);
    });
    expect(missing.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });
});

/** The files that a file reaches by imports, and the Node modules among what these import. */
function reach(entry: string): { reached: Set<string>; node: string[] } {
  const reached = new Set<string>();
  const visit = (file: string) => {
    if (reached.has(file) || !existsSync(root + file)) return;
    reached.add(file);
    for (const { to, typeOnly } of importsOf(file)) if (!typeOnly && isOwn(to)) visit(to);
  };
  visit(entry);
  const found = [...reached].flatMap(importsOf).filter(({ to, typeOnly }) => /^node:/.test(to) && !typeOnly);
  return { reached, node: found.map(({ from, to }) => `${from} imports ${to}`) };
}

describe('the public entry', () => {
  const { reached, node } = reach('src/index.ts');
  it('reaches no Node module, so that a page can load it', () => {
    expect(reached.size).toBeGreaterThan(50);
    expect(node).toEqual([]);
  });
  it('of data formats reaches none either, nor the engine', () => {
    const data = reach('src/data/index.ts');
    expect(data.node).toEqual([]);
    expect([...data.reached].filter((f) => /^(native|kernels|src\/(ops|plan|device|expr))/.test(f))).toEqual([]);
  });
  it('does not reach the command line, the training runs or the file loaders', () => {
    expect([...reached].filter((f) => /^(src\/(cli|train|node|data)|bench|datasets)/.test(f))).toEqual([]);
  });
});

describe('the same-name rule', () => {
  const nameOf = (file: string) => posix.basename(file, posix.extname(file));
  const families = new Set(filesIn('src/ops', '.ts').map(nameOf));
  /** The family of a file: the longest op file name that its own begins with. */
  const familyOf = (file: string): string | undefined =>
    [...families]
      .filter((f) => nameOf(file) === f || new RegExp(`^${f}[A-Z]`).test(nameOf(file)))
      .sort((a, b) => b.length - a.length)[0];
  const native = filesIn('native', '.ts');

  it('an op file takes its kernels from the file of its name, or of its family', () => {
    const wrong = imports.filter(
      ({ from, to, typeOnly }) =>
        from.startsWith('src/ops/') && /^(native|kernels)\//.test(to) && !typeOnly && familyOf(to) !== nameOf(from),
    );
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });
  it('every file of lowerings belongs to an op file, which uses it', () => {
    const lowerings = native.filter((f) => /export const \w+Wasm\b|export function \w+Wasm\b/.test(text(f)));
    expect(lowerings.length).toBeGreaterThan(10);
    for (const file of lowerings) {
      // A part of a family is exported again by the file of the family's name.
      const owner = familyOf(file)
        ? file
        : native.find((f) => familyOf(f) && text(f).includes(`from './${nameOf(file)}.ts'`));
      expect(owner, file).toBeDefined();
      const users = imports.filter(({ from, to }) => to.startsWith(`native/${familyOf(owner!)}`) && from !== owner);
      expect(users.length, file).toBeGreaterThan(0);
    }
  });
  it('every op with kernels has its WGSL lowering in the file of its name', () => {
    for (const family of families) {
      const own = native.some((f) => nameOf(f) === family && /export (const|function) \w+Wasm\b/.test(text(f)));
      if (own) expect(existsSync(`${root}kernels/${family}.ts`), `kernels/${family}.ts`).toBe(true);
    }
  });
  it('every WGSL file has the name of a TypeScript file beside it, and is used', () => {
    const beside = filesIn('kernels', '.ts');
    const code = beside.filter((f) => f !== generated).map(text);
    for (const file of filesIn('kernels', '.wgsl')) {
      const stem = nameOf(file);
      expect(
        beside.some((f) => new RegExp(`^${nameOf(f)}([A-Z]|$)`).test(stem)),
        file,
      ).toBe(true);
      expect(
        code.some((c) => new RegExp(`['.\`]${stem}\\b`).test(c)),
        `${file} is used`,
      ).toBe(true);
    }
  });
});

describe('files', () => {
  it('open by saying what they are', () => {
    const silent = sources.filter((f) => !/^(#!.*\n)?\/\*\*/.test(text(f)));
    expect(silent).toEqual([]);
  });
  it('hold no unfinished work', () => {
    const marks = ['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'];
    expect(sources.filter((f) => marks.some((m) => new RegExp(`\\b${m}\\b`).test(text(f))))).toEqual([]);
  });
});
