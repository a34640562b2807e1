/**
 * Small SVG plots as strings: lines and histograms with round ticks, a legend and a title.
 *
 * Colours are CSS variables with light-mode defaults (--s1 ... --s6 for series, --grid, --muted; text is currentColor),
 * so the page decides how dark mode looks. A long series is thinned to what its pixels can show.
 */

export interface Series {
  name: string;
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  /** Also draw a centred moving mean over this many points, the raw series pale behind it. */
  smooth?: number;
  /** Draw it thin and pale, behind what it belongs to. */
  pale?: boolean;
}

export interface PlotOptions {
  title: string;
  xLabel?: string;
  yLabel?: string;
  /** 'log' is base 10; points at or below the range's start are drawn at its edge. */
  xScale?: 'linear' | 'log';
  xRange?: readonly [number, number];
  yRange?: readonly [number, number];
  /** Ticks of a linear x axis. Default: about five at round values. */
  xTicks?: readonly number[] | undefined;
  /** 'percent' prints 0.25 as 25 %. */
  xFormat?: 'number' | 'percent';
  yFormat?: 'number' | 'percent';
  /** Dashed vertical lines with a label, such as a threshold. */
  marks?: { x: number; label: string }[];
}

const [width, height] = [560, 320];
const frame = { left: 58, right: 24, top: 58, bottom: 46 };
const inner = { w: width - frame.left - frame.right, h: height - frame.top - frame.bottom };
const palette = ['#2a78d6', '#eb6834', '#1baf7a', '#a855c7', '#b98a00', '#5a6472'];
const colour = (i: number): string => `var(--s${(i % 6) + 1},${palette[i % 6]})`;
/** After six colours the strokes change. */
const dashes = ['', '7 4', '2 3', '9 3 2 3'];
const dash = (i: number): string => {
  const pattern = dashes[Math.floor(i / 6) % dashes.length]!;
  return pattern && ` stroke-dasharray="${pattern}"`;
};

/** Text made safe inside HTML and SVG, also in quoted attributes. */
export const escapeHtml = (s: string): string => s.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** Round values (1, 2 or 5 times a power of ten apart) that cover a range with about `wanted` steps. */
export function niceTicks(low: number, high: number, wanted = 5): number[] {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const miss = (m: number) => Math.abs(span / (m * power) - wanted);
  const step = power * [1, 2, 5, 10].reduce((best, m) => (miss(m) < miss(best) ? m : best));
  const out: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    out.push(Number((i * step).toPrecision(12)));
  return out;
}

/** A tick's text: as few digits as tell the ticks apart; 15k and 3M where they are that far apart. */
export function tickText(x: number, step: number, format: 'number' | 'percent' = 'number'): string {
  const [v, s] = format === 'percent' ? [100 * x, 100 * step] : [x, step];
  const digits = Math.max(0, Math.min(8, -Math.floor(Math.log10(Math.abs(s) || 1) + 1e-9)));
  if (format === 'percent') return `${v.toFixed(digits)} %`;
  if (s >= 1e9 || s < 1e-4) return v === 0 ? '0' : v.toExponential(1);
  const [unit, by] = s >= 1e6 ? ['M', 1e6] : s >= 1e3 ? ['k', 1e3] : ['', 1];
  return v === 0 ? '0' : `${(v / by).toFixed(by === 1 ? digits : 0)}${unit}`;
}

interface Axis {
  /** Position in pixels. */
  at(v: number): number;
  ticks: { v: number; text: string }[];
}

function axis(
  range: readonly [number, number],
  from: number,
  to: number,
  o: { log?: boolean; format?: 'number' | 'percent' | undefined; ticks?: readonly number[] | undefined },
): Axis {
  let [low, high] = range;
  if (o.log) {
    // A logarithm has no zero: show six decades.
    if (!(high > 0)) high = 1;
    if (!(low > 0)) low = high * 1e-6;
  }
  const clamp = (v: number) => Math.min(high, Math.max(low, v));
  if (o.log) {
    const [a, b] = [Math.log10(low), Math.log10(high)];
    const ticks: Axis['ticks'] = [];
    for (let e = Math.ceil(a - 1e-9); e <= b + 1e-9; e++)
      ticks.push({ v: 10 ** e, text: tickText(10 ** e, 10 ** e, o.format) });
    return { at: (v) => from + ((Math.log10(clamp(v)) - a) / (b - a)) * (to - from), ticks };
  }
  const values = o.ticks ?? niceTicks(low, high);
  const step = values.length > 1 ? values[1]! - values[0]! : 1;
  return {
    at: (v) => from + ((clamp(v) - low) / (high - low || 1)) * (to - from),
    ticks: values.map((v) => ({ v, text: tickText(v, step, o.format) })),
  };
}

