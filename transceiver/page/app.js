/** The page: one call at a time, and everything around it that shows what the call does. */

import { Call } from './call.js';
import { byId, element } from './dom.js';
import { EventLog, asEvent } from './events.js';
import { drawHint } from './hint.js';
import { LevelBar, Meter, loudness } from './levels.js';
import { TEST_TONE, listMicrophones, openMicrophone } from './microphone.js';
import { Plot, format } from './plot.js';
import { CallFailure } from './problems.js';
import { Ring } from './ring.js';
import { Refusal, Signaling } from './signaling.js';
import { Stage } from './stage.js';
import { drawWaterfall, durations } from './waterfall.js';

const SAMPLE_MS = 1_000;
const LOOK_MS = 5_000;
/** Half of a screen's pace: looks the same, and spares a phone's battery. */
const FRAME_MS = 30;
const TOKEN_KEY = 'ringway-token';

const signaling = new Signaling();
const ring = new Ring(byId('ring'));
const stage = new Stage(ring);
const log = new EventLog(byId('events'), byId('events-count'));
const bars = { you: new LevelBar(byId('meter-you')), answer: new LevelBar(byId('meter-answer')) };
const plots = [
  new Plot(byId('rtt'), byId('rtt-value'), { name: 'Round-trip time', unit: 'ms', ceiling: 10, series: [{ field: 'rttMs', colour: 'ink' }] }),
  new Plot(byId('jitter'), byId('jitter-value'), {
    name: 'Jitter',
    unit: 'ms',
    ceiling: 10,
    series: [
      { field: 'jitterInMs', colour: 'answer' },
      { field: 'jitterOutMs', colour: 'you' },
    ],
  }),
  new Plot(byId('loss'), byId('loss-value'), {
    name: 'Packet loss',
    unit: '%',
    ceiling: 2,
    series: [
      { field: 'lossInPercent', colour: 'answer' },
      { field: 'lossOutPercent', colour: 'you' },
    ],
  }),
];
const audio = /** @type {HTMLAudioElement} */ (byId('answer-audio'));
const backends = /** @type {HTMLSelectElement} */ (byId('backend'));
const microphones = /** @type {HTMLSelectElement} */ (byId('microphone'));
const mute = /** @type {HTMLButtonElement} */ (byId('mute'));
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

/** @type {Call | null} */
let call = null;
/** @type {{context: AudioContext, you: Meter, answer: Meter} | null} */
let sound = null;
/** @type {import('./stats.js').Sample | null} */
let latest = null;
/** What the transceiver said of the call last. @type {any} */
let described = null;
let levels = { you: 0, answer: 0 };
/** @type {import('./signaling.js').Model[]} */
let models = [];
let muted = false;
/** @type {import('./stage.js').StageState} */
let shownState = 'idle';
let drawnAt = 0;
/** @type {WakeLockSentinel | null} */
let awake = null;

function inCall() {
  return call !== null && !call.over;
}

function startCall() {
  stage.clearProblem();
  if (typeof RTCPeerConnection === 'undefined') {
    stage.show('failed');
    return stage.showProblem(new CallFailure('unsupported'));
  }
  // Browsers let sound start only from a click: this is the one.
  sound ??= openSound();
  void sound.context.resume();
  [latest, described] = [null, null];
  for (const plot of plots) plot.clear();
  log.restart();
  showHint();
  showServerTimes(undefined);

  const started = new Call(signaling, backends.value);
  call = started;
  started.setMuted(muted);
  started.addEventListener('change', () => onChange(started));
  started.addEventListener('answer', (event) => void hear(/** @type {CustomEvent} */ (event).detail));
  started.addEventListener('channel', (event) => {
    log.remark(/** @type {CustomEvent} */ (event).detail ? 'data channel open' : 'data channel closed');
    showSendable();
  });
  started.addEventListener('message', (event) => {
    const { direction, text } = /** @type {CustomEvent} */ (event).detail;
    const type = log.message(direction, text);
    if (direction === 'in' && !muted) stage.turn(type);
  });
  started.addEventListener('microphone-lost', () => {
    log.remark('the microphone was unplugged: trying the default one');
    microphones.value = '';
    void changeMicrophone();
  });
  stage.show('microphone', { fresh: true });
  const { context } = sound;
  void started.start(() => openMicrophone(microphones.value, context));
  requestAnimationFrame(drawLevels);
}

/** @returns {NonNullable<typeof sound>} */
function openSound() {
  const context = new AudioContext();
  return { context, you: new Meter(context), answer: new Meter(context) };
}

