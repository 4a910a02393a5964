/**
 * What can go wrong, in words for the person who wants to talk: what happened, then what to do.
 */

import { Refusal, Unreachable } from './signaling.js';

/**
 * @typedef {object} Problem
 * @property {string} code
 * @property {string} title
 * @property {string} text
 * @property {string[]} steps
 * @property {boolean} [notice] nothing is broken, the person should only know
 * @property {boolean} [token] a token would help: show the field
 * @property {boolean} [tone] the call works without a microphone: offer the test tone
 * @property {boolean} [play] the browser wants a click before it plays sound
 * @property {number | null} [retryAfterS]
 */

/** Why the transceiver ended a call, by the word in its description of the call. @type {Record<string, string>} */
const END_REASONS = {
  hung_up: 'Somebody hung up for you: an operator, or a program with access.',
  backend_closed: 'The backend hung up.',
  client_lost: 'The transceiver had not heard from this browser for too long.',
  too_long: 'The call reached the longest time that a call may last.',
  failed: 'Something in the call could not be handled; the transceiver’s log says more.',
  panicked: 'The transceiver hit a bug in this call; its log says more. Other calls are unharmed.',
  stopped: 'The transceiver was stopped.',
};

/** A call that failed after signaling, with the facts that its explanation needs. */
export class CallFailure extends Error {
  /** Known only once the transceiver was asked. */
  reason = '';

  /**
   * @param {'relay' | 'dtls' | 'lost' | 'gone' | 'ended_remote' | 'unsupported' | 'sound'} code
   * @param {{ingress?: string[]}} [facts]
   */
  constructor(code, facts = {}) {
    super(code);
    this.code = code;
    this.ingress = facts.ingress ?? [];
  }
}

/**
 * @param {unknown} failure
 * @returns {Problem}
 */
export function explain(failure) {
  if (failure instanceof CallFailure) return ofCall(failure);
  if (failure instanceof Refusal) return ofRefusal(failure);
  if (failure instanceof Unreachable) {
    return {
      code: 'unreachable',
      title: 'The transceiver does not answer',
      text: `Nothing came back from ${location.host} within ten seconds.`,
      steps: ['Check that the transceiver is running, and that you are still on the same network.'],
    };
  }
  return ofMicrophone(failure);
}

/** @param {CallFailure} failure @returns {Problem} */
function ofCall(failure) {
  const tried = failure.ingress.length ? failure.ingress.join(', ') : 'UDP port 3478';
  const ports = [...new Set(failure.ingress.map((ingress) => ingress.replace(/ .*:/, ' port ')))].join(', ') || 'UDP port 3478';
  switch (failure.code) {
    case 'relay':
      return {
        code: 'relay',
        title: 'The relay cannot be reached',
        text: `The call was accepted, but no packet made it to the relay and back. Tried ${tried}.`,
        steps: [
          `On this network: a firewall may be in the way. Allow ${ports} outward, or try a phone’s hotspot.`,
          `On the server: let ${ports} in (firewall, security group), and see that the relay runs.`,
          'The address above must be one you can reach from here. If it is not, restart the demo with one: make demo ADVERTISE=address.',
        ],
      };
    case 'dtls':
      return {
        code: 'dtls',
        title: 'The line is open, but could not be secured',
        text: 'The relay answers, yet the encryption handshake (DTLS) with the transceiver did not finish.',
        steps: ['Try again. If it happens each time, packets above about 1200 bytes may be lost on the way: check the MTU.'],
      };
    case 'lost':
      return {
        code: 'lost',
        title: 'The connection was lost',
        text: 'Several attempts to find a new path failed.',
        steps: ['Check your network, then call again.'],
      };
    case 'gone':
      return {
        code: 'gone',
        title: 'The call is over',
        text: 'The connection broke, and the transceiver no longer knows the call. It may have been restarted.',
        steps: ['Call again.'],
      };
    case 'ended_remote':
      return {
        code: 'ended_remote',
        title: 'The other side hung up',
        text: END_REASONS[failure.reason] ?? 'The transceiver ended the call.',
        steps: [],
        notice: true,
      };
    case 'sound':
      return {
        code: 'sound',
        title: 'Sound is waiting for you',
        text: 'The browser wants one more tap before it plays the answer.',
        steps: [],
        notice: true,
        play: true,
      };
    default:
      return {
        code: 'unsupported',
        title: 'This browser cannot make calls',
        text: 'It has no WebRTC, or WebRTC is switched off.',
        steps: ['Use a current Chrome, Firefox, Safari or Edge, and check extensions that block WebRTC.'],
      };
  }
}

/** @param {Refusal} refusal @returns {Problem} */
function ofRefusal({ status, code, message, retryAfterS }) {
  if (status === 401 || status === 403) {
    return {
      code: 'unauthorized',
      title: 'A token is needed',
      text: message,
      steps: ['Paste an API key, or a client secret that starts with ek_. It stays in this tab.'],
      token: true,
    };
  }
  if (status === 429) {
    return {
      code: 'rate_limited',
      title: 'Too many calls in a short time',
      text: message,
      steps: ['Wait a little, then try again.'],
      retryAfterS,
    };
  }
  if (status === 503) {
    return {
      code: 'capacity',
      title: 'No room for another call right now',
      text: message,
      steps: ['Wait a little, then try again. Calls that are running go on undisturbed.'],
      retryAfterS,
    };
  }
  return {
    code: code || `http_${status}`,
    title: status >= 500 ? 'The transceiver failed' : 'The call was refused',
    text: message,
    steps: status >= 500 ? ['Try again; the transceiver’s log says more.'] : [],
  };
}

/**
 * What getUserMedia throws, by its standard names.
 * @param {unknown} failure
 * @returns {Problem}
 */
function ofMicrophone(failure) {
  const name = failure instanceof Error ? failure.name : '';
  switch (name) {
    case 'InsecureContext':
      return {
        code: 'insecure',
        title: 'The microphone needs a secure page',
        text: `Browsers lend the microphone to https:// and to localhost only, and this page came from ${location.origin}.`,
        steps: [
          `From a computer: ssh -L ${location.port || 80}:localhost:${location.port || 80} ${location.hostname}, then open http://localhost:${location.port || 80}.`,
          'From a phone: put a TLS proxy in front and open it by https://.',
          `In Chrome, for a trial: add ${location.origin} to chrome://flags/#unsafely-treat-insecure-origin-as-secure.`,
        ],
        tone: true,
      };
    case 'NotAllowedError':
    case 'SecurityError':
      return {
        code: 'denied',
        title: 'The microphone is not allowed',
        text: 'The browser, or the system, keeps this page from the microphone.',
        steps: [
          'Click the icon at the left of the address bar, allow the microphone, and try again.',
          'Still not? Allow it for the browser in the system’s privacy settings.',
        ],
        tone: true,
      };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return {
        code: 'no_microphone',
        title: 'No microphone found',
        text: name === 'NotFoundError' ? 'The browser sees no audio input at all.' : 'The chosen microphone is gone.',
        steps: ['Plug one in or choose another, then try again.'],
        tone: true,
      };
    case 'NotReadableError':
    case 'AbortError':
      return {
        code: 'microphone_busy',
        title: 'The microphone is busy',
        text: 'It is there, but the system does not hand it over.',
        steps: ['Close other programs that use it, or choose another microphone.'],
        tone: true,
      };
    default:
      return {
        code: 'unexpected',
        title: 'Something unexpected happened',
        text: failure instanceof Error ? `${failure.name}: ${failure.message}` : String(failure),
        steps: ['Try again. If it happens each time, please report it with the line above.'],
      };
  }
}