/** Smallest and largest finite value, widened where they coincide. */
function extent(lists: ArrayLike<number>[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) {
      const v = list[i]!;
      if (!Number.isFinite(v)) continue;
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
  }
  if (low > high) return [0, 1];
  return low === high ? [low - (Math.abs(low) || 1) * 0.5, high + (Math.abs(high) || 1) * 0.5] : [low, high];
}

function padded([low, high]: [number, number]): [number, number] {
  const pad = (high - low) * 0.06;
  return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
}

const px = (v: number): string => String(Math.round(v * 10) / 10);

/**
 * An SVG path through the points. Each pixel column keeps its first, lowest, highest and last point, so a million steps
 * draw like a thousand; a value that is not finite breaks the line.
 */
function path(x: ArrayLike<number>, y: ArrayLike<number>, ax: Axis, ay: Axis): string {
  let d = '';
  let pen = 'M';
  let column: [number, number][] = [];
  const flush = () => {
    let [low, high] = [0, 0];
    column.forEach(([, v], i) => {
      if (v < column[low]![1]) low = i;
      if (v > column[high]![1]) high = i;
    });
    for (const i of [...new Set([0, low, high, column.length - 1])].sort((a, b) => a - b)) {
      const p = column[i];
      if (!p) continue;
      d += `${pen}${px(p[0])} ${px(p[1])}`;
      pen = 'L';
    }
    column = [];
  };
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(x[i]) || !Number.isFinite(y[i])) {
      flush();
      pen = 'M';
      continue;
    }
    const p: [number, number] = [ax.at(x[i]!), ay.at(y[i]!)];
    if (column.length && Math.floor(column[0]![0]) !== Math.floor(p[0])) flush();
    column.push(p);
  }
  flush();
  return d;
}

/** Centred moving mean; the window shrinks at the ends; values that are not finite are passed over. */
export function movingMean(y: ArrayLike<number>, window: number): Float64Array {
  const half = Math.floor(window / 2);
  const sum = new Float64Array(y.length + 1);
  const count = new Float64Array(y.length + 1);
  for (let i = 0; i < y.length; i++) {
    const ok = Number.isFinite(y[i]);
    sum[i + 1] = sum[i]! + (ok ? y[i]! : 0);
    count[i + 1] = count[i]! + (ok ? 1 : 0);
  }
  return Float64Array.from({ length: y.length }, (_, i) => {
    const [a, b] = [Math.max(0, i - half), Math.min(y.length, i + half + 1)];
    return (sum[b]! - sum[a]!) / (count[b]! - count[a]!);
  });
}

const text = (x: number, y: number, s: string, more = ''): string =>
  `<text x="${px(x)}" y="${px(y)}"${more}>${escapeHtml(s)}</text>`;

/** Names with their strokes, in as many rows as they need. */
function legendOf(names: readonly string[]): { readonly svg: string; readonly rows: number } {
  let [svg, x, rows] = ['', frame.left, 1];
  if (names.length < 2) return { svg, rows };
  names.forEach((name, i) => {
    const swatch = i < 6 ? 12 : 24;
    const advance = swatch + 22 + name.length * 5.9;
    if (x > frame.left && x + advance - 17 > width - 8) [x, rows] = [frame.left, rows + 1];
    const y = 33 + 16 * (rows - 1);
    svg +=
      i < 6
        ? `<rect x="${px(x)}" y="${y}" width="${swatch}" height="4" rx="2" fill="${colour(i)}"/>`
        : `<path d="M${px(x)} ${y + 2}h${swatch}" stroke="${colour(i)}" stroke-width="2"${dash(i)}/>`;
    svg += text(x + swatch + 5, y + 6, name, ' fill="currentColor" font-size="11.5"');
    x += advance;
  });
  return { svg, rows };
}

function drawing(o: PlotOptions, names: string[], ax: Axis, ay: Axis, body: string): string {
  const [bottom, right] = [height - frame.bottom, width - frame.right];
  const muted = ' fill="var(--muted,#52514e)" font-size="11"';
  const legend = legendOf(names);
  const lower = 16 * (legend.rows - 1);
  let out = `<svg viewBox="0 0 ${width} ${height + lower}" role="img" aria-label="${escapeHtml(o.title)}" font-family="system-ui,sans-serif" fill="none">`;
  out += text(frame.left, 20, o.title, ' fill="currentColor" font-size="15" font-weight="600"') + legend.svg;
  if (lower) out += `<g transform="translate(0 ${lower})">`;
  for (const t of ay.ticks) {
    const y = px(ay.at(t.v));
    out += `<path d="M${frame.left} ${y}H${right}" stroke="var(--grid,#e1e0d9)"/>`;
    out += text(frame.left - 8, ay.at(t.v) + 4, t.text, `${muted} text-anchor="end"`);
  }
  for (const t of ax.ticks) {
    out += `<path d="M${px(ax.at(t.v))} ${bottom}v4" stroke="var(--muted,#52514e)"/>`;
    out += text(ax.at(t.v), bottom + 17, t.text, `${muted} text-anchor="middle"`);
  }
  out += `<path d="M${frame.left} ${bottom}H${right}" stroke="var(--muted,#52514e)"/>${body}`;
  for (const mark of o.marks ?? []) {
    const x = ax.at(mark.x);
    out += `<path d="M${px(x)} ${frame.top - 2}V${bottom}" stroke="currentColor" stroke-dasharray="4 4" opacity=".7"/>`;
    const end = x > width * 0.6;
    out += text(
      x + (end ? -6 : 6),
      frame.top + 8,
      mark.label,
      ` fill="currentColor" font-size="11" text-anchor="${end ? 'end' : 'start'}"`,
    );
  }
  if (o.xLabel) out += text(frame.left + inner.w / 2, height - 8, o.xLabel, `${muted} text-anchor="middle"`);
  if (o.yLabel) {
    const y = frame.top + inner.h / 2;
    out += text(13, y, o.yLabel, `${muted} text-anchor="middle" transform="rotate(-90 13 ${px(y)})"`);
  }
  return `${out}${lower ? '</g>' : ''}</svg>`;
}

