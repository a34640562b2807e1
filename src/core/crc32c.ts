/** CRC-32C (Castagnoli), as TFRecord, TensorFlow's checkpoints and the packed format use it. */
import { type Crc, crcOf } from './crc32.ts';

/** The checksum of bytes, as an unsigned number; `before` is that of the bytes before them. */
export const crc32c: Crc = /* @__PURE__ */ crcOf(0x82f63b78);
