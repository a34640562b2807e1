/** Names from files made into paths that stay inside a folder. */
import { DataError } from '../core/errors.ts';

/** A path with '/' between its parts and without './' at its start. */
export function plainPath(path: string): string {
  const plain = path.replaceAll('\\', '/');
  let from = 0;
  while (plain.startsWith('./', from)) from += 2;
  return plain.slice(from);
}

/** Names that Windows keeps for devices, also with an ending. */
const devices = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d\u00b9\u00b2\u00b3])\s*(\.|$)/i;
/** File systems take 255 bytes, or as many halves of UTF-16. */
const mostBytes = 240;
const utf8 = new TextEncoder();

/**
 * A name inside a set as a relative path with '/' between its parts; backslashes count as '/'.
 * @param where what the error calls the set
 * @throws DataError for a name that could lead out of its folder or that no file system takes: absolute, with '..', a drive,
 * a control character, or empty
 */
export function safePath(name: string, where: string): string {
  const parts = name.replaceAll('\\', '/').split('/');
  const bad = (p: string) =>
    p === '' ||
    p === '.' ||
    p === '..' ||
    devices.test(p) ||
    /[. ]$/.test(p) ||
    /[\p{Cc}<>:"|?*]/u.test(p) ||
    utf8.encode(p.slice(0, mostBytes + 1)).length > mostBytes;
  if (parts.some(bad))
    throw new DataError(
      `${where}: expected a name that stays inside its folder, got ${JSON.stringify(name.slice(0, 200))}\nThe file is damaged or hostile; nothing was written for this image.`,
    );
  return parts.join('/');
}
