/**
 * A stand-in for the transceiver: serves the page with its real content-security-policy, and lets a second
 * browser tab take the calls. What it should refuse is set by the test.
 */

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';

const FOLDER = new URL('../', import.meta.url);
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };
const POLICY =
  "default-src 'self'; media-src 'self' blob: mediastream:; connect-src 'self'; style-src 'self'; script-src 'self'";

export class Fake {
  /** Called with an offer, returns the answer. @type {(sdp: string, restart: boolean) => Promise<string>} */
  answer = async () => '';
  /** A refusal for every new call: {status, headers, error}. */
  refuse = null;
  /** Token that is asked for; empty for none. */
  token = '';
  /** State the call is reported in. */
  state = 'connected';
  /** Requests seen, as "METHOD path". @type {string[]} */
  seen = [];
  /** The model of the last call. */
  model = '';

  async listen() {
    this.server = createServer((request, response) => {
      this.#serve(request, response).catch((failure) => {
        response.writeHead(500).end(String(failure));
      });
    });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  async #serve(request, response) {
    const { pathname } = new URL(request.url, 'http://fake');
    if (request.method === 'GET' && (pathname === '/' || /^\/page\/[a-z]+\.[a-z]+$/.test(pathname))) {
      const name = pathname === '/' ? 'index.html' : pathname.slice('/page/'.length);
      const headers = { 'Content-Type': TYPES[name.split('.')[1]], 'Content-Security-Policy': POLICY };
      const file = await readFile(new URL(name, FOLDER));
      return response.writeHead(200, headers).end(file);
    }
    this.seen.push(`${request.method} ${pathname}`);
    const json = (status, value, headers = {}) =>
      response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
    if (this.token && request.headers.authorization !== `Bearer ${this.token}`) {
      return json(401, { error: { type: 'invalid_request_error', code: 'invalid_api_key', message: 'This transceiver asks for a token, and none was sent.' } });
    }
    if (pathname === '/v1/models') {
      const model = (id, description, preferred) => ({ id, object: 'model', owned_by: 'ringway', description, default: preferred });
      return json(200, {
        object: 'list',
        data: [
          model('echo', 'Returns every sound as it comes. Wear headphones.', false),
          model('parrot', 'Listens while you talk, and says it back when you pause. Talk over it and it stops.', true),
        ],
      });
    }
    const body = await text(request);
    if (request.method === 'POST' && pathname === '/v1/realtime/calls') {
      if (this.refuse) return json(this.refuse.status, { error: this.refuse.error }, this.refuse.headers);
      const form = await new Response(body, { headers: { 'Content-Type': request.headers['content-type'] } }).formData();
      this.model = JSON.parse(form.get('session')).model;
      const answer = await this.answer(form.get('sdp'), false);
      return response.writeHead(201, { 'Content-Type': 'application/sdp', Location: '/v1/realtime/calls/rtc_1' }).end(answer);
    }
    if (this.state === 'unknown') return json(404, { error: { type: 'invalid_request_error', code: 'call_not_found', message: 'No such call.' } });
    if (request.method === 'PATCH') {
      const answer = await this.answer(String(body), true);
      return response.writeHead(200, { 'Content-Type': 'application/sdp' }).end(answer);
    }
    return json(200, this.#call());
  }

  #call() {
    return {
      id: 'rtc_1',
      object: 'realtime.call',
      state: this.state,
      end: this.state === 'ended' ? 'too_long' : null,
      backend: this.model,
      hint: { key: 'a', cluster: 1, transceiver: 167772167, shard: 1, session: 10372941, expires_at: Math.floor(Date.now() / 1000) + 43_200 },
      setup_ms: { offer: 1.4, first_check: 12.1, ice: 12.6, dtls: 31.9, first_audio_in: 40.2, first_audio_out: 40.4, data_channel: 52 },
      path: { client: '203.0.113.24:51820', relay: '10.0.0.4:3500', listener: 0 },
      address_changes: 0,
      ice_restarts: 0,
      media: {},
    };
  }
}

async function text(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
