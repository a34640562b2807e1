/**
 * A training or verification run as one HTML page: figures, curves, score histogram, folds, example pairs. The page
 * holds everything itself (inline SVG and CSS, no script, no address) and follows the reader's light or dark setting.
 */
import { UsageError } from '../core/errors.ts';
import { escapeHtml, histogramPlot, linePlot, type Series } from './plot.ts';
import type { VerificationResult } from './verification.ts';

export interface ReportPair {
  /** Images as data URIs (png, jpeg or webp). */
  left: string;
  right: string;
  same: boolean;
  score: number;
  /** Whether the pair was judged rightly; wrong ones are marked. */
  correct: boolean;
  caption?: string;
}

export interface Report {
  title: string;
  subtitle?: string;
  /** Name and value, printed as they come, in this order. */
  facts?: Readonly<Record<string, string | number | boolean>>;
  /** Over steps. */
  loss?: readonly Series[];
  /** Over steps; values 0 ... 1. */
  accuracy?: readonly Series[];
  /** `name` says data set and flip rule; the protocol is added. */
  verifications?: readonly { name: string; result: VerificationResult }[];
  pairs?: readonly ReportPair[];
  /** Further plots, as `linePlot` and `histogramPlot` make them. */
  plots?: readonly string[];
}

const style = `
:root{color-scheme:light dark;--page:#f4f3ef;--card:#fcfcfb;--ink:#0b0b0b;--muted:#52514e;--grid:#e1e0d9;--bad:#b3261e;
--s1:#2a78d6;--s2:#eb6834;--s3:#1baf7a;--s4:#a855c7;--s5:#b98a00;--s6:#5a6472}
@media (prefers-color-scheme:dark){:root{--page:#111110;--card:#1a1a19;--ink:#f5f4f0;--muted:#c3c2b7;--grid:#31312e;--bad:#ff8a80;
--s1:#4a95ee;--s2:#e8703f;--s3:#22b583;--s4:#c07be0;--s5:#d8a824;--s6:#9aa4b2}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:26px;line-height:1.2;margin:0;overflow-wrap:anywhere}h2{font-size:17px;margin:32px 0 12px}p{margin:6px 0 0;color:var(--muted)}
.grid{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.tiles{display:grid;gap:16px;grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr));margin-top:20px}
.card{background:var(--card);border:1px solid var(--grid);border-radius:10px;padding:16px;min-width:0}
.card svg{display:block;width:100%;height:auto}
.big{font-size:30px;font-weight:650;line-height:1.2}.big small{font-size:15px;font-weight:400;color:var(--muted)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600;padding-bottom:6px}
th,td{padding:5px 14px 5px 0;text-align:left;border-top:1px solid var(--grid);overflow-wrap:anywhere}th{font-weight:400;color:var(--muted)}
tbody tr:last-child{font-weight:600}.facts tbody tr:last-child{font-weight:400}.facts th{width:42%}
.pairs{display:grid;gap:16px;grid-template-columns:repeat(auto-fill,minmax(200px,1fr))}
.pair img{width:50%;display:inline-block;aspect-ratio:1;object-fit:cover}.pair{padding:10px}.pair div{display:flex;gap:4px}
figure{margin:0}figcaption{font-size:13px;margin-top:6px;overflow-wrap:anywhere}.wrong{border-color:var(--bad)}.wrong b{color:var(--bad)}`;

const percent = (x: number, digits = 2): string => `${(100 * x).toFixed(digits)} %`;
const named = ({ name, result }: { name: string; result: VerificationResult }) => `${name}, ${result.protocol}`;

function tile(v: { name: string; result: VerificationResult }): string {
  const r = v.result;
  return (
    `<div class="card"><div class="big">${percent(r.accuracy)} <small>± ${percent(r.std)}</small></div>` +
    `<p>${escapeHtml(named(v))}: ${r.pairs} pairs, ${r.folds.length} folds</p>` +
    `<p>AUC ${r.auc.toFixed(5)} · EER ${percent(r.eer)} · VAL ${percent(r.valAtFar.val)} at FAR ${r.valAtFar.target}</p></div>`
  );
}

function rocPlot(list: NonNullable<Report['verifications']>): string {
  // The curve is read at small FARs: a logarithmic axis, down to what the number of different pairs can resolve.
  const different = Math.max(...list.map(({ result: r }) => r.same.reduce((n, s) => n + (s ? 0 : 1), 0)));
  const low = 10 ** Math.floor(Math.log10(1 / different));
  const series = list.map((v) => {
    const { far, val } = v.result.roc;
    const from = Math.max(
      0,
      far.findLastIndex((x) => x <= low),
    ); // the best VAL at the left edge
    return { name: named(v), x: far.subarray(from), y: val.subarray(from) };
  });
  const worst = Math.min(...series.map((s) => s.y[0]!));
  return linePlot(series, {
    title: 'ROC',
    xLabel: 'false accept rate (FAR)',
    yLabel: 'true accept rate (VAL)',
    xScale: 'log',
    xFormat: 'percent',
    xRange: [low, 1],
    yRange: [Math.max(0, Math.floor((worst - 0.02) * 20) / 20), 1],
    yFormat: 'percent',
  });
}

