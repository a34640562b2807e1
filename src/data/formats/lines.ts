/** Lines of a text file of any size, read in blocks. */
import { DataError } from '../../core/errors.ts';
import type { ByteSource } from '../bytes.ts';

/** Longer ones are not text meant to be read by line, and would take memory and time. */
const mostLine = 1 << 16;

/** Throws the DataError of a line that is too long. @param where file and line */
export function checkLine(line: string, where: string): void {
  if (line.length > mostLine)
    throw new DataError(
      `${where}: expected a line of text, got one of more than ${mostLine} characters\nIt is damaged or another kind of file.`,
    );
}

/**
 * The lines of UTF-8 text, some thousands at a time, without their ends (LF or CR LF).
 * @throws DataError naming file and line where one has more than 65536 bytes
 */
export async function* lineBlocks(source: ByteSource, block = 1 << 20): AsyncGenerator<string[]> {
  const text = new TextDecoder();
  let rest = '';
  let line = 1;
  for (let at = 0; at < source.size; at += block) {
    const length = Math.min(block, source.size - at);
    const decoded = text.decode(await source.read(at, length), { stream: at + length < source.size });
    const lines = (rest + decoded).split('\n');
    rest = lines.pop()!;
    const long = [...lines, rest].findIndex((l) => l.length > mostLine);
    if (long >= 0) checkLine(lines[long] ?? rest, `${source.name}:${line + long}`);
    line += lines.length;
    yield lines.map((l) => (l.endsWith('\r') ? l.slice(0, -1) : l));
  }
  if (rest !== '') yield [rest.endsWith('\r') ? rest.slice(0, -1) : rest];
}