/** @param {Call} changed */
function onChange(changed) {
  if (changed !== call) return;
  const { state, marks } = changed;
  drawWaterfall(byId('waterfall'), byId('connect-total'), marks, changed.over);
  if (state === shownState) return void look();
  const before = shownState;
  shownState = state;
  stage.show(state, { muted });
  mute.disabled = changed.over;
  backends.disabled = !changed.over;
  showSendable();

  if (state === 'offering') {
    sound?.you.attach(changed.microphone);
    void showMicrophones();
  } else if (state === 'ice') {
    showHint();
    void look();
  } else if (state === 'connected') {
    stage.clock(marks.dtls);
    log.remark(before === 'reconnecting' ? 'connection restored' : 'connected');
    void sampleOnce();
    void look();
    void stayAwake(changed);
  } else if (state === 'reconnecting') {
    log.remark('connection broken: ICE restart');
  } else if (changed.over) {
    onOver(changed);
  }
}

/** @param {Call} ended */
function onOver(ended) {
  stage.clock(undefined);
  sound?.you.attach(null);
  sound?.answer.attach(null);
  void sound?.context.suspend();
  void awake?.release();
  awake = null;
  audio.srcObject = null;
  levels = { you: 0, answer: 0 };
  bars.you.clear();
  bars.answer.clear();
  log.remark(ended.failure ? 'call ended' : 'hung up');
  if (ended.failure) stage.showProblem(ended.failure);
  if (ended.failure instanceof CallFailure && ended.failure.code === 'ended_remote') void tellReason(ended, ended.failure);
  byId('talk').focus({ preventScroll: true });
  if (stage.problem?.token) byId('token').focus();
}

/** A phone that goes to sleep ends the conversation. Not allowed everywhere, and no harm where it is not. @param {Call} kept */
async function stayAwake(kept) {
  if (awake) return;
  awake = (await navigator.wakeLock?.request('screen').catch(() => null)) ?? null;
  if (kept.over) void awake?.release();
}

/** @param {Call} ended @param {CallFailure} failure */
async function tellReason(ended, failure) {
  const answer = await signaling.look(ended.path).catch(() => null);
  failure.reason = String(answer?.end ?? '');
  if (failure.reason && call === ended && stage.problem?.code === failure.code) stage.showProblem(failure);
}

/** @param {MediaStream} stream */
async function hear(stream) {
  // Chromium feeds Web Audio from a remote stream only while an element plays it too.
  audio.srcObject = stream;
  sound?.answer.attach(stream);
  try {
    await audio.play();
  } catch (failure) {
    if (failure instanceof Error && failure.name === 'NotAllowedError') stage.showProblem(new CallFailure('sound'));
  }
}

function drawLevels() {
  if (!inCall() || !sound) return ring.draw();
  requestAnimationFrame(drawLevels);
  const now = performance.now();
  // Who asked for less motion sees the same facts, four times a second.
  if (now - drawnAt < (reducedMotion.matches ? 250 : FRAME_MS)) return;
  drawnAt = now;
  levels = { you: muted ? 0 : sound.you.read(), answer: Math.max(sound.answer.read(), call?.answerLevel ?? 0) };
  bars.you.show(levels.you, now);
  bars.answer.show(levels.answer, now);
  if (call?.state !== 'connected') return;
  ring.push(now, loudness(levels.you), loudness(levels.answer));
  ring.draw();
}

async function sampleOnce() {
  const sampled = call;
  if (sampled?.state !== 'connected' && sampled?.state !== 'reconnecting') return;
  const sample = await sampled.sample().catch(() => null);
  if (!sample || sampled !== call) return;
  latest = sample;
  for (const plot of plots) plot.push(sample);
}

/** Asks the transceiver how it sees the call. A failure is no news here: the call itself tells when it is over. */
async function look() {
  const looked = call;
  if (!looked?.path || looked.over) return;
  try {
    const answer = await signaling.look(looked.path);
    if (looked !== call) return;
    described = answer;
    showHint();
    showServerTimes(answer?.setup_ms);
  } catch {
    // Shown next time.
  }
}

function showHint() {
  drawHint(byId('hint'), call?.ufrag || described?.ufrag || '', described, call?.marks.ice !== undefined);
}

/** @param {Record<string, number | null> | undefined} setup */
function showServerTimes(setup) {
  const names = { offer: 'offer answered', first_check: 'first packet', ice: 'ICE', dtls: 'DTLS', first_audio_in: 'your first audio' };
  const parts = Object.entries(names).flatMap(([key, name]) => {
    const value = setup?.[key];
    return typeof value === 'number' ? [`${name} ${format(value, 'ms')}`] : [];
  });
  byId('connect-server').textContent = parts.length
    ? `On the transceiver’s clock, since the offer came: ${parts.join(' · ')}.`
    : 'From the offer to the first sound of the answer, as this browser saw it.';
}

