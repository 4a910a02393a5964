/**
 * Where the outgoing sound comes from: a microphone, or a test tone for machines without one.
 */

/** The choice in the list that is no device. */
export const TEST_TONE = 'test-tone';

const CHIME_HZ = [523.25, 659.25, 783.99];
const CHIME_PERIOD_MS = 3_000;

/**
 * @param {string} choice a device id, TEST_TONE, or empty for the default microphone
 * @param {AudioContext} context
 * @returns {Promise<MediaStream>}
 */
export async function openMicrophone(choice, context) {
  if (choice === TEST_TONE) return openTestTone(context);
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw Object.assign(new Error('not a secure context'), { name: 'InsecureContext' });
  }
  return navigator.mediaDevices.getUserMedia({
    audio: {
      // Without cancellation an echo backend on loudspeakers howls.
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      ...(choice ? { deviceId: { exact: choice } } : {}),
    },
  });
}

/**
 * Devices with a name; browsers hide names until the microphone was allowed once.
 * @returns {Promise<{id: string, label: string}[]>}
 */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices
    .filter(({ kind, label, deviceId }) => kind === 'audioinput' && label && deviceId !== 'default')
    .map(({ deviceId, label }) => ({ id: deviceId, label }));
}

/**
 * Three soft notes, then a pause: the pause lets a backend that waits for its turn answer.
 * @param {AudioContext} context
 */
function openTestTone(context) {
  const out = context.createMediaStreamDestination();
  const chime = () => {
    CHIME_HZ.forEach((frequency, index) => {
      const begin = context.currentTime + 0.05 + index * 0.35;
      const tone = new OscillatorNode(context, { frequency });
      const envelope = new GainNode(context, { gain: 0 });
      envelope.gain.linearRampToValueAtTime(0, begin);
      envelope.gain.linearRampToValueAtTime(0.3, begin + 0.03);
      envelope.gain.linearRampToValueAtTime(0, begin + 0.4);
      tone.connect(envelope).connect(out);
      tone.start(begin);
      tone.stop(begin + 0.45);
    });
  };
  chime();
  const timer = setInterval(() => {
    // Whoever stops the track stops the tone: there is no event for a local stop().
    if (out.stream.getTracks().every((track) => track.readyState === 'ended')) clearInterval(timer);
    else chime();
  }, CHIME_PERIOD_MS);
  return out.stream;
}
