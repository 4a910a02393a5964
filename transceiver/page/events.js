/** The log of the data channel: what came, what went, and what the page itself noticed. */

import { element } from './dom.js';

/** Old lines go, so that a long call does not fill the memory. */
const LINES_MAX = 200;
const BODY_CHARACTERS_MAX = 4_000;

export class EventLog {
  #list;
  #counter;
  #began = performance.now();
  in = 0;
  out = 0;

  /** @param {HTMLElement} list @param {HTMLElement} counter */
  constructor(list, counter) {
    this.#list = list;
    this.#counter = counter;
    this.#list.append(element('li', { className: 'empty quiet' }, 'What the data channel carries appears here.'));
  }

  restart() {
    this.in = 0;
    this.out = 0;
    this.#began = performance.now();
    this.#list.replaceChildren();
    this.#count();
  }

  /** @param {'in' | 'out'} direction @param {string} text @returns {string} the type of the event */
  message(direction, text) {
    this[direction] += 1;
    this.#count();
    const { type, body } = parse(text);
    this.#append(direction, type, body);
    return type;
  }

  /** Something the page saw, to give the messages their context. @param {string} text */
  remark(text) {
    this.#append('page', text, '');
  }

  /**
   * @param {'in' | 'out' | 'page'} direction
   * @param {string} title
   * @param {string} body
   */
  #append(direction, title, body) {
    const list = this.#list;
    const view = /** @type {HTMLElement} */ (list.parentElement);
    const atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
    const head = [
      element('span', { className: 'when mono quiet' }, `${((performance.now() - this.#began) / 1000).toFixed(2)}\u202fs`),
      element('span', { className: 'arrow', ariaHidden: 'true' }, { in: '←', out: '→', page: '·' }[direction]),
      element('span', { className: 'visually-hidden' }, { in: 'received', out: 'sent', page: 'page' }[direction]),
      element('span', { className: 'type mono' }, title),
    ];
    const content = body
      ? element('details', {}, element('summary', {}, ...head), element('pre', { className: 'mono' }, body))
      : element('div', { className: 'plain-line' }, ...head);
    list.append(element('li', { className: direction }, content));
    if (list.childElementCount > LINES_MAX) list.firstElementChild?.remove();
    // Who scrolled up to read is not pulled away.
    if (atEnd) view.scrollTop = view.scrollHeight;
  }

  #count() {
    this.#counter.textContent = `${this.in} received, ${this.out} sent`;
  }
}

/** @param {string} text */
function parse(text) {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === 'object') {
      const type = String(value.type ?? 'JSON');
      const trouble = type === 'error' && value.error?.message ? `: ${value.error.message}` : '';
      return { type: clip(type + trouble, 200), body: clip(JSON.stringify(value, null, 2)) };
    }
  } catch {
    // Not JSON: shown as it came.
  }
  const [line] = text.split('\n', 1);
  return line.length <= 120 && line === text ? { type: text, body: '' } : { type: clip(line, 80), body: clip(text) };
}

/** @param {string} text */
function clip(text, characters = BODY_CHARACTERS_MAX) {
  return text.length > characters ? `${text.slice(0, characters)}…` : text;
}

/**
 * A JSON object is an event already; anything else becomes what a person says in text.
 * @param {string} typed
 */
export function asEvent(typed) {
  try {
    const value = JSON.parse(typed);
    if (value && typeof value === 'object' && !Array.isArray(value)) return typed;
  } catch {
    // Plain words.
  }
  return JSON.stringify({
    type: 'conversation.item.create',
    item: { type: 'message', role: 'user', content: [{ type: 'input_text', text: typed }] },
  });
}
