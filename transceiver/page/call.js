/**
 * One call, from the first click to the end: states, times, and the repair of a broken path.
 * Knows nothing of the page; tells what happened by events.
 *
 *   microphone -> offering -> ice -> dtls -> connected <-> reconnecting
 *                      any of these -> ended | failed
 */

import { CallFailure } from './problems.js';
import { Refusal } from './signaling.js';
import { readSample } from './stats.js';

const PATH_DEADLINE_MS = 10_000;
const HANDSHAKE_DEADLINE_MS = 10_000;
/** `disconnected` often heals by itself with the browser's next check, 2.5 s later. */
const DISCONNECTED_PATIENCE_MS = 4_000;
const RESTARTS_MAX = 4;
const RESTART_DEADLINE_MS = 6_000;
const FIRST_AUDIO_POLL_MS = 10;

/**
 * @typedef {'microphone' | 'offering' | 'ice' | 'dtls' | 'connected' | 'reconnecting' | 'ended' | 'failed'} CallState
 * @typedef {'begin' | 'offer' | 'answer' | 'ice' | 'dtls' | 'first_audio'} Mark
 */

/**
 * Events: `change` (state, marks), `answer` (the remote stream), `message` (detail: direction, text),
 * `channel` (open or not), `microphone-lost`.
 */
export class Call extends EventTarget {
  /** @type {CallState} */
  state = 'microphone';
  /** Why the call failed or ended, null while it did not, and after our own hang-up. @type {unknown} */
  failure = null;
  /** When each step was done, by performance.now(). @type {Partial<Record<Mark, number>>} */
  marks = {};
  restarts = 0;
  /** Path of the call on the transceiver; empty until it was accepted. */
  path = '';
  /** @type {MediaStream | null} */
  microphone = null;

  #signaling;
  #model;
  #connection = new RTCPeerConnection();
  #channel = this.#connection.createDataChannel('oai-events');
  /** @type {RTCRtpSender | null} */
  #sender = null;
  /** @type {RTCRtpReceiver | null} */
  #receiver = null;
  /** @type {import('./stats.js').Sample | null} */
  #sample = null;
  #muted = false;
  /** Kept here because Firefox lets nobody ask a closed connection. */
  #answer = '';
  #repairing = false;
  /** Timers that must not outlive the call. @type {Set<number>} */
  #timers = new Set();

  /**
   * @param {import('./signaling.js').Signaling} signaling
   * @param {string} model
   */
  constructor(signaling, model) {
    super();
    this.#signaling = signaling;
    this.#model = model;
    this.#listen();
  }

  get over() {
    return this.state === 'ended' || this.state === 'failed';
  }

  get canSend() {
    return this.#channel.readyState === 'open';
  }

