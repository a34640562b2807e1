/** Names from files made into paths that stay inside a folder. */
import { DataError } from '../core/errors.ts';

/** Names that Windows keeps for devices. */
const devices = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

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
    p.length > 240;
  if (parts.some(bad))
    throw new DataError(
      `${where}: expected a name that stays inside its folder, got ${JSON.stringify(name.slice(0, 200))}\nThe file is damaged or hostile; nothing was written for this image.`,
    );
  return parts.join('/');
}
