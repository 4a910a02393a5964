/** How loud a stream is, from Web Audio, on the scale the ring and the bars share. */

export const FLOOR_DB = -60;

export class Meter {
  #analyser;
  #window;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;

  /** @param {AudioContext} context */
  constructor(context) {
    this.#analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.#window = new Float32Array(this.#analyser.fftSize);
  }

  /** @param {MediaStream | null} stream */
  attach(stream) {
    this.#source?.disconnect();
    this.#source = stream && new MediaStreamAudioSourceNode(/** @type {AudioContext} */ (this.#analyser.context), { mediaStream: stream });
    this.#source?.connect(this.#analyser);
  }

  /** Amplitude of the last 20 ms or so, 0 to 1. */
  read() {
    if (!this.#source) return 0;
    this.#analyser.getFloatTimeDomainData(this.#window);
    let sum = 0;
    for (const value of this.#window) sum += value * value;
    return Math.sqrt(sum / this.#window.length);
  }
}

/** @param {number} amplitude */
export function decibel(amplitude) {
  return Math.max(FLOOR_DB, 20 * Math.log10(Math.max(amplitude, 1e-6)));
}

/** Loudness as the ear orders it, 0 (floor) to 1 (full scale). @param {number} amplitude */
export function loudness(amplitude) {
  return 1 - decibel(amplitude) / FLOOR_DB;
}

/** A bar with its figure. */
export class LevelBar {
  /** @param {HTMLElement} element the `role=meter` bar; the figure is its next sibling */
  constructor(element) {
    this.element = element;
    this.fill = /** @type {HTMLElement} */ (element.firstElementChild);
    this.figure = /** @type {HTMLElement} */ (element.nextElementSibling);
    this.shown = 0;
    this.figureAt = 0;
  }

  /** @param {number} amplitude @param {number} now */
  show(amplitude, now) {
    // Up at once, down slowly: peaks stay visible long enough to be read.
    this.shown = Math.max(loudness(amplitude), this.shown - 0.03);
    this.fill.style.transform = `scaleX(${this.shown.toFixed(3)})`;
    if (now - this.figureAt < 250) return;
    this.figureAt = now;
    const value = Math.round(FLOOR_DB * (1 - this.shown));
    this.element.setAttribute('aria-valuenow', String(value));
    this.element.setAttribute('aria-valuetext', value <= FLOOR_DB ? 'silent' : `${value} decibels`);
    this.figure.textContent = value <= FLOOR_DB ? '–' : `${String(value).replace('-', '−')} dB`;
  }

  clear() {
    this.shown = 0;
    this.figureAt = -Infinity;
    this.show(0, 0);
  }
}
