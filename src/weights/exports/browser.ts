/**
 * A model and the engine that runs it in one file, for pages: an ES module, or a page of its own. Nothing is fetched.
 *
 * The one idea: text around text. The engine is one script, made when the package is built (src/web); the weights are this
 * program's own file as base64; a few lines tie them together. The graph is not folded: the page computes what is computed
 * here, to the bit on the same kind of device.
 */
import { graphNetwork } from '../../models/graph/network.ts';
import { describeNetwork, networkOf } from '../../models/index.ts';
import { loadState, variablesOf } from '../../nn/module.ts';
import { checkpointVersion, parseCheckpoint } from '../checkpoint.ts';
import { writeSafetensors } from '../safetensors.ts';
import { type ExportContext, type ExportFile, type ExportTarget, lastingMetadata } from './target.ts';

function base64(bytes: Uint8Array): string {
  let out = '';
  // Pieces of a multiple of three bytes join without padding between them.
  for (let at = 0; at < bytes.length; at += 24_576)
    out += btoa(String.fromCharCode(...bytes.subarray(at, at + 24_576)));
  return out;
}
const unbase64 = (text: string): Uint8Array => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** What pages may want to know of a model, and the model. */
function parts({ graph, network, metadata, half, name, threshold }: ExportContext): { info: string; weights: string } {
  const exported = graphNetwork(graph, name);
  exported.preprocessing = network.preprocessing;
  const bytes = writeSafetensors(
    graph.tensors,
    {
      ...lastingMetadata(metadata),
      ...describeNetwork(exported),
      format: 'facegrad',
      version: String(checkpointVersion),
    },
    { half: (_, t) => half && t.shape.length > 1 },
  );
  const [height, width] = network.preprocessing.inputSize;
  const info = {
    architecture: network.architecture,
    embeddingSize: network.options.embeddingSize,
    width,
    height,
    threshold,
  };
  // No text of a model's file ends a script or opens a comment in a page.
  return { info: JSON.stringify(info).replaceAll('<', '\\u003c'), weights: base64(bytes) };
}

const glue = (engine: string, { info, weights }: ReturnType<typeof parts>): string => `${engine.trim()}
const info = ${info};
let opened;
/** Loads the model, once. options.device: 'auto' (WebGPU where there is a GPU), 'wasm' or 'webgpu'; options.threads. */
const open = (options) => (opened ??= facegrad.load(facegrad.decode(weights), options));
/** The embedding of a face crop (ImageData, or { width, height, data } of RGB or RGBA); of a list of them, a list. */
async function embed(image) {
  const model = await open();
  return Array.isArray(image) ? model.embed(image) : (await model.embed([image]))[0];
}
/** The cosine of two embeddings. */
const { similarity } = facegrad;
const weights = '${weights}';
`;

async function readBack([file]: readonly ExportFile[]) {
  const text = new TextDecoder().decode(file!.bytes);
  const [, weights] = /^const weights = '([\w+/=]*)';$/m.exec(text)!;
  const { tensors, metadata } = parseCheckpoint(unbase64(weights!), file!.name);
  const network = networkOf(metadata, file!.name);
  loadState(variablesOf(network), tensors, file!.name);
  return network;
}
const utf8 = (text: string) => new TextEncoder().encode(text);

export const browserTarget: ExportTarget = {
  name: 'browser',
  means: "one ES module with engine and weights: import { embed, similarity } from './model.js'",
  endings: ['.js', '.mjs'],
  prepares: false,
  halves: true,
  async write(context) {
    const text = `${glue(await context.engine(), parts(context))}export { embed, info, open, similarity };\n`;
    return { files: [{ name: context.name, bytes: utf8(text) }], notes: [] };
  },
  readBack,
};

const page = (title: string, script: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark; }
  .pair { display: flex; gap: 1rem; flex-wrap: wrap; }
  label { flex: 1 1 12rem; border: 2px dashed #8888; border-radius: 8px; padding: 1rem; text-align: center; cursor: pointer; }
  label:focus-within, label.over { border-color: #36c; }
  input { position: absolute; opacity: 0; width: 1px; height: 1px; }
  canvas { display: block; margin: 0 auto .5rem; width: 100%; max-width: 224px; image-rendering: auto; background: #8882; border-radius: 4px; }
  output { display: block; margin: 1.5rem 0; font-size: 1.5rem; min-height: 4.5rem; }
  small { display: block; font-size: 1rem; opacity: .8; }
</style>
<h1>One person?</h1>
<p>Two pictures of faces, cut out and aligned as those the network was trained with. They stay on this machine.</p>
<div class="pair">
  <label><canvas></canvas><span>First picture: drop or choose it</span><input type="file" accept="image/*"></label>
  <label><canvas></canvas><span>Second picture: drop or choose it</span><input type="file" accept="image/*"></label>
</div>
<output aria-live="polite"></output>
<script>
${script.replaceAll('</script', '<\\/script')}
const said = document.querySelector('output');
const faces = [];
const show = (text, more = '') => {
  said.textContent = text;
  const small = document.createElement('small');
  small.textContent = more;
  said.append(small);
};
async function compare() {
  if (!faces[0] || !faces[1]) return;
  show('…');
  const started = performance.now();
  const cosine = similarity(...(await embed(faces)));
  const { cosine: line, from } = info.threshold;
  show(
    (cosine >= line ? 'Probably one person' : 'Probably two people') + ': similarity ' + cosine.toFixed(3),
    'From ' + line.toFixed(3) + ' on, pictures are taken for one person (' + from + '). ' +
      Math.round(performance.now() - started) + ' ms.',
  );
}
async function take(at, file) {
  const label = document.querySelectorAll('label')[at];
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    show('This is no picture that the browser can read.', file.name);
    return;
  }
  const canvas = label.querySelector('canvas');
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  faces[at] = context.getImageData(0, 0, picture.width, picture.height);
  label.querySelector('span').textContent = file.name;
  await compare().catch((error) => show('The network does not run here.', error.message));
}
document.querySelectorAll('label').forEach((label, at) => {
  const canvas = label.querySelector('canvas');
  canvas.width = info.width;
  canvas.height = info.height;
  label.querySelector('input').onchange = (e) => e.target.files[0] && take(at, e.target.files[0]);
  label.ondragover = (e) => { e.preventDefault(); label.classList.add('over'); };
  label.ondragleave = () => label.classList.remove('over');
  label.ondrop = (e) => {
    e.preventDefault();
    label.classList.remove('over');
    if (e.dataTransfer.files[0]) take(at, e.dataTransfer.files[0]);
  };
});
</script>
</html>
`;

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

export const htmlTarget: ExportTarget = {
  name: 'html',
  means: 'one page with engine and weights that compares two pictures',
  endings: ['.html', '.htm'],
  prepares: false,
  halves: true,
  async write(context) {
    const text = page(escaped(`${context.name}: one person?`), glue(await context.engine(), parts(context)));
    return { files: [{ name: context.name, bytes: utf8(text) }], notes: [] };
  },
  readBack,
};
