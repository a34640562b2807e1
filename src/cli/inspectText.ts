/** The text of `facegrad inspect`: what was found of a set or an array, in lines for people. */
import { printable } from '../core/printable.ts';
import type { MatrixInspection, SetInspection } from '../data/inspect/inspect.ts';
import type { PerIdentity, SampleFacts } from '../data/inspect/setFacts.ts';
import type { Verified } from '../data/inspect/verifySet.ts';
import { count, counted, size } from './output.ts';

const people = (n: number): string => counted(n, 'person', 'people');
/** A share as whole per cent that is 0 and 100 only where it is none and all. */
function percent(n: number, of: number): string {
  const p = (100 * n) / of;
  if (n > 0 && p < 1) return 'under 1 %';
  if (n < of && p > 99) return 'over 99 %';
  return `${p.toFixed(0)} %`;
}

const row = (name: string, text: string): string => `  ${name.padEnd(13)}${text}`;
/** Lines as text; a name from a file does not make lines of its own. */
const shown = (lines: readonly string[]): string => lines.map(printable).join('\n');
const more = (text: string): string => row('', text);

/** A bar of up to `width` cells, with eighths of a cell. */
function bar(share: number, width: number): string {
  const eighths = share > 0 ? Math.max(1, Math.round(share * width * 8)) : 0;
  return '█'.repeat(eighths >> 3) + (['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths & 7] ?? '');
}

function identityLines(p: PerIdentity, identities: number): string[] {
  const from = p.min === p.max ? `${p.min} each` : `${count(p.min)} to ${count(p.max)}`;
  const average = p.min === p.max ? '' : `, median ${p.median}, mean ${p.mean.toFixed(1)}`;
  const present = identities - p.without;
  const few = (
    [
      [2, p.below2],
      [10, p.below10],
      [30, p.below30],
    ] as const
  ).filter(([, n]) => n > 0);
  // Of limits that all are below, the lowest says it.
  const all = few.findIndex(([, n]) => n === present);
  const told = all < 0 ? few : few.slice(0, all + 1);
  const lines = [row('per person', `${from}${average}`)];
  if (told.length > 0)
    lines.push(
      more(
        `fewer than ${told.map(([limit, n]) => `${limit}: ${n === present ? 'all' : people(n)}`).join('; fewer than ')}`,
      ),
    );
  if (p.without > 0) lines.push(more(`${count(p.without)} of the ${people(identities)} have no images`));
  if (p.histogram.length > 1) {
    lines.push('', '  images     people');
    const most = Math.max(...p.histogram.map((b) => b.identities));
    for (const b of p.histogram) {
      const range = b.to === null ? `${b.from}+` : b.from === b.to ? `${b.from}` : `${b.from}–${b.to}`;
      lines.push(
        `  ${range.padStart(7)}${count(b.identities).padStart(10)}  ${bar(b.identities / most, 40)}`.trimEnd(),
      );
    }
  }
  return lines;
}

/** The bytes of all images, as far as known. */
const inAll = (s: SampleFacts, images: number): string =>
  `${s.images === images ? '' : 'about '}${size(s.bytes.mean * images)} in all`;

const formatNames: Readonly<Record<string, string>> = {
  jpeg: 'JPEG',
  png: 'PNG',
  raw: 'bare pixels',
  unknown: 'unreadable',
};

function shares(counts: Readonly<Record<string, number>>, of: number, name = (k: string) => k): string {
  return Object.entries(counts)
    .sort((a, b) => b[1] - a[1])
    .map(([k, n]) => `${name(k)} ${percent(n, of)}`)
    .join(', ');
}

const sizesShown = 6;

function sampleLines(s: SampleFacts, images: number): string[] {
  if (s.images === 0) return ['No pictures to look at.'];
  const { min, median, max } = s.bytes;
  const lines = [
    s.images === images
      ? `${s.images === 1 ? 'The picture' : `All ${count(images)} pictures`}${s.decoded === s.images ? ', decoded' : `; ${count(s.decoded)} of them decoded for their colours`}:`
      : `${count(s.images)} pictures from all over the set (--all looks at all); ${count(s.decoded)} of them decoded for their colours:`,
    row('stored as', `${shares(s.formats, s.images, (k) => formatNames[k] ?? k)}`),
    row(
      'bytes',
      `${min === max ? `${size(min)} each` : `${size(min)} to ${size(max)}, median ${size(median)}`}; ${inAll(s, images)}`,
    ),
  ];
  const sized = s.sizes.reduce((n, z) => n + z.images, s.otherSizes);
  s.sizes.slice(0, sizesShown).forEach((z, k) => {
    const text = `${`${z.width}x${z.height}`.padEnd(11)}${s.sizes.length > 1 ? count(z.images).padStart(9) : ''}  ${percent(z.images, sized)}`;
    lines.push(row(k === 0 ? 'size' : '', text));
  });
  if (s.sizes.length > sizesShown) {
    const others = s.sizes.slice(sizesShown).reduce((n, z) => n + z.images, s.otherSizes);
    const kinds = `${s.otherSizes > 0 ? 'over ' : ''}${counted(s.sizes.length - sizesShown, 'other size')}`;
    lines.push(more(`${kinds}: ${counted(others, 'picture')}, ${percent(others, sized)}`));
  }
  if (s.mean)
    lines.push(
      row(
        'colours',
        `mean red ${s.mean[0].toFixed(0)}, green ${s.mean[1].toFixed(0)}, blue ${s.mean[2].toFixed(0)} (of 255)`,
      ),
    );
  const colour = Object.values(s.subsampling).reduce((a, b) => a + b, 0);
  lines.push(
    row(
      s.mean ? '' : 'colours',
      `${s.grey === 0 ? 'none' : percent(s.grey, s.images)} grey${colour > 0 ? `; chroma of JPEG ${shares(s.subsampling, colour)}` : ''}`,
    ),
  );
  if (s.colourHint) lines.push(more(`! ${s.colourHint}`));
  if (s.turned > 0)
    lines.push(
      more(
        `! ${percent(s.turned, s.images)} ask to be turned by EXIF, which is not done: turn them with another program`,
      ),
    );
  if (s.aligned) {
    const { aligned, images: n, share, why, mostly } = s.aligned;
    const low = Math.round(share * n);
    lines.push(
      row(
        'alignment',
        aligned
          ? `they look like aligned face crops${low > 0 ? ` (${low} of ${n} looked at do not)` : ` (${n} looked at)`}`
          : `! ${why}${mostly ? `; mostly: ${mostly}` : ''}`,
      ),
    );
  }
  if (s.bad > 0) {
    lines.push(row('unreadable', `! ${count(s.bad)} of these ${counted(s.images, 'picture')}`));
    for (const b of s.badImages.slice(0, 5)) lines.push(more(`${b.name}: ${b.reason}`));
  }
  return lines;
}

const listed = 20;

/** The first of a list, and how many more there are. */
function some<T>(list: readonly T[], of: number, line: (item: T) => string): string[] {
  const lines = list.slice(0, listed).map((item) => `  ${line(item)}`);
  return of > lines.length ? [...lines, `  … and ${count(of - lines.length)} more (--json lists them)`] : lines;
}

function verifiedLines(v: Verified, set: SetInspection): string[] {
  const lines: string[] = [];
  if (v.bad === 0 && v.repaired === 0) lines.push(`All ${counted(set.images, 'image')} can be read.`);
  else {
    const did = v.repaired > 0 ? `${counted(v.repaired, 'picture')} repaired; ` : '';
    lines.push(
      `${did}${v.bad === 0 ? 'all' : `${count(v.bad)} of ${count(set.images)}`} images ${v.bad === 0 ? 'can now' : 'cannot'} be read:`,
    );
    lines.push(
      ...some(v.badPictures, v.bad + v.repaired, (b) => {
        const fate =
          b.original !== undefined
            ? ` — repaired, original kept as ${b.original}`
            : b.notRepaired !== undefined
              ? ` — not repaired: ${b.notRepaired}`
              : b.repairable
                ? ' (part of it can be saved)'
                : '';
        return `${b.name}: ${b.reason}${fate}`;
      }),
    );
  }
  if (v.damage.length > 0)
    lines.push(
      `${counted(v.damage.length, 'damaged part')} of the file itself:`,
      ...some(v.damage, v.damage.length, (d) => d),
    );
  if (v.otherSize > 0 && v.commonSize)
    lines.push(
      '',
      `${counted(v.otherSize, 'image')} ${v.otherSize === 1 ? 'is' : 'are'} not ${v.commonSize[0]}x${v.commonSize[1]} as most are:`,
      ...some(v.otherSizes, v.otherSize, (z) => `${z.width}x${z.height}  ${z.name}`),
    );
  const d = v.duplicates;
  if (d.groups === 0) lines.push('No image is there twice (compared by their bytes).');
  else {
    lines.push(
      '',
      `${counted(d.copies, 'image')} ${d.copies === 1 ? 'is an exact copy of another' : 'are exact copies of others'}${
        d.across > 0
          ? `; ${d.across === 1 ? 'one picture stands' : `${count(d.across)} pictures stand`} under different people, so some labels are wrong:`
          : `${set.identities > 0 ? ', each of the same person' : ''}:`
      }`,
      ...some(d.examples, d.groups, (g) => {
        const names = g.images.slice(0, 4).map((i) => i.name);
        return `${g.across ? 'different people: ' : ''}${names.join(' = ')}${g.images.length > 4 ? ` = ${g.images.length - 4} more` : ''}`;
      }),
    );
  }
  return lines;
}

/** What to do next, where something is wrong. */
function advice(set: SetInspection, repair: boolean): string[] {
  const v = set.verified;
  if (!v) return set.sample.bad > 0 ? ['', 'Run it with --verify to find all that cannot be read.'] : [];
  if (v.bad + v.damage.length === 0) return [];
  const files = set.format === 'folder' || set.format === 'list';
  if (files && !repair) return ['', 'Save what can be saved with --repair; the originals stay beside as NAME.bad.'];
  return [
    '',
    files
      ? `Remove the others, or leave them out: facegrad prepare ${set.path} OUT --skip-bad`
      : `Write a sound copy: facegrad prepare ${set.path} OUT --repair --skip-bad`,
  ];
}

/** What a set holds. @param repair whether repairing was tried */
export function setText(set: SetInspection, repair: boolean): string {
  const { images, identities, unlabelled, perIdentity, pairs } = set;
  const means = set.format === 'folder' && identities === 0 ? 'a folder of pictures' : set.means;
  const lines = [`${set.path}: ${set.format} (${means})`];
  for (const n of set.notes) lines.push(`! ${n}`);
  const who = identities > 0 ? ` of ${people(identities)}` : '; their people are not known';
  lines.push('', `${counted(images, 'image')}${who}${set.landmarks ? ', with landmarks' : ''}`);
  if (identities > 0 && unlabelled > 0) lines.push(row('not labelled', counted(unlabelled, 'image')));
  if (perIdentity) lines.push(...identityLines(perIdentity, identities));
  if (pairs) {
    lines.push(
      '',
      `${counted(pairs.same + pairs.different, 'pair')}: ${count(pairs.same)} of the same person, ${count(pairs.different)} of different people, in ${counted(pairs.folds.length, 'fold')}`,
    );
    const kinds = pairs.folds.map((f) => `${count(f.same)} + ${count(f.different)}`);
    const alike = kinds.every((k) => k === kinds[0]);
    lines.push(
      row(
        'per fold',
        alike
          ? `${kinds[0]} (same + different)`
          : `${kinds.slice(0, 20).join(', ')}${kinds.length > 20 ? ' …' : ''} (same + different)`,
      ),
    );
    if (pairs.contradictions > 0)
      lines.push(
        more(
          `! ${counted(pairs.contradictions, 'pair')} ${pairs.contradictions === 1 ? 'says' : 'say'} otherwise than the labels of the images`,
        ),
      );
  }
  lines.push('', ...sampleLines(set.sample, images));
  if (set.verified) lines.push('', ...verifiedLines(set.verified, set));
  return shown([...lines, ...advice(set, repair)]);
}

const number = (x: number) => String(Number(x.toPrecision(6)));

/** What a file of arrays holds. */
export function matrixText({ path, format, arrays }: MatrixInspection): string {
  const lines = [`${path}: ${format}, ${counted(arrays.length, 'array')}`];
  for (const { name, type = 'not numbers', shape, min, max } of arrays) {
    const form = shape === undefined ? '' : shape.length > 0 ? `, ${shape.join('x')}` : ', a single number';
    const range = min === undefined || max === undefined ? '' : `, ${number(min)} to ${number(max)}`;
    const text = `${type}${form}${range}`;
    lines.push(name === '' ? `  ${text}` : row(name, text));
  }
  return shown(lines);
}
