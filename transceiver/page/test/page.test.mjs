/**
 * The page in a real browser, against a stand-in for the transceiver. Needs Chromium and puppeteer-core:
 *
 *   npm install --prefix DIR puppeteer-core
 *   PUPPETEER_DIR=DIR node transceiver/page/test/page.test.mjs
 *
 * CHROMIUM names the browser (default: chromium on the PATH of Debian); SHOTS=DIR keeps pictures.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { Fake } from './fake.mjs';

const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
const modules = resolve(process.env.PUPPETEER_DIR ?? '.', 'node_modules');
if (!existsSync(chromium) || !existsSync(`${modules}/puppeteer-core`)) {
  console.log(`skipped: ${chromium} or ${modules}/puppeteer-core is missing`);
  process.exit(0);
}
const puppeteer = createRequire(`${modules}/`)('puppeteer-core');

const FLAGS = [
  '--no-sandbox',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--allow-loopback-in-peer-connection',
  '--autoplay-policy=no-user-gesture-required',
];
const PATIENCE = { timeout: 30_000, polling: 50 };

const fake = new Fake();
const origin = await fake.listen();
const browser = await puppeteer.launch({ executablePath: chromium, args: FLAGS });
const answerer = await browser.newPage();
await answerer.goto(`${origin}/page/icon.svg`);
await answerer.evaluate(await readFile(new URL('answerer.js', import.meta.url), 'utf8'));
fake.answer = (sdp, restart) => answerer.evaluate((offer, again) => window.answerer.answer(offer, again), sdp, restart);
const answered = fake.answer;

/** A fresh page; `prepare` runs in it before its own scripts. */
async function open(prepare = () => {}, address = origin) {
  Object.assign(fake, { refuse: null, token: '', state: 'connected', seen: [], answer: answered });
  const page = await browser.newPage();
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (message) => message.text().includes('Content Security') && page.problems.push(message.text()));
  await page.setViewport({ width: 1280, height: 900 });
  await page.evaluateOnNewDocument(prepare);
  await page.goto(address, { waitUntil: 'networkidle0' });
  return page;
}

const see = (page) => page.evaluate(() => window.ringway);
const until = (page, condition, ...args) => page.waitForFunction(condition, PATIENCE, ...args);
const inState = (page, state) => until(page, (wanted) => window.ringway.state === wanted, state);
const hasProblem = (page, code) => until(page, (wanted) => window.ringway.problem?.code === wanted, code);
const content = (page, selector) => page.$eval(selector, (element) => element.innerText);
/** getUserMedia fails with this name. */
const microphoneThrows = (name) =>
  `navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', '${name}'); };`;
async function openRefusing(name) {
  const page = await open();
  await page.evaluate(microphoneThrows(name));
  return page;
}

/** Chromium drops WebRTC packets on demand, if the session was there before the call. */
async function lossy(page) {
  const network = await page.createCDPSession();
  await network.send('Network.enable');
  const lose = (packetLoss, latency = 10) =>
    network.send('Network.emulateNetworkConditions', {
      offline: false,
      latency,
      downloadThroughput: 1e8,
      uploadThroughput: 1e8,
      packetLoss,
      packetQueueLength: 0,
    });
  await lose(0);
  return lose;
}