  /** The ufrag that carries the route: the transceiver wrote it into its answer. */
  get ufrag() {
    return /^a=ice-ufrag:(\S+)/m.exec(this.#answer)?.[1] ?? '';
  }

  /** Never throws: what goes wrong ends up in `failure`. @param {() => Promise<MediaStream>} openMicrophone */
  async start(openMicrophone) {
    try {
      const stream = await openMicrophone();
      if (this.over) return stopTracks(stream);
      await this.#dial(stream);
    } catch (failure) {
      this.#end('failed', failure);
    }
  }

  hangup() {
    this.#end('ended', null);
  }

  /** @param {string} text */
  send(text) {
    this.#channel.send(text);
    this.#tell('message', { direction: 'out', text });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.#muted = muted;
    for (const track of this.microphone?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  /** Changes the microphone without a new offer. @param {MediaStream} stream */
  async replaceMicrophone(stream) {
    if (this.over || !this.#sender) return stopTracks(stream);
    const [track] = stream.getAudioTracks();
    await this.#sender.replaceTrack(track);
    stopTracks(this.microphone);
    this.#adopt(stream);
  }

  /** @returns {Promise<import('./stats.js').Sample | null>} null when the call is over */
  async sample() {
    if (this.over) return null;
    this.#sample = readSample(await this.#connection.getStats(), this.#sample);
    return this.#sample;
  }

  /** Loudness of the answer as the receiver saw it in the last packet, 0 to 1: works where Web Audio is deaf to remote streams. */
  get answerLevel() {
    return this.#receiver?.getSynchronizationSources()[0]?.audioLevel ?? 0;
  }

  /** @param {MediaStream} stream */
  async #dial(stream) {
    this.#adopt(stream);
    const [track] = stream.getAudioTracks();
    const { sender, receiver } = this.#connection.addTransceiver(track, { direction: 'sendrecv', streams: [stream] });
    this.#sender = sender;
    this.#receiver = receiver;

    this.#mark('begin');
    this.#enter('offering');
    // No waiting for candidates: the relay learns this browser's address from its first check.
    await this.#connection.setLocalDescription();
    this.#mark('offer');
    const { path, answer } = await this.#signaling.create(this.#localSdp(), this.#model);
    this.path = path;
    // Hung up while the offer was on its way: the transceiver has a call that nobody wants.
    if (this.over) return this.#release();
    this.#mark('answer');
    await this.#accept(answer);
    this.#enter('ice');
    // ICE may have been faster than the promise.
    this.#onIce();
    this.#after(PATH_DEADLINE_MS, () => this.state === 'ice' && this.#fail('relay'));
    this.#watchFirstAudio();
  }

  #listen() {
    const connection = this.#connection;
    connection.addEventListener('iceconnectionstatechange', () => this.#onIce());
    connection.addEventListener('connectionstatechange', () => this.#onConnection());
    connection.addEventListener('track', ({ streams, track }) => {
      this.#tell('answer', streams[0] ?? new MediaStream([track]));
    });
    const channel = this.#channel;
    channel.addEventListener('open', () => this.#tell('channel', true));
    channel.addEventListener('close', () => this.#onChannelClosed());
    channel.addEventListener('message', ({ data }) => {
      const text = typeof data === 'string' ? data : `${data.byteLength ?? data.size} binary bytes`;
      this.#tell('message', { direction: 'in', text });
    });
  }

  #onIce() {
    const ice = this.#connection.iceConnectionState;
    if ((ice === 'connected' || ice === 'completed') && this.state === 'ice') {
      this.#mark('ice');
      this.#enter('dtls');
      this.#after(HANDSHAKE_DEADLINE_MS, () => this.state === 'dtls' && this.#fail('dtls'));
      this.#onConnection();
    }
  }

  #onConnection() {
    switch (this.#connection.connectionState) {
      case 'connected':
        // The order of the two events differs among browsers.
        if (this.state === 'ice') this.#onIce();
        if (this.state === 'dtls') this.#mark('dtls');
        if (this.state === 'dtls' || this.state === 'reconnecting') this.#enter('connected');
        this.#watchRemoteEnd();
        break;
      case 'disconnected':
        this.#after(DISCONNECTED_PATIENCE_MS, () => {
          if (this.#connection.connectionState === 'disconnected') void this.#repair();
        });
        break;
      case 'failed':
        // The word alone does not tell a relay out of reach from a handshake that broke: how far we were does.
        if (this.state === 'dtls') this.#fail('dtls');
        else if (this.state === 'ice') this.#fail('relay');
        else void this.#repair();
        break;
      case 'closed':
        this.#fail('ended_remote');
        break;
      default:
    }
  }

  /** The transceiver ends a call by closing DTLS, which no connection state shows in every browser. */
  #watchRemoteEnd() {
    const transport = this.#sender?.transport;
    if (!transport || transport.onstatechange) return;
    transport.onstatechange = () => transport.state === 'closed' && this.#fail('ended_remote');
  }

  /** A closed channel alone may be a fault of the channel: ask before calling it the end. */
  async #onChannelClosed() {
    if (this.over) return;
    this.#tell('channel', false);
    try {
      const { state } = await this.#signaling.look(this.path);
      if (state === 'ended') this.#fail('ended_remote');
    } catch (failure) {
      if (failure instanceof Refusal && (failure.status === 404 || failure.status === 410)) this.#fail('ended_remote');
    }
  }

  /**
   * ICE restarts until one works. New credentials carry a new hint, so any relay can route them,
   * also when this device changed its network meanwhile.
   */
  async #repair() {
    if (this.#repairing || this.state !== 'connected') return;
    this.#repairing = true;
    this.#enter('reconnecting');
    try {
      for (let attempt = 1; attempt <= RESTARTS_MAX && !this.over; attempt += 1) {
        if (await this.#restart(attempt)) return;
      }
      this.#fail('lost');
    } finally {
      this.#repairing = false;
    }
  }

  /** @param {number} attempt @returns {Promise<boolean>} whether nothing is left to repair */
  async #restart(attempt) {
    const connection = this.#connection;
    try {
      await connection.setLocalDescription(await connection.createOffer({ iceRestart: true }));
      const answer = await this.#signaling.restart(this.path, this.#localSdp());
      if (this.over) return true;
      await this.#accept(answer);
      this.restarts += 1;
      this.#tell('change');
    } catch (failure) {
      if (this.over) return true;
      if (failure instanceof Refusal && (failure.status === 404 || failure.status === 410)) {
        this.#fail('gone');
        return true;
      }
      // A short-lived client secret may be over before the call is: no further attempt would help.
      if (failure instanceof Refusal && failure.status === 401) {
        this.#end('failed', failure);
        return true;
      }
      if (connection.signalingState === 'have-local-offer') {
        await connection.setLocalDescription({ type: 'rollback' });
      }
      await this.#pause(attempt * 1_000);
      return connection.connectionState === 'connected';
    }
    for (let waited = 0; waited < RESTART_DEADLINE_MS; waited += 100) {
      if (this.over || this.state === 'connected') return true;
      // A restart that beats the `disconnected` verdict changes no connection state: look, do not only listen.
      if (connection.connectionState === 'connected') {
        this.#enter('connected');
        return true;
      }
      await this.#pause(100);
    }
    return false;
  }

  /** `unmute` comes late in some browsers, and getStats is too heavy to ask each 10 ms. */
  #watchFirstAudio() {
    if (this.over) return;
    if (this.#receiver?.getSynchronizationSources().length) {
      this.#mark('first_audio');
      this.#tell('change');
    } else {
      this.#after(FIRST_AUDIO_POLL_MS, () => this.#watchFirstAudio());
    }
  }