async function showModels() {
  try {
    models = await signaling.models();
  } catch (failure) {
    // Told now rather than at the first call, when someone is about to talk.
    stage.showProblem(failure);
    models = [];
  }
  const options = models.map(({ id }) => element('option', { value: id }, id));
  backends.replaceChildren(...(options.length ? options : [element('option', { value: '' }, 'the default backend')]));
  const preferred = models.find((model) => model.default) ?? models[0];
  if (preferred) backends.value = preferred.id;
  showDescription();
}

function showDescription() {
  byId('backend-description').textContent = models.find(({ id }) => id === backends.value)?.description ?? '';
}

async function showMicrophones() {
  const chosen = microphones.value;
  const named = await listMicrophones().catch(() => []);
  const choices = [{ id: '', label: 'Default microphone' }, ...named, { id: TEST_TONE, label: 'Test tone (no microphone)' }];
  microphones.replaceChildren(...choices.map(({ id, label }) => element('option', { value: id }, label)));
  microphones.value = choices.some(({ id }) => id === chosen) ? chosen : '';
}

async function changeMicrophone() {
  if (!inCall() || !sound || !call?.microphone) return;
  const changed = call;
  try {
    await changed.replaceMicrophone(await openMicrophone(microphones.value, sound.context));
    if (!changed.over) sound.you.attach(changed.microphone);
  } catch (failure) {
    stage.showProblem(failure);
  }
}

function showSendable() {
  /** @type {HTMLButtonElement} */ (byId('send')).disabled = !(inCall() && call?.canSend);
}

function snapshot() {
  return {
    state: shownState,
    problem: stage.problem && { code: stage.problem.code, title: stage.problem.title },
    path: call?.path ?? '',
    ufrag: call?.ufrag ?? '',
    restarts: call?.restarts ?? 0,
    muted,
    timings: durations(call?.marks ?? {}),
    stats: latest && { ...latest },
    samples: plots[0].length,
    levels: { ...levels },
    events: { in: log.in, out: log.out },
    call: described,
  };
}

function takeToken() {
  try {
    // A link may carry a client secret; the fragment never leaves the browser, and goes from the address bar at once.
    const fromLink = new URLSearchParams(location.hash.slice(1)).get('token');
    if (fromLink) {
      sessionStorage.setItem(TOKEN_KEY, fromLink);
      history.replaceState(null, '', location.pathname);
    }
    signaling.token = sessionStorage.getItem(TOKEN_KEY) ?? '';
  } catch {
    // Storage may be forbidden: the field asks again after a reload.
  }
}

/** @param {string} token */
function keepToken(token) {
  signaling.token = token;
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // As above.
  }
}

function listen() {
  byId('talk').addEventListener('click', () => (inCall() ? call?.hangup() : startCall()));
  byId('problem-retry').addEventListener('click', () => {
    stage.clearProblem();
    if (models.length === 0) void showModels();
    startCall();
  });
  byId('problem-tone').addEventListener('click', () => {
    microphones.value = TEST_TONE;
    stage.clearProblem();
    if (inCall()) void changeMicrophone();
    else startCall();
  });
  byId('problem-play').addEventListener('click', () => {
    stage.clearProblem();
    void audio.play();
  });
  byId('token-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = /** @type {HTMLInputElement} */ (byId('token'));
    keepToken(field.value.trim());
    field.value = '';
    stage.clearProblem();
    byId('talk').focus();
    void showModels();
  });
  mute.addEventListener('click', () => {
    muted = !muted;
    call?.setMuted(muted);
    mute.setAttribute('aria-pressed', String(muted));
    mute.textContent = muted ? 'Unmute' : 'Mute';
    if (call) stage.show(call.state, { muted });
  });
  backends.addEventListener('change', showDescription);
  microphones.addEventListener('change', () => void changeMicrophone());
  navigator.mediaDevices?.addEventListener('devicechange', () => void showMicrophones());
  byId('send-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = /** @type {HTMLInputElement} */ (byId('message'));
    if (!field.value.trim() || !call?.canSend) return;
    call.send(asEvent(field.value));
    field.value = '';
  });
  window.addEventListener('pagehide', () => call?.hangup());
  setInterval(() => void sampleOnce(), SAMPLE_MS);
  setInterval(() => document.visibilityState === 'visible' && void look(), LOOK_MS);
}

Object.defineProperty(window, 'ringway', { get: () => Object.freeze(snapshot()) });
byId('origin').textContent = location.host;
takeToken();
listen();
stage.show('idle');
drawWaterfall(byId('waterfall'), byId('connect-total'), {}, false);
showHint();
showServerTimes(undefined);
void showModels();
void showMicrophones();
