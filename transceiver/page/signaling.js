/**
 * The HTTP side of a call: what this page asks the transceiver that served it.
 * Errors leave as `Refusal` (the transceiver said no) or `Unreachable` (it said nothing).
 */

const REQUEST_TIMEOUT_MS = 10_000;
const CALLS = '/v1/realtime/calls';

/** The transceiver answered, and the answer was no. */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} code machine-readable reason, empty when the body had none
   * @param {string} message what the transceiver says should change
   * @param {number | null} retryAfterS
   */
  constructor(status, code, message, retryAfterS) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/** No answer at all: process gone, network down, or too slow. */
export class Unreachable extends Error {}

/**
 * @typedef {object} Model
 * @property {string} id
 * @property {string} [description]
 * @property {boolean} [default]
 */

export class Signaling {
  /** Bearer token, empty when the transceiver is open to all. */
  token = '';

  /** @returns {Promise<Model[]>} */
  async models() {
    const { data } = await (await this.#request('GET', '/v1/models')).json();
    return Array.isArray(data) ? data.filter((model) => typeof model?.id === 'string') : [];
  }

  /**
   * @param {string} sdp
   * @param {string} model empty for the transceiver's default
   * @returns {Promise<{path: string, answer: string}>}
   */
  async create(sdp, model) {
    const session = model ? { type: 'realtime', model } : { type: 'realtime' };
    const body = new FormData();
    body.set('sdp', sdp);
    body.set('session', JSON.stringify(session));
    const response = await this.#request('POST', CALLS, { body });
    return { path: callPath(response), answer: await response.text() };
  }

  /**
   * An ICE restart: the full new offer of the same peer connection.
   * @param {string} path
   * @param {string} sdp
   */
  async restart(path, sdp) {
    const headers = { 'Content-Type': 'application/sdp' };
    return (await this.#request('PATCH', path, { body: sdp, headers })).text();
  }

  /**
   * What the transceiver knows of the call.
   * @param {string} path
   * @returns {Promise<any>}
   */
  async look(path) {
    return (await this.#request('GET', path)).json();
  }

  /**
   * `keepalive` lets the request outlive the page, so that closing the tab ends the call at once.
   * @param {string} path
   */
  async hangup(path) {
    await this.#request('POST', `${path}/hangup`, { keepalive: true });
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{body?: BodyInit, headers?: Record<string, string>, keepalive?: boolean}} [options]
   */
  async #request(method, path, options = {}) {
    const headers = new Headers(options.headers);
    if (this.token) headers.set('Authorization', `Bearer ${this.token}`);
    let response;
    try {
      const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
      response = await fetch(path, { ...options, method, headers, signal, cache: 'no-store' });
    } catch (cause) {
      throw new Unreachable(`${method} ${path} had no answer`, { cause });
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

/**
 * Only a path on this origin is followed: the token must not travel to another host.
 * @param {Response} response
 */
function callPath(response) {
  const url = new URL(response.headers.get('Location') ?? '', response.url);
  if (url.origin !== location.origin || !url.pathname.startsWith(`${CALLS}/`)) {
    throw new Refusal(response.status, 'bad_location', 'The answer does not say where the call is.', null);
  }
  return url.pathname;
}

/** @param {Response} response */
async function refusal(response) {
  let code = '';
  let message = `HTTP ${response.status} ${response.statusText}`.trim();
  try {
    const { error } = await response.json();
    code = String(error.code ?? error.type ?? '');
    message = String(error.message ?? message);
  } catch {
    // A proxy in between may answer with a page of its own; its status still tells enough.
  }
  const seconds = Number.parseInt(response.headers.get('Retry-After') ?? '', 10);
  return new Refusal(response.status, code, message, Number.isFinite(seconds) ? seconds : null);
}
