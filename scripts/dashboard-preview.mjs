/**
 * Draws a dashboard of deploy/grafana as a PNG, with what a Prometheus answers to its queries. It is no
 * Grafana: it takes titles, places, queries, legends and units from the JSON, and draws plainly.
 *
 *   node scripts/dashboard-preview.mjs DASHBOARD.json PROMETHEUS-URL OUT.png [MINUTES] [ROWS]
 *
 * Needs `make setup-clients`. Says which panels have no data; fails if a query is refused.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const [file, prometheus, out, minutes = '15', rows = '99'] = process.argv.slice(2);
const tools = fileURLToPath(new URL('../target/e2e/', import.meta.url));
const puppeteer = createRequire(tools)('puppeteer-core');
const dashboard = JSON.parse(readFileSync(file, 'utf8'));
const [COLUMN, LINE, STEPS] = [60, 30, 180];
const COLOURS = ['#73bf69', '#f2cc0c', '#5794f2', '#ff9830', '#f2495c', '#b877d9', '#8ab8ff', '#37872d'];
const end = Math.floor(Date.now() / 1000);
const start = end - Number(minutes) * 60;

async function ask(path, parameters) {
  const answer = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const body = await answer.json();
  if (body.status !== 'success') throw new Error(`${parameters.query}: ${body.error}`);
  return body.data.result;
}
const filled = (expr) => expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '1m');
const escaped = (text) => `${text}`.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);
const legend = (format, labels) =>
  format ? format.replace(/{{(\w+)}}/g, (_, name) => labels[name] ?? '') : Object.values(labels).join(' ');

function shown(value, unit) {
  if (value === 0) return '0';
  if (unit === 'percentunit') return `${(value * 100).toPrecision(3)} %`;
  if (unit === 's') {
    const [factor, name] = value < 1e-3 ? [1e6, 'µs'] : value < 1 ? [1e3, 'ms'] : [1, 's'];
    return `${Number((value * factor).toPrecision(3))} ${name}`;
  }
  const [factor, prefix] = value >= 1e6 ? [1e-6, 'M'] : value >= 1e3 ? [1e-3, 'k'] : [1, ''];
  const name = { pps: 'p/s', Bps: 'B/s', ops: '/s', reqps: 'req/s' }[unit] ?? '';
  return `${Number((value * factor).toPrecision(3))} ${prefix}${name}`;
}

/** What a panel's queries answer, as series of [time, value]. */
async function series(panel) {
  const all = [];
  for (const target of panel.targets) {
    const query = filled(target.expr);
    const found = await ask('query_range', { query, start, end, step: (end - start) / STEPS });
    for (const each of found) {
      const points = each.values.map(([t, v]) => [t, Number(v)]).filter(([, v]) => Number.isFinite(v));
      if (points.length) all.push({ name: legend(target.legendFormat, each.metric), points });
    }
  }
  return all;
}

