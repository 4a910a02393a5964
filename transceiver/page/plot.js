/** A strip chart of the last minute, on a canvas, with a figure and a sentence beside it for those who cannot see it. */

import { cleared, keepDrawn, palette } from './canvas.js';

const SPAN_MS = 60_000;
const SAMPLES_MAX = 90;

/**
 * @typedef {object} Series
 * @property {keyof import('./stats.js').Sample} field
 * @property {'ink' | 'you' | 'answer'} colour
 *
 * @typedef {object} PlotOptions
 * @property {string} name
 * @property {string} unit
 * @property {number} ceiling the scale ends at least here, so that noise does not look like trouble
 * @property {Series[]} series the first is the one whose figure is shown
 */

export class Plot {
  #canvas;
  #figure;
  #options;
  /** @type {import('./stats.js').Sample[]} */
  #samples = [];
  /** Where the pointer asks for a value, in CSS pixels. @type {number | null} */
  #pointer = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} figure
   * @param {PlotOptions} options
   */
  constructor(canvas, figure, options) {
    this.#canvas = canvas;
    this.#figure = figure;
    this.#options = options;
    keepDrawn(canvas, () => this.draw());
    const point = (/** @type {number | null} */ x) => {
      this.#pointer = x;
      this.draw();
    };
    canvas.addEventListener('pointermove', (event) => point(event.offsetX));
    canvas.addEventListener('pointerleave', () => point(null));
  }

  get length() {
    return this.#samples.length;
  }

  clear() {
    this.#samples = [];
    this.#figure.textContent = '–';
    this.draw();
  }

  /** @param {import('./stats.js').Sample} sample */
  push(sample) {
    this.#samples.push(sample);
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
    const text = this.#text(sample, this.#options.series[0]);
    this.#figure.textContent = text;
    const highest = Math.max(...this.#values());
    this.#canvas.setAttribute(
      'aria-label',
      `${this.#options.name}: now ${text}` +
        (Number.isFinite(highest) ? `, at most ${format(highest, this.#options.unit)} in the last minute` : ''),
    );
    this.draw();
  }

  draw() {
    const { context, width, height } = cleared(this.#canvas);
    const colours = palette();
    const top = 14;
    const bottom = height - 4;
    const highest = niceAbove(Math.max(this.#options.ceiling, ...this.#values()));
    const now = this.#samples.at(-1)?.at ?? 0;
    const x = (/** @type {number} */ at) => width - 5 - ((now - at) / SPAN_MS) * (width - 5);
    const y = (/** @type {number} */ value) => bottom - (value / highest) * (bottom - top);

    context.lineWidth = 1;
    context.strokeStyle = colours.line;
    context.fillStyle = colours.quiet;
    context.font = '11px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace';
    for (const value of [0, highest / 2, highest]) {
      const level = Math.round(y(value)) + 0.5;
      context.beginPath();
      context.moveTo(0, level);
      context.lineTo(width, level);
      context.stroke();
    }
    context.fillText(format(highest, this.#options.unit), 0, top - 4);

    for (const series of [...this.#options.series].reverse()) {
      for (const run of this.#runs(series)) drawRun(context, run, x, y, bottom, colours[series.colour]);
    }
    if (this.#pointer !== null) this.#drawPointer(context, x, top, bottom, width, colours);
  }

  /** Unbroken stretches: a gap in the data is a gap in the line. @param {Series} series */
  #runs(series) {
    /** @type {{at: number, value: number}[][]} */
    const runs = [[]];
    for (const sample of this.#samples) {
      const value = sample[series.field];
      if (typeof value === 'number') runs[runs.length - 1].push({ at: sample.at, value });
      else runs.push([]);
    }
    return runs.filter((run) => run.length > 0);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {(at: number) => number} x
   * @param {number} top
   * @param {number} bottom
   * @param {number} width
   * @param {import('./canvas.js').Palette} colours
   */
  #drawPointer(context, x, top, bottom, width, colours) {
    const pointer = this.#pointer ?? 0;
    const distance = (/** @type {import('./stats.js').Sample} */ sample) => Math.abs(x(sample.at) - pointer);
    const nearest = this.#samples.reduce(
      (/** @type {import('./stats.js').Sample | null} */ best, sample) => (best && distance(best) <= distance(sample) ? best : sample),
      null,
    );
    if (!nearest) return;
    const at = x(nearest.at);
    context.strokeStyle = colours.quiet;
    context.beginPath();
    context.moveTo(at, top);
    context.lineTo(at, bottom);
    context.stroke();
    const text = this.#options.series.map((series) => this.#text(nearest, series)).join(' / ');
    context.textAlign = at > width / 2 ? 'right' : 'left';
    context.fillStyle = colours.ink;
    context.fillText(text, at + (at > width / 2 ? -6 : 6), top - 4);
    context.textAlign = 'left';
  }

  /** @param {import('./stats.js').Sample} sample @param {Series} series */
  #text(sample, series) {
    const value = sample[series.field];
    return typeof value === 'number' ? format(value, this.#options.unit) : '–';
  }

  #values() {
    return this.#options.series.flatMap(({ field }) =>
      this.#samples.map((sample) => sample[field]).filter((value) => typeof value === 'number'),
    );
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{at: number, value: number}[]} run
 * @param {(at: number) => number} x
 * @param {(value: number) => number} y
 * @param {number} bottom
 * @param {string} colour
 */
function drawRun(context, run, x, y, bottom, colour) {
  const last = run[run.length - 1];
  const path = new Path2D();
  run.forEach(({ at, value }, index) => (index ? path.lineTo(x(at), y(value)) : path.moveTo(x(at), y(value))));
  const area = new Path2D(path);
  area.lineTo(x(last.at), bottom);
  area.lineTo(x(run[0].at), bottom);
  context.fillStyle = colour;
  context.globalAlpha = 0.1;
  context.fill(area);
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = 1.75;
  context.lineJoin = 'round';
  context.stroke(path);
  context.beginPath();
  context.arc(x(last.at), y(last.value), 3, 0, Math.PI * 2);
  context.fill();
}

/** @param {number} value @param {string} unit @returns {string} */
export function format(value, unit) {
  if (unit === 'ms' && value >= 1000) return format(value / 1000, 's');
  const digits = value !== 0 && value < 10 ? 1 : 0;
  return `${value.toFixed(digits)}\u202f${unit}`;
}

/** The next 1, 2 or 5 times a power of ten. @param {number} value */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10);
}
