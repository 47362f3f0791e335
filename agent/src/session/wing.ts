import type { HeldPieces } from './held-pieces.ts'

/** One side of a TCP session, as a sender. Sequence numbers are signed words; see `ahead`. */
export class Wing {
	readonly isClient: boolean
	hasSequence = false
	/** The next byte expected from this side. */
	nextSequence = 0
	hasSyn = false
	/** Sequence number of the SYN. */
	syn = 0
	hasAcknowledged = false
	/** The highest acknowledgment this side sent. */
	acknowledged = 0
	hasFin = false
	isFinAcknowledged = false
	/** The sequence number after the FIN. */
	finEnd = 0
	/** Bytes that came before those they follow. */
	held: HeldPieces | undefined = undefined

	constructor(isClient: boolean) {
		this.isClient = isClient
	}
}

/** How far `sequence` is ahead of `base`, negative when behind: 32-bit arithmetic that survives the wrap (RFC 9293 §3.4). */
export function ahead(sequence: number, base: number): number {
	return (sequence - base) | 0
}

/** Sets where this side's bytes go on. */
export function startAt(wing: Wing, sequence: number): void {
	wing.hasSequence = true
	wing.nextSequence = sequence
}

/** Moves on over `bytes` from `sequence` without reading them. */
export function advance(wing: Wing, sequence: number, bytes: number): void {
	const end = (sequence + bytes) | 0
	if (!wing.hasSequence) startAt(wing, end)
	else if (ahead(end, wing.nextSequence) > 0) wing.nextSequence = end
}

/** Makes the wing ready for another session. Held bytes must have been released. */
export function resetWing(wing: Wing): void {
	wing.hasSequence = false
	wing.nextSequence = 0
	wing.hasSyn = false
	wing.syn = 0
	wing.hasAcknowledged = false
	wing.acknowledged = 0
	wing.hasFin = false
	wing.isFinAcknowledged = false
	wing.finEnd = 0
}