/** A plot as an SVG file: with its namespace, a size and a light background, where it is part of no page. */
export function svgFile(plot: string): string {
  const [, w, h] = /viewBox="0 0 (\d+) (\d+)"/.exec(plot)!;
  const head = `xmlns="http://www.w3.org/2000/svg" width="${2 * Number(w)}" height="${2 * Number(h)}"`;
  return `${plot.replace('<svg ', `<svg ${head} style="background:#fcfcfb;color:#0b0b0b" `)}\n`;
}

/** Lines over a common x axis. Ranges default to the data's; empty series give empty axes. */
export function linePlot(series: readonly Series[], o: PlotOptions): string {
  const log = o.xScale === 'log';
  const positive = series.map((s) => Array.from(s.x).filter((v) => !log || v > 0));
  const ax = axis(o.xRange ?? extent(positive), frame.left, width - frame.right, {
    log,
    format: o.xFormat,
    ticks: o.xTicks,
  });
  const yRange = o.yRange ?? padded(extent(series.map((s) => s.y)));
  const ay = axis(yRange, height - frame.bottom, frame.top, { format: o.yFormat });
  const body = series.map((s, i) => {
    const line = (y: ArrayLike<number>, more: string) => {
      const d = path(s.x, y, ax, ay);
      const single = s.x.length === 1 ? ' stroke-linecap="round"' : '';
      return (
        d &&
        `<path d="${d}${single && 'h0.1'}" stroke="${colour(i)}" stroke-linejoin="round"${dash(i)}${single}${more}/>`
      );
    };
    if (s.pale) return line(s.y, ' stroke-width="1" opacity=".5"');
    if (!s.smooth || s.smooth < 2) return line(s.y, s.x.length === 1 ? ' stroke-width="6"' : ' stroke-width="2"');
    return line(s.y, ' stroke-width="1" opacity=".25"') + line(movingMean(s.y, s.smooth), ' stroke-width="2"');
  });
  return drawing(
    o,
    series.map((s) => s.name),
    ax,
    ay,
    body.join(''),
  );
}

/** One outline per group over common bins; heights are the share of the group's own values, so groups compare. */
export function histogramPlot(
  groups: readonly { name: string; values: ArrayLike<number> }[],
  o: PlotOptions,
  bins = 50,
): string {
  const [low, high] = o.xRange ?? extent(groups.map((g) => g.values));
  const shares = groups.map(({ values }) => {
    const out = new Float64Array(bins);
    let n = 0;
    for (let i = 0; i < values.length; i++) {
      if (!Number.isFinite(values[i])) continue;
      n++;
      out[Math.max(0, Math.min(bins - 1, Math.floor(((values[i]! - low) / (high - low)) * bins)))]!++;
    }
    return out.map((v) => (n ? v / n : 0));
  });
  const top = Math.max(...shares.map((s) => Math.max(...s)), 1e-9);
  const ax = axis([low, high], frame.left, width - frame.right, { format: o.xFormat, ticks: o.xTicks });
  const ay = axis(o.yRange ?? [0, top * 1.12], height - frame.bottom, frame.top, { format: o.yFormat ?? 'percent' });
  const body = shares.map((share, i) => {
    let d = `M${px(ax.at(low))} ${px(ay.at(0))}`;
    for (let b = 0; b < bins; b++) d += `V${px(ay.at(share[b]!))}H${px(ax.at(low + ((b + 1) * (high - low)) / bins))}`;
    d += `V${px(ay.at(0))}`;
    return `<path d="${d}" fill="${colour(i)}" fill-opacity=".28" stroke="${colour(i)}" stroke-width="1.5"/>`;
  });
  return drawing(
    o,
    groups.map((g) => g.name),
    ax,
    ay,
    body.join(''),
  );
}
