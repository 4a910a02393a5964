/** The ufrag of the answer, taken apart: what the relay read in the very first packet of the call. */

import { element } from './dom.js';

/** DESIGN: 16 bytes, one AES block. Field, bytes, and how the transceiver names it in the call's description. */
const FIELDS = [
  { name: 'check', bytes: 4, key: null, what: 'zeros: proof that the key fits' },
  { name: 'cluster', bytes: 2, key: 'cluster', what: 'which group of transceivers' },
  { name: 'transceiver', bytes: 4, key: 'transceiver', what: 'which one of them' },
  { name: 'shard', bytes: 1, key: 'shard', what: 'which of its threads' },
  { name: 'expires', bytes: 2, key: 'expires_at', what: 'opens no new flow after this' },
  { name: 'session', bytes: 3, key: 'session', what: 'makes each ufrag unique' },
];

/**
 * @param {HTMLElement} container
 * @param {string} ufrag empty when there is no call
 * @param {any} call the transceiver's description of the call, null until it was read
 * @param {boolean} routed whether a packet with it came through
 */
export function drawHint(container, ufrag, call, routed) {
  container.replaceChildren(
    explanation(ufrag, call?.hint, routed),
    block(call?.hint),
    ...(call?.path ? [path(call.path, call.hint, call.ice_restarts ?? 0, call.address_changes ?? 0)] : []),
  );
}

/** @param {string} ufrag @param {any} hint @param {boolean} routed */
function explanation(ufrag, hint, routed) {
  if (!ufrag) {
    return element(
      'p',
      { className: 'lead' },
      'No lookup and no database: the transceiver writes the route, encrypted, into a name that ICE repeats in the first packet of every call. The relay opens it and knows where to go.',
    );
  }
  const key = hint?.key ?? ufrag[0];
  return element(
    'div',
    { className: 'lead' },
    element(
      'p',
      { className: 'ufrag mono' },
      element('span', { className: 'ufrag-key', title: 'names the key' }, ufrag[0]),
      element('span', { className: 'ufrag-block', title: 'the route, encrypted' }, ufrag.slice(1)),
    ),
    element(
      'p',
      {},
      `This ufrag ${routed ? 'was in' : 'goes into'} your first packet. Its first character names routing key “${key}”; the rest is one AES block. `,
      hint && routed
        ? `The relay opened it, checked it, and sent you to thread ${hint.shard} of transceiver ${hint.transceiver}: no lookup, no database.`
        : 'The relay opens it, and reads which thread of which transceiver has the call.',
    ),
  );
}

/** The block, byte for byte. @param {any} hint */
function block(hint) {
  const list = element('dl', { className: 'block' });
  for (const { name, bytes, key, what } of FIELDS) {
    const value = key === null ? '0' : key === 'expires_at' ? expiry(hint?.expires_at) : show(hint?.[key]);
    const field = element(
      'div',
      { className: `field field-${name} ${hint ? '' : 'empty'}` },
      element('dt', {}, name, element('span', { className: 'bytes quiet' }, bytes === 1 ? '1 byte' : `${bytes} bytes`)),
      element('dd', { className: 'mono' }, hint ? value : '·'.repeat(bytes * 2)),
      element('dd', { className: 'field-what quiet' }, key === 'transceiver' ? `${what}${asAddress(hint?.transceiver)}` : what),
    );
    field.style.setProperty('--bytes', String(bytes));
    list.append(field);
  }
  return list;
}

/**
 * @param {any} path
 * @param {any} hint
 * @param {number} restarts
 * @param {number} changes
 */
function path({ client, relay, listener }, hint, restarts, changes) {
  const stop = (/** @type {string} */ name, /** @type {string} */ where) =>
    element('li', {}, element('span', { className: 'quiet' }, name), element('span', { className: 'mono' }, where));
  const times = (/** @type {number} */ count, /** @type {string} */ noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;
  return element(
    'div',
    {},
    element(
      'ol',
      { className: 'path' },
      stop('you', show(client)),
      stop(`relay, listener ${show(listener)}`, show(relay)),
      stop('transceiver', hint ? `${show(hint.transceiver)} / shard ${show(hint.shard)}` : '–'),
    ),
    element('p', { className: 'note quiet' }, `${times(changes, 'address change')}, ${times(restarts, 'ICE restart')} so far.`),
  );
}

/** @param {unknown} value */
function show(value) {
  return value === null || value === undefined ? '–' : String(value);
}

/** Where the cluster resolves by address, the id is one. @param {unknown} id */
function asAddress(id) {
  if (typeof id !== 'number' || id < 2 ** 24 || id >= 2 ** 32) return '';
  return `; as an address, ${[24, 16, 8, 0].map((shift) => Math.floor(id / 2 ** shift) % 256).join('.')}`;
}

/** @param {unknown} unixSeconds */
function expiry(unixSeconds) {
  if (typeof unixSeconds !== 'number') return '–';
  const minutes = Math.round((unixSeconds - Date.now() / 1000) / 60);
  if (minutes < 0) return 'past';
  return minutes >= 90 ? `in ${Math.round(minutes / 60)} h` : `in ${minutes} min`;
}
