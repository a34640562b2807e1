/** The network of a checkpoint that holds a graph: what `loadEmbedder` loads when one comes, and nothing else imports. */
import { networkBy } from '../described.ts';
import type { FaceNetwork } from '../network.ts';
import { graphModel } from './network.ts';

/** Throws DataError where the metadata describes none. */
export const graphOfCheckpoint = (metadata: Readonly<Record<string, string>>, source: string): FaceNetwork =>
  networkBy((options) => graphModel.create(options), metadata, source);
