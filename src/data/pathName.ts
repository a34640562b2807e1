/** Names from files made into paths that stay inside a folder. */
import { DataError } from '../core/errors.ts';

/** A path with '/' between its parts and without './' at its start. */
export function plainPath(path: string): string {
  const plain = path.replaceAll('\\', '/');
  let from = 0;
  while (plain.startsWith('./', from)) from += 2;
  return plain.slice(from);
}

/** What Windows does not take: names that it keeps for devices, also with an ending, and what it cuts off or reads otherwise. */
const onlyElsewhere = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d\u00b9\u00b2\u00b3])\s*(\.|$)|[. ]$|[<>:"|?*]/i;
/** File systems take 255 bytes, or as many halves of UTF-16. */
const mostBytes = 240;
const utf8 = new TextEncoder();
const isWindows = globalThis.process?.platform === 'win32';

/**
 * A name inside a set as a relative path with '/' between its parts; backslashes count as '/'.
 * @param where what the error calls the set
 * @param windows whether it has to be a name that Windows takes. Elsewhere people such as 'Robert_Downey_Jr.' keep their names.
 * @throws DataError for a name that could lead out of its folder or that the file system does not take: absolute, with '..',
 * a drive, a control character, or empty
 */
export function safePath(name: string, where: string, windows: boolean = isWindows): string {
  const parts = name.replaceAll('\\', '/').split('/');
  const bad = (p: string) =>
    p === '' ||
    p === '.' ||
    p === '..' ||
    /\p{Cc}/u.test(p) ||
    utf8.encode(p.slice(0, mostBytes + 1)).length > mostBytes;
  const shown = JSON.stringify(name.slice(0, 200));
  if (parts.some(bad) || /^[a-z]:/i.test(name))
    throw new DataError(
      `${where}: expected a name that stays inside its folder, with parts of 1 to ${mostBytes} bytes, got ${shown}\nThe name is damaged, hostile or too long; nothing was written for this image.`,
    );
  if (windows && parts.some((p) => onlyElsewhere.test(p)))
    throw new DataError(
      `${where}: expected a name that Windows takes, got ${shown}\nRename it, or write to a single file such as set.faces.`,
    );
  return parts.join('/');
}
