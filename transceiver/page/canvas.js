/** Shared by all drawings: sharp pixels, and colours from the style sheet so that themes are defined once. */

/** @typedef {Record<'ink' | 'quiet' | 'line' | 'you' | 'answer' | 'surface', string>} Palette */

/** @returns {Palette} */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const of = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return { ink: of('ink'), quiet: of('quiet'), line: of('line'), you: of('you'), answer: of('answer'), surface: of('surface') };
}

/**
 * Calls `draw` whenever the canvas changed its size or the theme changed, with the context in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} draw
 */
export function keepDrawn(canvas, draw) {
  new ResizeObserver(draw).observe(canvas);
  for (const query of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)']) {
    matchMedia(query).addEventListener('change', draw);
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {{context: CanvasRenderingContext2D, width: number, height: number}}
 */
export function cleared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const [pixelsWide, pixelsHigh] = [Math.round(width * scale), Math.round(height * scale)];
  // Setting a size, even the same one, throws the bitmap away.
  if (canvas.width !== pixelsWide) canvas.width = pixelsWide;
  if (canvas.height !== pixelsHigh) canvas.height = pixelsHigh;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
