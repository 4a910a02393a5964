/**
 * One flat sample out of a getStats report, with rates taken against the sample before.
 * "In" is the answer's audio, "out" is yours. A value that is not known is null, never zero.
 */

/**
 * @typedef {object} Sample
 * @property {number} at ms
 * @property {number | null} rttMs
 * @property {number | null} jitterInMs
 * @property {number | null} jitterOutMs
 * @property {number | null} lossInPercent in the last interval
 * @property {number | null} lossOutPercent as the transceiver reported it last
 * @property {number | null} levelIn 0 to 1, as the receiver's decoder measured it
 * @property {number} packetsIn
 * @property {number} packetsOut
 * @property {number} lostIn
 * @property {number} bytesIn
 * @property {number} bytesOut
 * @property {string} remote address and protocol of the chosen path
 */

/**
 * @param {RTCStatsReport} report
 * @param {Sample | null} before
 * @returns {Sample}
 */
export function readSample(report, before) {
  /** @type {any[]} */
  const entries = [...report.values()];
  const audio = (/** @type {string} */ type) =>
    entries.find((entry) => entry.type === type && entry.kind === 'audio') ?? {};
  const inbound = audio('inbound-rtp');
  const outbound = audio('outbound-rtp');
  const remoteInbound = audio('remote-inbound-rtp');
  const pair = chosenPair(entries, report);
  const remote = pair ? report.get(pair.remoteCandidateId) : null;

  const packetsIn = inbound.packetsReceived ?? 0;
  const lostIn = inbound.packetsLost ?? 0;
  return {
    at: performance.now(),
    rttMs: milliseconds(pair?.currentRoundTripTime ?? remoteInbound.roundTripTime),
    jitterInMs: packetsIn > 0 ? milliseconds(inbound.jitter) : null,
    jitterOutMs: milliseconds(remoteInbound.jitter),
    lossInPercent: lossPercent(packetsIn - (before?.packetsIn ?? 0), lostIn - (before?.lostIn ?? 0)),
    lossOutPercent: Number.isFinite(remoteInbound.fractionLost) ? remoteInbound.fractionLost * 100 : null,
    levelIn: inbound.audioLevel ?? null,
    packetsIn,
    packetsOut: outbound.packetsSent ?? 0,
    lostIn,
    bytesIn: inbound.bytesReceived ?? 0,
    bytesOut: outbound.bytesSent ?? 0,
    remote: remote?.address ? `${remote.address}:${remote.port}/${remote.protocol}` : '',
  };
}

/**
 * Firefox has no `transport` entry, and marks the pair itself.
 * @param {any[]} entries
 * @param {RTCStatsReport} report
 */
function chosenPair(entries, report) {
  const transport = entries.find((entry) => entry.type === 'transport' && entry.selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId);
  return entries.find((entry) => entry.type === 'candidate-pair' && (entry.selected || entry.nominated));
}

/** @param {number | undefined} seconds */
function milliseconds(seconds) {
  return seconds !== undefined && Number.isFinite(seconds) ? seconds * 1000 : null;
}

/**
 * A late packet lowers the receiver's count of lost ones, so a difference can be negative.
 * @param {number} received
 * @param {number} lost
 */
function lossPercent(received, lost) {
  const expected = received + Math.max(lost, 0);
  return expected > 0 ? (Math.max(lost, 0) / expected) * 100 : null;
}
