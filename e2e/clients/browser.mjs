/**
 * A browser as a client: takes orders as lines of JSON, says what happened as lines of JSON (see
 * src/peer.rs). The call itself is made by in_page.js, inside a page.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const settings = JSON.parse(process.argv[2]);
const puppeteer = createRequire(`${settings.tools}/`)('puppeteer-core');

const CHROME = [
  '--no-sandbox',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  `--use-file-for-fake-audio-capture=${settings.microphone}`,
  '--autoplay-policy=no-user-gesture-required',
  // A page that nobody looks at must go on as if somebody did.
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-gpu',
];
const FIREFOX = {
  'media.navigator.permission.disabled': true,
  // A tone; and without a sound card no AudioContext runs, so that it is only heard how loud it is.
  'media.navigator.streams.fake': true,
  // Nobody answers multicast DNS in a namespace.
  'media.peerconnection.ice.obfuscate_host_addresses': false,
};

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const browser = await puppeteer.launch({
  browser: settings.product,
  executablePath: settings.browser,
  userDataDir: settings.profile,
  headless: true,
  pipe: settings.product === 'chrome',
  args: settings.product === 'chrome' ? CHROME : [],
  extraPrefsFirefox: FIREFOX,
});
const page = (await browser.pages())[0] ?? (await browser.newPage());
page.on('console', (message) => process.stderr.write(`page: ${message.text()}\n`));
page.on('pageerror', (error) => process.stderr.write(`page: ${error}\n`));
await page.exposeFunction('tell', say);

/** Things to do, by their names. What they return goes back with the answer. */
const orders = {
  async call() {
    // Any page of the server's will do: it is the origin that counts.
    await page.goto(`${settings.origin}/v1/models`);
    await page.evaluate(readFileSync(fileURLToPath(new URL('in_page.js', import.meta.url)), 'utf8'));
    const { model, tones } = settings;
    return page.evaluate((part) => client.call(part), { model, tones });
  },
  say: ({ text }) => page.evaluate((line) => client.say(line), text),
  heard: () => page.evaluate(() => client.heard()),
  restart: () => page.evaluate(() => client.restart()),
  hang_up: () => page.evaluate(() => client.hangUp()),
  /** The transceiver's own page. */
  open: ({ path }) => page.goto(`${settings.origin}${path}`).then((answer) => ({ status: answer.status() })),
  click: ({ selector }) => page.locator(selector).click(),
  async choose({ selector, value }) {
    await page.waitForSelector(`${selector} option[value="${value}"]`);
    await page.select(selector, value);
  },
  evaluate: async ({ expression }) => ({ value: await page.evaluate(expression) }),
  screenshot: ({ file }) => page.screenshot({ path: file }).then(() => undefined),
};

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  try {
    say({ did: order.do, ...(await orders[order.do](order)) });
  } catch (error) {
    say({ failed: order.do, why: `${error?.message ?? error}` });
  }
}
await browser.close();
process.exit();
