/** Runs in the second tab: takes a call as an echo backend does. */
window.answerer = {
  pc: null,
  channel: null,
  /** Chromium decodes a remote track only while something plays it. @param {MediaStreamTrack} track */
  loop(track) {
    this.sink ??= Object.assign(new Audio(), { muted: true });
    this.sink.srcObject = new MediaStream([track]);
    void this.sink.play();
    this.context ??= new AudioContext();
    const out = this.context.createMediaStreamDestination();
    this.context.createMediaStreamSource(this.sink.srcObject).connect(out);
    return out.stream.getAudioTracks()[0];
  },
  /** @param {string} sdp @param {boolean} restart */
  async answer(sdp, restart) {
    if (!restart) {
      this.pc?.close();
      this.pc = new RTCPeerConnection();
      this.pc.ondatachannel = ({ channel }) => {
        this.channel = channel;
        channel.onmessage = ({ data }) => channel.send(data);
        channel.send(JSON.stringify({ type: 'session.created', session: { id: 'sess_1', model: 'echo' } }));
      };
    }
    const pc = this.pc;
    await pc.setRemoteDescription({ type: 'offer', sdp });
    const [audio] = pc.getTransceivers();
    audio.direction = 'sendrecv';
    await audio.sender.replaceTrack(this.loop(audio.receiver.track));
    const made = await pc.createAnswer();
    // A ufrag as the transceiver makes them: one character for the key, 22 for the block.
    const ufrag = 'a' + [...crypto.getRandomValues(new Uint8Array(22))].map((byte) => (byte % 36).toString(36)).join('');
    const longer = restart || !pc.localDescription ? made.sdp.replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${ufrag}`) : made.sdp;
    await pc.setLocalDescription({ type: 'answer', sdp: longer });
    // ICE-lite style: every candidate is in the answer.
    for (let waited = 0; pc.iceGatheringState !== 'complete' && waited < 3000; waited += 20) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return pc.localDescription.sdp;
  },
};
