/**
 * The ring around the talk button: the last seconds of the conversation, written clockwise like a
 * seismograph. The answer grows outward, your voice inward, so who talks over whom is plain to see.
 */

import { cleared, keepDrawn, palette } from './canvas.js';

const TICKS = 150;
const TICK_MS = 60;
const FULL_TURN = Math.PI * 2;

export class Ring {
  #canvas;
  #you = new Float32Array(TICKS);
  #answer = new Float32Array(TICKS);
  #slot = 0;
  /** Part of the set-up that is done, 0 to 1; null while a call runs or none is wanted. @type {number | null} */
  #progress = null;
  #live = false;
  #palette = palette();

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    keepDrawn(canvas, () => {
      this.#palette = palette();
      this.draw();
    });
  }

  /** @param {{live: boolean, progress: number | null, fresh?: boolean}} state */
  show({ live, progress, fresh = false }) {
    this.#live = live;
    this.#progress = progress;
    if (fresh) {
      this.#you.fill(0);
      this.#answer.fill(0);
    }
    this.draw();
  }

  /**
   * @param {number} now
   * @param {number} you loudness, 0 to 1
   * @param {number} answer
   */
  push(now, you, answer) {
    const slot = Math.floor(now / TICK_MS) % TICKS;
    // A hidden tab draws nothing for a while: what was not heard is silence, not last turn's sound.
    for (; this.#slot !== slot; this.#slot = (this.#slot + 1) % TICKS) {
      const next = (this.#slot + 1) % TICKS;
      this.#you[next] = 0;
      this.#answer[next] = 0;
    }
    // Speech moves in the upper half of the scale: squared, its syllables stand apart.
    this.#you[slot] = Math.max(this.#you[slot], you ** 2);
    this.#answer[slot] = Math.max(this.#answer[slot], answer ** 2);
  }

  draw() {
    const { context, width, height } = cleared(this.#canvas);
    const size = Math.min(width, height);
    context.translate(width / 2, height / 2);
    context.lineCap = 'round';
    context.lineWidth = Math.max(1.5, size / 150);
    const radius = size * 0.375;
    for (let slot = 0; slot < TICKS; slot += 1) this.#drawTick(context, slot, radius, size);
    if (this.#live) drawHand(context, this.#slot, radius, size, this.#palette.ink);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} slot
   * @param {number} radius
   * @param {number} size
   */
  #drawTick(context, slot, radius, size) {
    const { line, ink, you, answer } = this.#palette;
    const age = (this.#slot - slot + TICKS) % TICKS;
    const reached = this.#progress !== null && slot / TICKS < this.#progress;
    const [x, y] = direction(slot);
    const stroke = (/** @type {string} */ colour, /** @type {number} */ from, /** @type {number} */ to) => {
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(x * from, y * from);
      context.lineTo(x * to, y * to);
      context.stroke();
    };
    context.globalAlpha = 1;
    const rest = size * (reached ? 0.014 : 0.007);
    stroke(reached ? ink : line, radius - rest, radius + rest);
    const gap = size * 0.016;
    context.globalAlpha = 0.3 + 0.7 * (1 - age / TICKS) ** 1.5;
    if (this.#answer[slot] > 0.02) stroke(answer, radius + gap, radius + gap + this.#answer[slot] * size * 0.115);
    if (this.#you[slot] > 0.02) stroke(you, radius - gap, radius - gap - this.#you[slot] * size * 0.09);
    context.globalAlpha = 1;
  }
}

/** @param {number} slot */
function direction(slot) {
  const angle = (slot / TICKS) * FULL_TURN - Math.PI / 2;
  return [Math.cos(angle), Math.sin(angle)];
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} slot
 * @param {number} radius
 * @param {number} size
 * @param {string} colour
 */
function drawHand(context, slot, radius, size, colour) {
  const [x, y] = direction(slot + 1);
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x * radius, y * radius, Math.max(3, size / 90), 0, FULL_TURN);
  context.fill();
}