function timeseries(panel, all, width, height) {
  const { unit, custom = {} } = panel.fieldConfig.defaults;
  const [left, bottom] = [58, 20 + 14 * Math.min(3, Math.ceil(all.length / 2))];
  const [w, h] = [width - left - 10, height - bottom - 34];
  const below = new Map();
  if (custom.stacking?.mode === 'normal') {
    for (const one of all) {
      one.points = one.points.map(([t, v]) => {
        const sum = (below.get(t) ?? 0) + v;
        below.set(t, sum);
        return [t, sum];
      });
    }
  }
  const top = Math.max(...all.flatMap(({ points }) => points.map(([, v]) => v)), 0) * 1.1 || 1;
  const x = (t) => left + ((t - start) / (end - start)) * w;
  const y = (v) => 30 + h - (Math.max(v, 0) / top) * h;
  let svg = '';
  for (const part of [0, 0.5, 1]) {
    svg += `<path d="M${left} ${y(part * top)}h${w}" stroke="#2c3235"/>`;
    svg += `<text x="${left - 6}" y="${y(part * top) + 4}" text-anchor="end" class="tick">${shown(part * top, unit)}</text>`;
  }
  for (const part of [0, 0.5, 1]) {
    const at = new Date((start + part * (end - start)) * 1000).toISOString().slice(11, 16);
    svg += `<text x="${left + part * w}" y="${46 + h}" text-anchor="${['start', 'middle', 'end'][part * 2]}" class="tick">${at}</text>`;
  }
  // Of a pile the lowest is drawn last, so that it is not hidden where the others are nothing.
  [...all.entries()].reverse().forEach(([index, { name, points }]) => {
    const colour = COLOURS[index % COLOURS.length];
    const line = points.map(([t, v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join('L');
    svg += `<path d="M${line}" fill="none" stroke="${colour}" stroke-width="1.5"/>`;
    if (index > 5) return;
    const [lx, ly] = [left + (index % 2) * (w / 2), 62 + h + Math.floor(index / 2) * 14];
    svg += `<path d="M${lx} ${ly - 4}h12" stroke="${colour}" stroke-width="3"/>`;
    svg += `<text x="${lx + 17}" y="${ly}" class="tick">${escaped(index === 5 && all.length > 6 ? `and ${all.length - 5} more` : name)}</text>`;
  });
  return svg;
}

async function table(panel, width) {
  const found = await ask('query', { query: filled(panel.targets[0].expr) });
  const hidden = new Set(['__name__', 'job']);
  return found.flatMap(({ metric }, row) =>
    Object.entries(metric).filter(([name]) => !hidden.has(name)).map(([name, value], line) =>
      `<text x="10" y="${48 + (row * 7 + line) * 17}" class="tick">${escaped(name)}</text>` +
      `<text x="${Math.min(110, width / 4)}" y="${48 + (row * 7 + line) * 17}" class="cell">${escaped(value)}</text>`));
}

const empty = [];
async function draw(panel) {
  const [width, height] = [panel.gridPos.w * COLUMN - 8, panel.gridPos.h * LINE - 8];
  const place = `transform="translate(${panel.gridPos.x * COLUMN + 4} ${panel.gridPos.y * LINE + 4})"`;
  if (panel.type === 'row') return `<g ${place}><text x="4" y="18" class="row">${escaped(panel.title)}</text></g>`;
  let inner;
  if (panel.type === 'table') {
    inner = (await table(panel, width)).join('');
  } else {
    const all = await series(panel);
    if (!all.length) {
      empty.push(panel.title);
      inner = `<text x="${width / 2}" y="${height / 2 + 8}" text-anchor="middle" class="tick">No data</text>`;
    } else if (panel.type === 'stat') {
      const last = all[0].points.at(-1)[1];
      inner = `<text x="${width / 2}" y="${height / 2 + 24}" text-anchor="middle" class="stat">${shown(last, panel.fieldConfig.defaults.unit)}</text>`;
    } else {
      inner = timeseries(panel, all, width, height);
    }
  }
  return `<g ${place}><rect width="${width}" height="${height}" rx="2" fill="#181b1f" stroke="#25282d"/>` +
    `<text x="10" y="20" class="title">${escaped(panel.title)}</text>${inner}</g>`;
}

const bounds = dashboard.panels.filter(({ type }) => type === 'row').map(({ gridPos }) => gridPos.y);
const until = bounds[Number(rows)] ?? Infinity;
const panels = dashboard.panels.filter(({ gridPos }) => gridPos.y < until);
const drawn = [];
for (const panel of panels) drawn.push(await draw(panel));
const height = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * LINE + 4;
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${24 * COLUMN}" height="${height}"><style>
  text { font-family: Inter, Roboto, 'DejaVu Sans', sans-serif; fill: #ccccdc } .title { font-size: 13px; font-weight: 600 }
  .tick { font-size: 11px; fill: #9fa7b3 } .cell { font-size: 11px } .row { font-size: 15px; font-weight: 600 }
  .stat { font-size: 30px; font-weight: 600; fill: #73bf69 }</style>
  <rect width="100%" height="100%" fill="#111217"/>${drawn.join('')}</svg>`;
const browser = await puppeteer.launch({ executablePath: '/usr/bin/chromium', headless: true, pipe: true, args: ['--no-sandbox'] });
const page = await browser.newPage();
await page.setViewport({ width: 24 * COLUMN, height });
await page.setContent(`<body style="margin:0">${svg}</body>`);
await page.screenshot({ path: out });
await browser.close();
process.stdout.write(`${panels.length} panels drawn; without data: ${empty.join(', ') || 'none'}\n`);
