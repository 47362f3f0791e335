import type { Packet } from '../packet/packet.ts'
import { ACK, FIN, RST, SYN } from '../packet/tcp.ts'
import type { Session } from './session.ts'
import { SESSION_STATE } from './timeouts.ts'
import { ahead, startAt, type Wing } from './wing.ts'

/**
 * A FIN or RST further than this from the bytes its side is at is not believed: the receiver would not take it
 * (RFC 5961 §3.2). Wider than the 6 MiB that Linux lets a window grow to by default (`tcp_rmem`), as the capture may lag.
 */
const PLAUSIBLE_BYTES = 16 * 1024 * 1024

/** Whether the packet's sender is the client, as far as this first packet of a session tells. */
export function isSenderClient(packet: Packet): boolean {
	if ((packet.tcpFlags & SYN) !== 0) return (packet.tcpFlags & ACK) === 0
	// In the middle of a session only the ports tell: servers listen on the lower one, clients get ephemeral ones (RFC 6335 §6).
	return packet.destinationPort <= packet.sourcePort
}

/** Whether the packet begins another connection on the same 5-tuple. */
export function isNewConnection(session: Session<unknown>, packet: Packet): boolean {
	const { state } = session
	if ((packet.tcpFlags & SYN) === 0 || (packet.tcpFlags & RST) !== 0) return false
	if ((packet.tcpFlags & ACK) === 0) {
		return state >= SESSION_STATE.halfClosed
	}
	if (session.hasNewSyn && packet.acknowledgment === ((session.newSyn + 1) | 0)) return true
	return (
		state >= SESSION_STATE.closed &&
		(!session.client.hasSequence || packet.acknowledgment !== session.client.nextSequence)
	)
}

/** Follows the connection's state. Sequence numbers move on in the assembler, or by `advance`. */
export function track(session: Session<unknown>, packet: Packet, isFromClient: boolean): void {
	if (session.state >= SESSION_STATE.closed) return
	const wing = isFromClient ? session.client : session.server
	const other = isFromClient ? session.server : session.client
	const flags = packet.tcpFlags
	if ((flags & RST) !== 0) {
		if (isCredibleReset(wing, other, packet)) session.state = SESSION_STATE.reset
		return
	}
	if (!isFromClient) session.isAnswered = true
	if ((flags & SYN) !== 0) trackSyn(session, packet, isFromClient)
	else if (session.state === SESSION_STATE.opening) trackOpening(session, packet, isFromClient)
	if ((flags & ACK) !== 0) acknowledge(wing, other, packet.acknowledgment)
	if ((flags & FIN) !== 0) trackFin(wing, packet)
	if (wing.hasFin || other.hasFin) trackClosing(session)
}

function trackSyn(session: Session<unknown>, packet: Packet, isFromClient: boolean): void {
	if (session.state !== SESSION_STATE.opening) {
		const isAttempt = (packet.tcpFlags & ACK) === 0
		session.hasNewSyn ||= isAttempt
		if (isAttempt) session.newSyn = packet.sequence
		return
	}
	const wing = isFromClient ? session.client : session.server
	if (wing.hasSyn && (wing.syn === packet.sequence || session.isAnswered)) return
	wing.hasSyn = true
	wing.syn = packet.sequence
	startAt(wing, (packet.sequence + 1) | 0)
}

/** Both sides were heard, or the client sends data: the capture may show only its direction. */
function trackOpening(session: Session<unknown>, packet: Packet, isFromClient: boolean): void {
	if (!isFromClient || session.isAnswered || packet.payloadBytes > 0) {
		session.state = SESSION_STATE.established
	}
}

function acknowledge(wing: Wing, other: Wing, acknowledgment: number): void {
	if (!wing.hasAcknowledged || ahead(acknowledgment, wing.acknowledged) > 0) {
		wing.hasAcknowledged = true
		wing.acknowledged = acknowledgment
	}
	if (!other.hasSequence) startAt(other, acknowledgment)
	if (other.hasFin && ahead(acknowledgment, other.finEnd) >= 0) other.isFinAcknowledged = true
}

function trackFin(wing: Wing, packet: Packet): void {
	if (wing.hasFin || !isPlausible(wing, packet.sequence)) return
	wing.hasFin = true
	wing.finEnd = (packet.sequence + packet.payloadBytes + 1) | 0
}

function trackClosing(session: Session<unknown>): void {
	const { client, server } = session
	if (client.isFinAcknowledged && server.isFinAcknowledged) session.state = SESSION_STATE.closed
	else if (client.hasFin && server.hasFin) session.state = SESSION_STATE.closing
	else session.state = SESSION_STATE.halfClosed
}

/** RFC 9293 §3.5.2: a refusal acknowledges the SYN and has no sequence number of its own; every other RST has. */
function isCredibleReset(wing: Wing, other: Wing, packet: Packet): boolean {
	if (wing.hasSequence) return isPlausible(wing, packet.sequence)
	const isAcknowledging = (packet.tcpFlags & ACK) !== 0 && other.hasSequence
	return !isAcknowledging || isPlausible(other, packet.acknowledgment)
}

function isPlausible(wing: Wing, sequence: number): boolean {
	return !wing.hasSequence || Math.abs(ahead(sequence, wing.nextSequence)) <= PLAUSIBLE_BYTES
}