function scorePlot(v: { name: string; result: VerificationResult }): string {
  const { scores, same, metric, threshold } = v.result;
  const groups = [
    { name: 'same person', values: scores.filter((_, i) => same[i]) },
    { name: 'different people', values: scores.filter((_, i) => !same[i]) },
  ];
  return histogramPlot(groups, {
    title: `Scores: ${named(v)}`,
    xLabel: metric === 'cosine' ? 'cosine, held-out fold' : 'squared L2 distance of unit vectors',
    yLabel: 'share of its kind',
    marks: [{ x: threshold, label: `threshold ${threshold.toFixed(3)}` }],
  });
}

function foldTable(v: { name: string; result: VerificationResult }): string {
  const r = v.result;
  const row = (...cells: (string | number)[]) => `<tr>${cells.map((c) => `<td>${c}</td>`).join('')}</tr>`;
  const body = r.folds.map((f) => row(f.fold, f.pairs, percent(f.accuracy), f.threshold.toFixed(4))).join('');
  return (
    `<div class="card"><table><caption>${escapeHtml(named(v))}</caption><thead><tr><th>fold</th><th>pairs</th><th>accuracy</th>` +
    `<th>threshold</th></tr></thead><tbody>${body}${row('mean', r.pairs, percent(r.accuracy), r.threshold.toFixed(4))}</tbody></table></div>`
  );
}

function pairFigure(p: ReportPair, i: number): string {
  for (const uri of [p.left, p.right]) {
    if (!/^data:image\/(png|jpeg|webp);base64,[A-Za-z0-9+/=]*$/.test(uri)) {
      throw new UsageError(
        `htmlReport: pair ${i}: expected images as data URIs, came ${uri.slice(0, 40)}.\nEncode them as data:image/jpeg;base64,...`,
      );
    }
  }
  const kind = p.same ? 'same person' : 'different people';
  return (
    `<figure class="card pair${p.correct ? '' : ' wrong'}"><div><img src="${p.left}" alt="left"><img src="${p.right}" alt="right"></div>` +
    `<figcaption><b>${p.correct ? 'right' : 'wrong'}</b>, ${kind}, score ${p.score.toFixed(3)}` +
    `${p.caption ? `<br>${escapeHtml(p.caption)}` : ''}</figcaption></figure>`
  );
}

/** A line over more than 200 points is noisy: draw its moving mean over a fiftieth of them. */
const smoothed = (s: Series): Series =>
  s.smooth || s.x.length <= 200 ? s : { ...s, smooth: Math.ceil(s.x.length / 50) };

/**
 * The report as the text of one HTML file. Sections without data are left out; the same input gives the same text.
 * @throws UsageError for a pair image that is no data URI
 */
export function htmlReport(report: Report): string {
  const { verifications: list = [], pairs = [], facts = {}, loss = [], accuracy = [], plots = [] } = report;
  const card = (inside: string) => `<div class="card">${inside}</div>`;
  const section = (title: string, inside: string) => (inside ? `<section><h2>${title}</h2>${inside}</section>` : '');

  const curves: string[] = [];
  if (loss.length) curves.push(linePlot(loss.map(smoothed), { title: 'Loss', xLabel: 'step' }));
  if (accuracy.length) {
    curves.push(linePlot(accuracy.map(smoothed), { title: 'Accuracy', xLabel: 'step', yFormat: 'percent' }));
  }
  if (list.length) curves.push(rocPlot(list));
  curves.push(...list.map(scorePlot), ...plots);
  const rows = Object.entries(facts).map(
    ([k, v]) => `<tr><th>${escapeHtml(k)}</th><td>${escapeHtml(String(v))}</td></tr>`,
  );

  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${escapeHtml(report.title)}</title><style>${style}
</style></head><body><main>
<h1>${escapeHtml(report.title)}</h1>${report.subtitle ? `<p>${escapeHtml(report.subtitle)}</p>` : ''}
${list.length ? `<div class="tiles">${list.map(tile).join('')}</div>` : ''}
${section('Curves', curves.length ? `<div class="grid">${curves.map(card).join('')}</div>` : '')}
${section('Folds', list.length ? `<div class="grid">${list.map(foldTable).join('')}</div>` : '')}
${section('Pairs', pairs.length ? `<div class="pairs">${pairs.map(pairFigure).join('')}</div>` : '')}
${section('Facts', rows.length ? card(`<table class="facts"><tbody>${rows.join('')}</tbody></table>`) : '')}
</main></body></html>
`;
}