const tests = {
  async 'a call connects, is measured, talks both ways and hangs up'() {
    const page = await open();
    assert.equal((await see(page)).state, 'idle');
    assert.equal(await page.$eval('#backend', (select) => select.value), 'parrot');
    await page.select('#backend', 'echo');
    assert.match(await content(page, '#backend-description'), /headphones/);
    await page.click('#talk');
    await inState(page, 'connected');
    assert.equal(fake.model, 'echo');
    // One after the other: the echo of a short tone may come when the tone is over.
    await until(page, () => window.ringway.levels.you > 0.01);
    await until(page, () => window.ringway.levels.answer > 0.01);
    await until(page, () => window.ringway.samples >= 4 && window.ringway.stats.rttMs !== null && window.ringway.events.in >= 1);
    const { timings, stats, ufrag, call } = await see(page);
    for (const key of ['http', 'ice', 'dtls', 'first_audio', 'total']) assert.ok(timings[key] >= 0, `${key}: ${timings[key]}`);
    assert.ok(timings.total <= 10_000 && stats.packetsIn > 50 && stats.packetsOut > 50 && stats.jitterInMs !== null);
    assert.equal(ufrag.length, 23);
    assert.equal(call.hint.shard, 1);
    assert.match(await content(page, '#hint'), /thread 1 of transceiver 167772167/);
    assert.equal((await page.$$('.step.done')).length, 5);
    for (const id of ['rtt', 'jitter', 'loss']) {
      assert.ok(await page.$eval(`#${id}`, drawnPixels) > 500, `${id} is drawn`);
      assert.match(await page.$eval(`#${id}`, (canvas) => canvas.ariaLabel), /now \d/);
    }

    await page.type('#message', 'hello <b>there</b>');
    await page.keyboard.press('Enter');
    await page.type('#message', '{"type":"response.create"}');
    await page.keyboard.press('Enter');
    await until(page, () => window.ringway.events.in >= 3);
    const events = await content(page, '#events');
    assert.match(events, /conversation\.item\.create/);
    assert.equal(events.match(/response\.create/g).length, 2);
    assert.equal(await page.$('#events b'), null, 'data is never markup');

    await page.click('#mute');
    await until(page, () => window.ringway.muted && window.ringway.levels.you === 0);
    assert.equal(await page.$eval('#mute', (button) => button.ariaPressed), 'true');
    await page.click('#mute');
    await page.select('#microphone', 'test-tone');
    await until(page, () => window.ringway.levels.you > 0.01);

    await page.click('#talk');
    await inState(page, 'ended');
    assert.equal((await see(page)).problem, null);
    await page.waitForNetworkIdle();
    assert.ok(fake.seen.includes('POST /v1/realtime/calls/rtc_1/hangup'));
    assert.deepEqual(page.problems, []);
    await page.click('#talk');
    await inState(page, 'connected');
    return page;
  },

  async 'a broken path is repaired by an ICE restart'() {
    const page = await open();
    const lose = await lossy(page);
    await page.click('#talk');
    await inState(page, 'connected');
    const before = (await see(page)).ufrag;
    await lose(100);
    await inState(page, 'reconnecting');
    await lose(0);
    await inState(page, 'connected');
    const { restarts, ufrag, problem } = await see(page);
    assert.ok(restarts >= 1);
    assert.notEqual(ufrag, before);
    assert.equal(problem, null);
    assert.ok(fake.seen.includes('PATCH /v1/realtime/calls/rtc_1'));
    const { packetsIn } = (await see(page)).stats;
    await until(page, (count) => window.ringway.stats.packetsIn > count + 50, packetsIn);

    fake.state = 'unknown';
    await lose(100);
    await hasProblem(page, 'gone');
    return page;
  },

  async 'the other side hanging up is said so'() {
    const page = await open();
    await page.click('#talk');
    await inState(page, 'connected');
    await until(page, () => window.ringway.events.in >= 1);
    fake.state = 'ended';
    await answerer.evaluate(() => window.answerer.pc.close());
    await hasProblem(page, 'ended_remote');
    assert.equal((await see(page)).state, 'ended');
    await until(page, () => /longest time/.test(document.getElementById('problem').innerText));
    assert.ok(!fake.seen.some((seen) => seen.endsWith('/hangup')));
    return page;
  },

  async 'a missing token is asked for, kept for the tab, and used'() {
    const page = await open();
    fake.token = 'ek_secret';
    await page.reload({ waitUntil: 'networkidle0' });
    await hasProblem(page, 'unauthorized');
    await page.type('#token', 'ek_secret');
    await page.keyboard.press('Enter');
    await until(page, () => window.ringway.problem === null && document.querySelectorAll('#backend option').length === 2);
    await page.click('#talk');
    await inState(page, 'connected');
    await page.goto(`${origin}/#token=ek_wrong`);
    await page.reload({ waitUntil: 'networkidle0' });
    assert.equal(new URL(page.url()).hash, '');
    await hasProblem(page, 'unauthorized');
    return page;
  },

  async 'a full transceiver says when to come back'() {
    const page = await open();
    fake.refuse = { status: 503, headers: { 'Retry-After': '7' }, error: { type: 'server_error', code: 'at_capacity', message: 'All 500 calls of this shard are taken.' } };
    await page.click('#talk');
    await hasProblem(page, 'capacity');
    assert.match(await content(page, '#problem'), /All 500 calls[^]*Try again \(in \d s\)/);
    fake.refuse = null;
    await page.click('#problem-retry');
    await inState(page, 'connected');
    return page;
  },

  async 'other refusals are shown in the words of the transceiver'() {
    const page = await open();
    fake.refuse = { status: 429, headers: {}, error: { code: 'rate_limited', message: 'Ten calls per minute.' } };
    await page.click('#talk');
    await hasProblem(page, 'rate_limited');
    fake.refuse = { status: 400, headers: {}, error: { code: 'no_audio', message: 'The offer has no audio: add an audio track.' } };
    await page.click('#problem-retry');
    await hasProblem(page, 'no_audio');
    assert.match(await content(page, '#problem'), /add an audio track/);
    return page;
  },

  async 'an unreachable relay is named with its port'() {
    const page = await open();
    const lead = 'candidate:1 1 udp 2130706431';
    fake.answer = async (sdp) =>
      (await answered(sdp, false)).replace(/^a=candidate:.*\r\n/gm, '').replace(/(a=ice-ufrag:)/, `a=${lead} 192.0.2.1 3478 typ host\r\n$1`);
    await page.click('#talk');
    await inState(page, 'ice');
    await hasProblem(page, 'relay');
    assert.match(await content(page, '#problem'), /UDP 192\.0\.2\.1:3478[^]*firewall/);
    return page;
  },

  async 'a handshake that fails is told apart from a relay out of reach'() {
    const page = await open();
    fake.answer = async (sdp) => (await answered(sdp, false)).replace(/(a=fingerprint:sha-256 )../g, '$100');
    await page.click('#talk');
    await hasProblem(page, 'dtls');
    return page;
  },

  async 'a path that cannot be repaired ends the call with a word'() {
    const page = await open();
    const lose = await lossy(page);
    await page.click('#talk');
    await inState(page, 'connected');
    fake.answer = async () => Promise.reject(new Error('no restart'));
    await lose(100);
    await hasProblem(page, 'lost');
    assert.equal(fake.seen.filter((seen) => seen.startsWith('PATCH')).length, 4);
    return page;
  },

  async 'sound that the browser holds back waits for one more click'() {
    const page = await open(() => {
      const play = HTMLMediaElement.prototype.play;
      let asked = 0;
      HTMLMediaElement.prototype.play = function () {
        asked += 1;
        return asked === 1 ? Promise.reject(new DOMException('no', 'NotAllowedError')) : play.call(this);
      };
    });
    await page.click('#talk');
    await hasProblem(page, 'sound');
    await page.click('#problem-play');
    await until(page, () => window.ringway.problem === null && !document.getElementById('answer-audio').paused);
    return page;
  },

  async 'an unplugged microphone is replaced by the default one'() {
    const page = await open(() => {
      const original = MediaDevices.prototype.getUserMedia;
      MediaDevices.prototype.getUserMedia = async function (wanted) {
        window.opened = await original.call(this, wanted);
        return window.opened;
      };
    });
    await page.click('#talk');
    await inState(page, 'connected');
    await page.evaluate(() => {
      const [track] = window.opened.getTracks();
      track.stop();
      track.dispatchEvent(new Event('ended'));
    });
    await until(page, () => window.opened.getTracks()[0].readyState === 'live' && /unplugged/.test(document.getElementById('events').innerText));
    await until(page, () => window.ringway.levels.you > 0.01);
    return page;
  },

  async 'a browser without WebRTC is told so'() {
    const page = await open(() => delete window.RTCPeerConnection);
    await page.click('#talk');
    await hasProblem(page, 'unsupported');
    return page;
  },

  async 'a transceiver that is gone is told apart from one that refuses'() {
    const page = await open();
    await page.setOfflineMode(true);
    await page.click('#talk');
    await hasProblem(page, 'unreachable');
    return page;
  },

  async 'each trouble with the microphone has its own advice, and the test tone works without one'() {
    for (const [name, code] of [
      ['NotFoundError', 'no_microphone'],
      ['NotReadableError', 'microphone_busy'],
      ['NotAllowedError', 'denied'],
    ]) {
      const page = await openRefusing(name);
      await page.click('#talk');
      await hasProblem(page, code);
      if (code === 'denied') {
        await page.click('#problem-tone');
        await inState(page, 'connected');
        await until(page, () => window.ringway.levels.answer > 0.01);
        return page;
      }
      await page.close();
    }
  },

  async 'an insecure address says what to do'() {
    const page = await open(() => Object.defineProperty(window, 'isSecureContext', { value: false }));
    await page.click('#talk');
    await hasProblem(page, 'insecure');
    assert.match(await content(page, '#problem'), /ssh -L \d+:localhost/);
    return page;
  },

  async 'hanging up while the offer is on its way leaves no call behind'() {
    const page = await open();
    fake.answer = async (sdp) => {
      await new Promise((done) => setTimeout(done, 1500));
      return answered(sdp, false);
    };
    await page.click('#talk');
    await inState(page, 'offering');
    await page.click('#talk');
    await inState(page, 'ended');
    await until(page, () => performance.getEntriesByType('resource').some(({ name }) => name.endsWith('/hangup')));
    assert.equal((await see(page)).problem, null);
    return page;
  },
};

/** Pixels that are not transparent. */
function drawnPixels(canvas) {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0;
  for (let at = 3; at < data.length; at += 4) drawn += data[at] > 0 ? 1 : 0;
  return drawn;
}

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  if (process.argv[2] && !name.includes(process.argv[2])) continue;
  try {
    const page = await test();
    assert.deepEqual(page.problems, [], 'no script errors, nothing against the policy');
    if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name.replace(/\W+/g, '-')}.png` });
    await page.close();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n${error.stack}`);
    for (const page of (await browser.pages()).slice(2)) {
      console.log(JSON.stringify(await see(page).catch(String)), page.problems);
      await page.close();
    }
  }
}
await browser.close();
fake.close();
process.exit(failed ? 1 : 0);
