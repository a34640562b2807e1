/**
 * First bytes by which files of weights are told from one another. They are apart from the readers, so that a page loads a
 * reader only when a file of its comes.
 */
const begins = (head: Uint8Array, bytes: ArrayLike<number>): boolean =>
  head.length >= bytes.length && Array.from(bytes).every((b, i) => head[i] === b);
const latin1 = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);
const firstU32 = (head: Uint8Array): number | undefined =>
  head.length >= 4 ? new DataView(head.buffer, head.byteOffset, 4).getUint32(0, true) : undefined;

export const isZip = (head: Uint8Array): boolean => begins(head, [0x50, 0x4b, 3, 4]);
export const isHdf5 = (head: Uint8Array): boolean => begins(head, [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]);

/** How PyTorch's stream of pickles begins: 0x1950a86a20f9469cfc6c in a pickle of protocol 2. */
export const torchMagic = Uint8Array.of(
  0x80,
  2,
  0x8a,
  10,
  0x6c,
  0xfc,
  0x9c,
  0x46,
  0xf9,
  0x20,
  0x6a,
  0xa8,
  0x50,
  0x19,
  0x2e,
);
export const isTorchStream = (head: Uint8Array): boolean => begins(head, torchMagic);
/** Whether a tar archive begins with one of the members of PyTorch's. */
export const isTorchTar = (head: Uint8Array): boolean =>
  head.length >= 512 && /^(\.\/)?(storages|tensors|pickle|sys_info)(\0|$)/.test(latin1(head.subarray(0, 100)));

/** A list of MXNet's arrays: its number 0x112 and a reserved word of zero. */
export const isMxnetParams = (head: Uint8Array): boolean =>
  head.length >= 16 && begins(head, [0x12, 1, ...Array(14).fill(0)]);

/** The first line of ncnn's `.param`, the first word of its `.param.bin`. */
export const ncnnMagic = 7767517;
export const isNcnnBinaryParam = (head: Uint8Array): boolean => firstU32(head) === ncnnMagic;
export const isNcnnParam = (head: Uint8Array): boolean =>
  /^\s*7767517\s/.test(latin1(head.subarray(0, 20))) || isNcnnBinaryParam(head);

/** Tags before ncnn's weights: half precision, and float32 as newer tools write it; 0 is float32 too. */
export const ncnnHalfTag = 0x01306b47;
export const ncnnFloatTag = 0x0002c056;
/** Whether bytes begin with the tag of weights that are read here; a `.bin` has no magic number of its own. */
export const isNcnnBin = (head: Uint8Array): boolean =>
  head.length >= 8 && [0, ncnnHalfTag, ncnnFloatTag].includes(firstU32(head)!);
