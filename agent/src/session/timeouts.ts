import { type Packet, PROTOCOL } from '../packet/packet.ts'

/** What a session is in, as far as its time-out goes. From `closed` on, nothing but strays is expected. */
export const SESSION_STATE = {
	/** TCP before both sides were heard. */
	opening: 0,
	established: 1,
	/** One FIN. */
	halfClosed: 2,
	/** Both FINs, not both acknowledged. */
	closing: 3,
	/** UDP from one side only. */
	oneWay: 4,
	/** UDP from both sides. */
	twoWay: 5,
	icmp: 6,
	other: 7,
	/** Both FINs acknowledged. */
	closed: 8,
	reset: 9,
} as const

export type SessionState = (typeof SESSION_STATE)[keyof typeof SESSION_STATE]

const SECOND_US = 1_000_000

/**
 * Idle time after which a session ends, by state. Closed and reset sessions linger so that late retransmissions
 * count as theirs: 5 s covers several retransmission time-outs (RFC 6298 §2: at least 1 s each).
 */
const IDLE_US: readonly number[] = [
	20 * SECOND_US,
	1200 * SECOND_US,
	90 * SECOND_US,
	15 * SECOND_US,
	30 * SECOND_US,
	180 * SECOND_US,
	10 * SECOND_US,
	15 * SECOND_US,
	5 * SECOND_US,
	5 * SECOND_US,
]

/** Idle time after which a session in this state ends. */
export function idleUs(state: SessionState): number {
	return IDLE_US[state] ?? 0
}

/** State of a session that the packet starts. */
export function firstState(packet: Packet): SessionState {
	switch (packet.protocol) {
		case PROTOCOL.tcp:
			return SESSION_STATE.opening
		case PROTOCOL.udp:
			return SESSION_STATE.oneWay
		case PROTOCOL.icmp:
		case PROTOCOL.icmpv6:
			return SESSION_STATE.icmp
		default:
			return SESSION_STATE.other
	}
}
