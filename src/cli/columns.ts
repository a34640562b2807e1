/** Two columns of text, the second broken into lines, as help texts and lists have them. */

/** Characters of a line: the terminal's, up to what reads well; 100 where there is none. */
export const lineWidth = (): number => Math.max(50, Math.min(process.stdout.columns ?? 100, 120));

/** Text in lines of at most `width` characters, broken between words. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/ +/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A paragraph under a heading. */
export const indented = (text: string): string =>
  wrapped(text, lineWidth() - 2)
    .map((line) => `  ${line}`)
    .join('\n');

/** Names with what they mean beside them; a name that is too long for its column has a line of its own. */
export function columns(
  rows: readonly (readonly [name: string, text: string])[],
  wide = Math.min(28, Math.max(0, ...rows.map(([name]) => name.length))),
): string {
  const indent = wide + 4;
  return rows
    .map(([name, text]) => {
      const lines = wrapped(text, lineWidth() - indent);
      const pad = ' '.repeat(indent);
      const beside = name.length <= wide;
      const body = lines.map((line, i) => (i === 0 && beside ? `  ${name}`.padEnd(indent) : pad) + line);
      return (beside ? body : [`  ${name}`, ...body]).join('\n');
    })
    .join('\n');
}
