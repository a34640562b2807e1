/** A process of its own that streams a set through the built package's loader and says how much memory it took. */
import { createLoader, keyOf, openDataset } from '../../dist/src/node.js';

const [path, batches] = [process.argv[2], Number(process.argv[3])];
const set = await openDataset(path);
const loader = createLoader({
  dataset: set,
  batch: 64,
  size: [112, 112],
  key: keyOf(1),
  flip: true,
  workers: 1,
  cacheBytes: 0,
});
for (let i = 0; i < batches; i++) await loader.next();
await loader.close();
process.send({ length: set.length, classes: set.classes, rssBytes: process.resourceUsage().maxRSS * 1024 });
