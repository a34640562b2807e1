/** Tar archives, as far as weights and packages come in them (POSIX ustar): https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html */
import { DataError } from '../core/errors.ts';
import { Cursor } from './cursor.ts';

const block = 512;

/** The text of a field that ends at its first zero. */
const tarText = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes).replace(/\0.*$/s, '');

/** Members by name: headers of 512 bytes, sizes in octal, content padded to blocks. Throws DataError where it is cut off. */
export function readTarMembers(bytes: Uint8Array, name: string): Map<string, Uint8Array> {
  const cursor = new Cursor(bytes, name);
  const members = new Map<string, Uint8Array>();
  while (cursor.left >= block) {
    const header = cursor.take(block, 'a header');
    const member = tarText(header.subarray(0, 100)).replace(/^\.\//, '');
    if (member === '') break;
    const size = tarText(header.subarray(124, 136)).trim();
    if (!/^[0-7]+$/.test(size))
      throw new DataError(`${name}: expected the size of member '${member}' in octal, got '${size}'\nFetch it again.`);
    const length = Number.parseInt(size, 8);
    members.set(member, cursor.take(length, `member '${member}'`));
    cursor.take(Math.min(cursor.left, -length & (block - 1)), 'padding');
  }
  return members;
}
