/**
 * The text of ncnn's `.param` files: a line a layer, with the names of what it reads and gives.
 *
 * The one idea: ncnn lets one layer read a value, so a value that several read goes through a Split first.
 * Source: ncnn's docs/developer-guide/param-and-model-file-structure.md.
 */
import { ncnnMagic } from '../magic.ts';

/** A layer. */
export interface Line {
  readonly type: string;
  readonly name: string;
  inputs: string[];
  outputs: string[];
  readonly params: string;
}

/** The shortest text of a float32 that ncnn takes for a float. */
export function floatText(value: number): string {
  const x = Math.fround(value);
  for (let digits = 1; digits <= 9; digits++) {
    const text = x.toExponential(digits);
    if (Math.fround(Number(text)) === x) return text;
  }
  return x.toExponential(9);
}

/** Puts a Split behind each value that several read, and gives the outputs their names. */
function split(lines: readonly Line[], outputs: readonly { name: string; blob: string }[]): Line[] {
  const taken = new Set(lines.flatMap((l) => l.outputs));
  const unique = (wanted: string) => {
    let out = wanted.replace(/\s+/g, '_');
    for (let i = 1; taken.has(out); i++) out = `${wanted}_${i}`;
    taken.add(out);
    return out;
  };
  const readers = new Map<string, ((name: string) => void)[]>();
  const read = (blob: string, rename: (name: string) => void) => {
    readers.set(blob, [...(readers.get(blob) ?? []), rename]);
  };
  for (const line of lines)
    for (const [i, blob] of line.inputs.entries())
      read(blob, (name) => {
        line.inputs[i] = name;
      });
  const wanted = new Map<string, string[]>();
  for (const { name, blob } of outputs) wanted.set(blob, [...(wanted.get(blob) ?? []), name]);
  return lines.flatMap((line) => {
    const made: Line[] = [line];
    for (const [i, blob] of line.outputs.entries()) {
      const others = readers.get(blob) ?? [];
      const named = wanted.get(blob) ?? [];
      if (others.length + named.length < 2 && line.type !== 'Input') {
        if (named[0] !== undefined && named[0] !== blob) line.outputs[i] = unique(named[0]);
      } else if (others.length + named.length > 1 || named.length) {
        if (named[0] === blob) {
          line.outputs[i] = unique(`${blob}_all`);
          taken.delete(blob);
        }
        const copies = [...others.map((_, k) => unique(`${blob}_splitncnn_${k}`)), ...named.map(unique)];
        others.forEach((rename, k) => {
          rename(copies[k]!);
        });
        made.push({
          type: 'Split',
          name: unique(`split_${blob}`),
          inputs: [line.outputs[i]!],
          outputs: copies,
          params: '',
        });
      }
    }
    return made;
  });
}

/** The file's text. The outputs of the network get their names. */
export function textOf(layers: readonly Line[], outputs: readonly { name: string; blob: string }[]): string {
  const lines = split(layers, outputs);
  const width = Math.max(...lines.map((l) => l.type.length));
  const blobs = lines.reduce((sum, l) => sum + l.outputs.length, 0);
  const text = lines.map(({ type, name, inputs, outputs: made, params }) =>
    [type.padEnd(width), name.padEnd(24), inputs.length, made.length, ...inputs, ...made, params].join(' ').trimEnd(),
  );
  return `${[ncnnMagic, `${lines.length} ${blobs}`, ...text].join('\n')}\n`;
}
