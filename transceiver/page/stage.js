/** The left side of the page: button, state in words, clock, and the card that explains a problem. */

import { byId, element } from './dom.js';
import { explain } from './problems.js';

/**
 * @typedef {import('./call.js').CallState | 'idle'} StageState
 * @type {Record<StageState, {label: string, text: string, detail: string, progress: number | null}>}
 */
const STATES = {
  idle: { label: 'Talk', text: 'Ready', detail: 'Press the button and speak.', progress: null },
  microphone: { label: 'Cancel', text: 'Asking for the microphone', detail: 'Your browser may ask you to allow it.', progress: 0.04 },
  offering: { label: 'Cancel', text: 'Calling', detail: 'The offer is on its way to the transceiver.', progress: 0.25 },
  ice: { label: 'Cancel', text: 'Finding a path', detail: 'The first packets travel through the relay.', progress: 0.55 },
  dtls: { label: 'Cancel', text: 'Securing', detail: 'Keys are being agreed (DTLS).', progress: 0.85 },
  connected: { label: 'Hang up', text: 'In call', detail: 'Say something.', progress: null },
  reconnecting: { label: 'Hang up', text: 'Reconnecting', detail: 'The path broke. Looking for another one; the call is kept.', progress: 0.55 },
  ended: { label: 'Talk', text: 'Call ended', detail: 'Press the button to call again.', progress: null },
  failed: { label: 'Talk', text: 'No call', detail: '', progress: null },
};

/** @type {Record<string, string>} */
const TURNS = {
  'input_audio_buffer.speech_started': 'Listening to you.',
  'input_audio_buffer.speech_stopped': 'You paused.',
  'output_audio_buffer.started': 'Answering. Talk to interrupt.',
  'output_audio_buffer.stopped': 'Say something.',
  'output_audio_buffer.cleared': 'Interrupted.',
};

export class Stage {
  #ring;
  #button = byId('talk');
  #clockTimer = 0;
  /** @type {import('./problems.js').Problem | null} */
  problem = null;

  /** @param {import('./ring.js').Ring} ring */
  constructor(ring) {
    this.#ring = ring;
    byId('problem-close').addEventListener('click', () => {
      this.clearProblem();
      this.#button.focus();
    });
  }

  /**
   * @param {StageState} state
   * @param {{fresh?: boolean, muted?: boolean}} [options]
   */
  show(state, { fresh = false, muted = false } = {}) {
    const { label, text, detail, progress } = STATES[state];
    const busy = label !== 'Talk';
    this.#button.dataset.mode = busy ? 'end' : 'talk';
    document.body.dataset.state = state;
    setText('talk-label', label);
    setText('state', text);
    setText('state-detail', muted && state === 'connected' ? 'You are muted.' : detail);
    this.#ring.show({ live: state === 'connected' || state === 'reconnecting', progress, fresh });
  }

  /** Whose turn it is, as the backend's events tell. @param {string} type */
  turn(type) {
    const detail = TURNS[type];
    if (detail) setText('state-detail', detail);
  }

  /** @param {number | undefined} since performance.now() of the connection; undefined stops the clock */
  clock(since) {
    clearInterval(this.#clockTimer);
    const clock = byId('clock');
    clock.hidden = since === undefined;
    if (since === undefined) return;
    const tick = () => {
      const seconds = Math.floor((performance.now() - since) / 1000);
      clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
    };
    tick();
    this.#clockTimer = window.setInterval(tick, 1000);
  }

  /** @param {unknown} failure */
  showProblem(failure) {
    const problem = explain(failure);
    this.problem = problem;
    const card = byId('problem');
    // A fresh text in a shown card is what makes screen readers speak.
    card.hidden = false;
    card.classList.toggle('notice', Boolean(problem.notice));
    setText('problem-title', problem.title);
    setText('problem-text', problem.text);
    byId('problem-steps').replaceChildren(...problem.steps.map((step) => element('li', {}, step)));
    byId('token-form').hidden = !problem.token;
    byId('problem-tone').hidden = !problem.tone;
    byId('problem-play').hidden = !problem.play;
    byId('problem-retry').hidden = Boolean(problem.token || problem.play || problem.notice);
    this.#countDown(problem.retryAfterS ?? 0);
    if (problem.token) byId('token').focus();
    else card.scrollIntoView({ block: 'nearest' });
  }

  clearProblem() {
    this.problem = null;
    byId('problem').hidden = true;
  }

  /** Not a lock: the person may know better than Retry-After. @param {number} seconds */
  #countDown(seconds) {
    const shown = this.problem;
    const step = () => {
      if (this.problem !== shown) return;
      setText('problem-retry', seconds > 0 ? `Try again (in ${seconds} s)` : 'Try again');
      if (seconds <= 0) return;
      seconds -= 1;
      setTimeout(step, 1000);
    };
    step();
  }
}

/** @param {string} id @param {string} text */
function setText(id, text) {
  const target = byId(id);
  // The same text again would be announced again.
  if (target.textContent !== text) target.textContent = text;
}
