/** The time to connect, one bar per step, each beginning where the last one ended. */

import { format } from './plot.js';
import { element } from './dom.js';

/** @typedef {Partial<Record<import('./call.js').Mark, number>>} Marks */

/** @type {{key: string, name: string, what: string, from: import('./call.js').Mark, to: import('./call.js').Mark}[]} */
const STEPS = [
  { key: 'offer', name: 'Offer', what: 'the browser writes what it can do', from: 'begin', to: 'offer' },
  { key: 'http', name: 'HTTP', what: 'offer out, answer back', from: 'offer', to: 'answer' },
  { key: 'ice', name: 'ICE', what: 'first packet through the relay', from: 'answer', to: 'ice' },
  { key: 'dtls', name: 'DTLS', what: 'keys agreed, end to end', from: 'ice', to: 'dtls' },
  { key: 'first_audio', name: 'First audio', what: 'the answer’s first packet', from: 'dtls', to: 'first_audio' },
];

/** A backend that waits for its turn answers seconds later; that is no set-up time, and must not squeeze the other bars. */
const FIRST_AUDIO_SHARE_MAX = 1.5;

/**
 * Durations in ms of the steps that are done, and their sum as `total`.
 * @param {Marks} marks
 * @returns {Record<string, number | null>}
 */
export function durations(marks) {
  /** @type {Record<string, number | null>} */
  const result = {};
  for (const { key, from, to } of STEPS) result[key] = between(marks, from, to);
  result.secured = between(marks, 'begin', 'dtls');
  result.total = between(marks, 'begin', 'first_audio');
  return result;
}

/**
 * @param {HTMLElement} container
 * @param {HTMLElement} figure
 * @param {Marks} marks
 * @param {boolean} over nothing more will come
 */
export function drawWaterfall(container, figure, marks, over) {
  const { secured, total } = durations(marks);
  const known = Math.max(0, ...Object.values(marks)) - (marks.begin ?? 0);
  const scale = Math.max(1, secured === null ? known : Math.min(known, secured * FIRST_AUDIO_SHARE_MAX));
  container.replaceChildren(...STEPS.map((step) => row(step, marks, scale, over)));
  const late = secured !== null && total !== null && total > secured * FIRST_AUDIO_SHARE_MAX;
  const shown = late ? secured : (total ?? secured);
  figure.textContent = shown === null ? '–' : format(shown, 'ms');
}

/**
 * @param {typeof STEPS[number]} step
 * @param {Marks} marks
 * @param {number} scale
 * @param {boolean} over
 */
function row({ key, name, what, from, to }, marks, scale, over) {
  const duration = between(marks, from, to);
  const bar = element('i', { className: 'span' });
  const begin = marks[from];
  const pending = begin === undefined ? '–' : over ? 'never' : '…';
  if (duration !== null && begin !== undefined && marks.begin !== undefined) {
    const left = Math.min((begin - marks.begin) / scale, 1);
    const width = duration / scale;
    bar.style.left = `${left * 100}%`;
    bar.style.width = `max(2px, ${Math.min(width, 1 - left) * 100}%)`;
    bar.classList.toggle('beyond', left + width > 1.001);
  } else {
    bar.hidden = true;
  }
  return element(
    'div',
    { className: `step ${key} ${duration === null ? 'open' : 'done'}` },
    element('span', { className: 'step-name' }, name),
    element('span', { className: 'step-what quiet' }, what),
    element('span', { className: 'track' }, bar),
    element('span', { className: 'step-value mono' }, duration === null ? pending : format(duration, 'ms')),
  );
}

/**
 * @param {Marks} marks
 * @param {import('./call.js').Mark} from
 * @param {import('./call.js').Mark} to
 */
function between(marks, from, to) {
  const [begin, end] = [marks[from], marks[to]];
  // Audio may overtake the event that says the connection is up.
  return begin === undefined || end === undefined ? null : Math.max(0, end - begin);
}
