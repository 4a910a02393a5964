/** The call, inside a page. Defines `client`; `tell` takes what happens to the test. */
globalThis.client = (() => {
  const CONNECT_MS = 20_000;
  const LOOK_MS = 20;
  const BLOCK = 1024;
  /** Quieter than this (mean square) is silence: the tones are a hundred times louder. */
  const QUIET = 1e-5;
  /** A tone counts when it has most of a block's energy, in so many blocks in a row. */
  const MOST = 0.6;
  const BLOCKS_IN_A_ROW = 3;

  let pc = null;
  let channel = null;
  let call = null;
  let ear = null;

  async function signal(method, path, sdp) {
    const headers = sdp ? { 'Content-Type': 'application/sdp' } : {};
    const response = await fetch(path, { method, headers, body: sdp });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return { text, location: response.headers.get('Location') };
  }

  async function post(sdp, model) {
    const form = new FormData();
    form.append('sdp', new Blob([sdp], { type: 'application/sdp' }));
    form.append('session', new Blob([JSON.stringify({ type: 'realtime', model })], { type: 'application/json' }));
    const response = await fetch('/v1/realtime/calls', { method: 'POST', body: form });
    const text = await response.text();
    if (response.status !== 201) throw new Error(`POST: ${response.status} ${text}`);
    return { text, location: response.headers.get('Location') };
  }

  function connected() {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (pc.connectionState === 'connected') resolve();
        if (pc.connectionState === 'failed') reject(new Error('the connection failed'));
      };
      pc.addEventListener('connectionstatechange', look);
      setTimeout(() => reject(new Error(`not connected in ${CONNECT_MS} ms but ${pc.connectionState}`)), CONNECT_MS);
      look();
    });
  }

  return {
    async call({ model, tones }) {
      const started = performance.now();
      // Nothing may improve the tones.
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      const stream = await navigator.mediaDevices.getUserMedia({ audio });
      pc = new RTCPeerConnection();
      pc.addEventListener('connectionstatechange', () => tell({ event: 'state', state: pc.connectionState }));
      channel = pc.createDataChannel('oai-events');
      channel.onopen = () => tell({ event: 'channel', state: 'open' });
      channel.onclose = () => tell({ event: 'channel', state: 'closed' });
      channel.onmessage = ({ data }) => tell({ event: 'message', text: data });
      pc.addTrack(stream.getAudioTracks()[0], stream);
      pc.ontrack = ({ track, receiver }) => {
        ear = new Ear(track, receiver, tones);
      };
      await pc.setLocalDescription(await pc.createOffer());
      const { text, location } = await post(pc.localDescription.sdp, model);
      call = location;
      const answered = performance.now();
      await pc.setRemoteDescription({ type: 'answer', sdp: text });
      await connected();
      return {
        id: location.split('/').pop(),
        answer: text,
        http_ms: Math.round(answered - started),
        connected_ms: Math.round(performance.now() - started),
      };
    },

    say(text) {
      channel.send(text);
    },

    async heard() {
      await ear.look();
      return ear.take();
    },

    /** An ICE restart by a new offer. */
    async restart() {
      const ufrag = () => /a=ice-ufrag:(\S+)/.exec(pc.remoteDescription.sdp)[1];
      const before = ufrag();
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
      const { text } = await signal('PATCH', call, pc.localDescription.sdp);
      await pc.setRemoteDescription({ type: 'answer', sdp: text });
      return { before, after: ufrag() };
    },

    hangUp() {
      pc.close();
    },
  };

  /** Hears what comes: which tones, how many packets, how long none. */
  function Ear(track, receiver, tones) {
    const context = new AudioContext();
    const stream = new MediaStream([track]);
    // Chromium gives WebAudio nothing of a remote track unless an element plays it.
    const element = new Audio();
    element.srcObject = stream;
    element.muted = true;
    void element.play();
    const blocks = context.createScriptProcessor(BLOCK, 1, 1);
    context.createMediaStreamSource(stream).connect(blocks);
    blocks.connect(context.destination);
    void context.resume();

    let heard = [];
    let [candidate, inARow] = [0, 0];
    blocks.onaudioprocess = ({ inputBuffer }) => {
      const tone = toneOf(inputBuffer.getChannelData(0), context.sampleRate, tones);
      inARow = tone === candidate ? inARow + 1 : 1;
      candidate = tone;
      if (tone !== 0 && inARow >= BLOCKS_IN_A_ROW && heard.at(-1) !== tone) heard.push(tone);
    };

    let now = { packets: 0, lost: 0, energy: 0, at: performance.now() };
    let taken = now;
    let gap = 0;
    this.look = async () => {
      for (const stats of (await receiver.getStats()).values()) {
        if (stats.type !== 'inbound-rtp') continue;
        const at = performance.now();
        gap = Math.max(gap, at - now.at);
        if (stats.packetsReceived !== now.packets) {
          const { packetsReceived: packets, packetsLost: lost, totalAudioEnergy: energy } = stats;
          now = { packets, lost, energy, at };
        }
      }
    };
    setInterval(this.look, LOOK_MS);
    this.take = () => {
      const answer = {
        tones: heard,
        packets: now.packets - taken.packets,
        lost: now.lost - taken.lost,
        energy: now.energy - taken.energy,
        gap_ms: Math.round(gap),
      };
      // The tone that is being heard may go on.
      [heard, taken, gap] = [heard.slice(-1), now, 0];
      return answer;
    };
  }

  /** The one tone that a block is, or 0. */
  function toneOf(block, sampleRate, tones) {
    const energy = block.reduce((sum, sample) => sum + sample * sample, 0) / block.length;
    if (energy < QUIET) return 0;
    const [best, share] = tones
      .map((hertz) => [hertz, goertzel(block, hertz / sampleRate) / energy])
      .reduce((one, other) => (other[1] > one[1] ? other : one));
    return share > MOST ? best : 0;
  }

  /** The energy (mean square) of one frequency in a block. */
  function goertzel(block, cycles) {
    const turn = 2 * Math.cos(2 * Math.PI * cycles);
    let [one, two] = [0, 0];
    for (const sample of block) [one, two] = [sample + turn * one - two, one];
    return (2 * (one * one + two * two - turn * one * two)) / (block.length * block.length);
  }
})();
