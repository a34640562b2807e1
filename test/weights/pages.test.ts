/** Exported pages, whatever a model says of itself. */
import { expect, it } from 'vitest';
import { exportNetwork, exportTargetOf } from '../../src/weights/export.ts';
import { tinyNetwork } from '../helpers/tinyNetwork.ts';

it('lets no text of a model end the script of its page', async () => {
  const threshold = { cosine: 0.3, from: '</script><!-- <script>' };
  const { files } = await exportNetwork(tinyNetwork(), exportTargetOf('html', ''), {
    name: 'x',
    threshold,
    engine: async () => 'var facegrad = {};',
  });
  const page = new TextDecoder().decode(files[0]!.bytes);
  expect(page).not.toContain('<!--');
  expect(page.match(/<\/?script/g)).toEqual(['<script', '</script']);
  const [, info] = /^const info = (.*);$/m.exec(page)!;
  expect(JSON.parse(info!).threshold).toEqual(threshold);
});
