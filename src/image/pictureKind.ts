/** What a picture file is by its first bytes, and the names that such files bear. */

export type PictureKind = 'jpeg' | 'png';

const pngSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** JPEG or PNG by the first 8 bytes of a file; undefined for what is neither. */
export function pictureKind(bytes: Uint8Array): PictureKind | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return 'jpeg';
  return pngSignature.every((b, i) => bytes[i] === b) ? 'png' : undefined;
}

const endings = { jpeg: /\.jpe?g$/i, png: /\.png$/i };

const anyEnding = /\.(jpe?g|png|bmp|gif|tiff?|webp)$/i;

/** Whether a name ends as one of a picture, of any kind. */
export const hasEnding = (name: string): boolean => anyEnding.test(name);

/** A picture's name without the ending that says what kind of file it was. */
export const withoutEnding = (name: string): string => name.replace(anyEnding, '');

/** A picture's name with an ending that says what its bytes are. */
export const withEnding = (name: string, kind: PictureKind): string =>
  endings[kind].test(name) ? name : `${withoutEnding(name)}.${kind === 'jpeg' ? 'jpg' : 'png'}`;