  /** @param {MediaStream} stream */
  #adopt(stream) {
    this.microphone = stream;
    this.setMuted(this.#muted);
    stream.getAudioTracks()[0].addEventListener('ended', () => {
      if (!this.over && this.microphone === stream) this.#tell('microphone-lost');
    });
  }

  /** @param {string} sdp */
  async #accept(sdp) {
    await this.#connection.setRemoteDescription({ type: 'answer', sdp });
    this.#answer = sdp;
  }

  #localSdp() {
    return this.#connection.localDescription?.sdp ?? '';
  }

  /** @param {ConstructorParameters<typeof CallFailure>[0]} code */
  #fail(code) {
    const failure = new CallFailure(code, { ingress: ingressOf(this.#answer) });
    this.#end(code === 'ended_remote' ? 'ended' : 'failed', failure);
  }

  /** @param {'ended' | 'failed'} state @param {unknown} failure */
  #end(state, failure) {
    if (this.over) return;
    this.failure = failure;
    for (const timer of this.#timers) clearTimeout(timer);
    stopTracks(this.microphone);
    this.#connection.close();
    // Nothing to release when the other side was first.
    if (state === 'failed' || failure === null) this.#release();
    this.#enter(state);
  }

  /** Best effort: closing the connection ends the call as well, when a packet still gets through. */
  #release() {
    if (this.path) this.#signaling.hangup(this.path).catch(() => {});
  }

  /** @param {CallState} state */
  #enter(state) {
    if (this.over) return;
    this.state = state;
    this.#tell('change');
  }

  /** @param {Mark} mark */
  #mark(mark) {
    this.marks[mark] ??= performance.now();
  }

  /** @param {string} type @param {unknown} [detail] */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** @param {number} delayMs @param {() => void} action */
  #after(delayMs, action) {
    const timer = window.setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.over) action();
    }, delayMs);
    this.#timers.add(timer);
  }

  /** @param {number} delayMs @returns {Promise<void>} */
  #pause(delayMs) {
    return new Promise((resolve) => {
      setTimeout(resolve, delayMs);
    });
  }
}

/** @param {MediaStream | null} stream */
function stopTracks(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/**
 * The relay addresses that the answer offered, for the person who has to open a firewall.
 * @param {string} sdp
 * @returns {string[]}
 */
function ingressOf(sdp) {
  const found = new Set();
  for (const [, protocol, address, port] of sdp.matchAll(/^a=candidate:\S+ 1 (\S+) \S+ (\S+) (\d+)/gm)) {
    found.add(`${protocol.toUpperCase()} ${address.includes(':') ? `[${address}]` : address}:${port}`);
  }
  return [...found].slice(0, 4);
}
