"""aiortc as a client: takes orders as lines of JSON, says what happened as lines of JSON (see
src/peer.rs). Nothing but aiortc and the standard library."""

import array
import asyncio
import fractions
import json
import math
import sys
import time
import urllib.error
import urllib.request
import wave

import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

SETTINGS = json.loads(sys.argv[1])
CONNECT_S = 20
SAMPLE_RATE = 48_000
FRAME_SAMPLES = 960
# Every fourth sample is plenty for tones below 2 kHz, and Python is slow.
STEP = 4
BLOCK = 256
# Mean square, of samples between -1 and 1: the tones are a hundred times louder.
QUIET = 1e-5
MOST = 0.6
BLOCKS_IN_A_ROW = 3


def say(**line):
    print(json.dumps(line), flush=True)


class Microphone(MediaStreamTrack):
    """Plays a sound file over and over, a frame each 20 ms."""

    kind = "audio"

    def __init__(self, path):
        super().__init__()
        with wave.open(path) as file:
            self.sound = file.readframes(file.getnframes())
        self.at = 0
        self.started = None

    async def recv(self):
        if self.started is None:
            self.started = time.monotonic()
        due = self.started + self.at / SAMPLE_RATE
        await asyncio.sleep(max(0, due - time.monotonic()))
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        start = self.at * 2 % len(self.sound)
        wanted = FRAME_SAMPLES * 2
        piece = (self.sound + self.sound)[start : start + wanted]
        frame.planes[0].update(piece)
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        frame.pts = self.at
        self.at += FRAME_SAMPLES
        return frame


class Ear:
    """Hears what comes: which tones, how many packets, how long none."""

    def __init__(self, track, receiver):
        self.track, self.receiver = track, receiver
        self.tones = []
        self.candidate, self.in_a_row = 0, 0
        self.samples = []
        self.taken = (0, 0)
        self.energy = 0.0
        self.gap = 0.0
        self.heard_at = time.monotonic()
        self.task = asyncio.ensure_future(self.listen())

    async def listen(self):
        while True:
            try:
                frame = await self.track.recv()
            except MediaStreamError:
                return
            now = time.monotonic()
            self.gap = max(self.gap, now - self.heard_at)
            self.heard_at = now
            channels = len(frame.layout.channels)
            sound = array.array("h", bytes(frame.planes[0])[: frame.samples * channels * 2])
            self.samples.extend(sound[:: STEP * channels])
            while len(self.samples) >= BLOCK:
                self.block([sample / 32768 for sample in self.samples[:BLOCK]])
                del self.samples[:BLOCK]

    def block(self, samples):
        energy, tone = tone_of(samples)
        self.energy += energy * BLOCK * STEP / SAMPLE_RATE
        self.in_a_row = self.in_a_row + 1 if tone == self.candidate else 1
        self.candidate = tone
        if tone and self.in_a_row >= BLOCKS_IN_A_ROW and self.tones[-1:] != [tone]:
            self.tones.append(tone)

    async def take(self):
        packets, lost = 0, 0
        for stats in (await self.receiver.getStats()).values():
            if stats.type == "inbound-rtp":
                packets, lost = stats.packetsReceived, stats.packetsLost
        self.gap = max(self.gap, time.monotonic() - self.heard_at)
        answer = {
            "tones": self.tones,
            "packets": packets - self.taken[0],
            "lost": lost - self.taken[1],
            "energy": self.energy,
            "gap_ms": round(self.gap * 1000),
        }
        # The tone that is being heard may go on.
        self.tones, self.taken = self.tones[-1:], (packets, lost)
        self.energy = self.gap = 0.0
        return answer


def tone_of(block):
    """A block's energy (mean square), and the one tone that it is, or 0."""
    energy = sum(sample * sample for sample in block) / len(block)
    if energy < QUIET:
        return energy, 0
    share, best = max((goertzel(block, hertz) / energy, hertz) for hertz in SETTINGS["tones"])
    return energy, best if share > MOST else 0


def goertzel(block, hertz):
    """The energy (mean square) of one frequency in a block."""
    turn = 2 * math.cos(2 * math.pi * hertz * STEP / SAMPLE_RATE)
    one = two = 0.0
    for sample in block:
        one, two = sample + turn * one - two, one
    return 2 * (one * one + two * two - turn * one * two) / len(block) ** 2


class Client:
    def __init__(self):
        self.pc = None
        self.channel = None
        self.ear = None

    async def call(self, _order):
        started = time.monotonic()
        # Without servers: aiortc would ask a public one.
        self.pc = pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connected = asyncio.get_running_loop().create_future()

        @pc.on("connectionstatechange")
        def changed():
            say(event="state", state=pc.connectionState)
            if pc.connectionState in ("connected", "failed") and not connected.done():
                connected.set_result(pc.connectionState)

        @pc.on("track")
        def track(remote):
            self.ear = Ear(remote, pc.getReceivers()[0])

        self.channel = channel = pc.createDataChannel("oai-events")
        channel.on("open", lambda: say(event="channel", state="open"))
        channel.on("close", lambda: say(event="channel", state="closed"))
        channel.on("message", lambda text: say(event="message", text=text))
        pc.addTrack(Microphone(SETTINGS["microphone"]))
        await pc.setLocalDescription(await pc.createOffer())
        answer, location = await asyncio.to_thread(post, pc.localDescription.sdp)
        answered = time.monotonic()
        await pc.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        state = await asyncio.wait_for(connected, CONNECT_S)
        if state != "connected":
            raise RuntimeError("the connection failed")
        return {
            "id": location.rsplit("/", 1)[-1],
            "answer": answer,
            "http_ms": round((answered - started) * 1000),
            "connected_ms": round((time.monotonic() - started) * 1000),
        }

    async def say(self, order):
        self.channel.send(order["text"])

    async def heard(self, _order):
        return await self.ear.take()

    async def hang_up(self, _order):
        await self.pc.close()


def post(sdp):
    """Offers; returns the answer and where the call is."""
    boundary = "ringway-e2e"
    session = json.dumps({"type": "realtime", "model": SETTINGS["model"]})
    parts = (("sdp", "application/sdp", sdp), ("session", "application/json", session))
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n{text}\r\n"
        for name, kind, text in parts
    )
    request = urllib.request.Request(
        f"{SETTINGS['origin']}/v1/realtime/calls",
        data=f"{body}--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_S) as response:
            if response.status != 201:
                raise RuntimeError(f"POST: {response.status}")
            return response.read().decode(), response.headers["Location"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"POST: {error.code} {error.read().decode()}") from error


async def main():
    client = Client()
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        try:
            done = await getattr(client, order["do"])(order) or {}
            say(did=order["do"], **done)
        except Exception as error:  # Whatever it is, the test wants to know.
            say(failed=order["do"], why=f"{type(error).__name__}: {error}")


asyncio.run(main())
