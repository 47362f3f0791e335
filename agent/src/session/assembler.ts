import type { Packet } from '../packet/packet.ts'
import { SYN } from '../packet/tcp.ts'
import { copyPiece, HeldPieces } from './held-pieces.ts'
import { ahead, startAt, type Wing } from './wing.ts'

/** Most bytes held over all sessions of an engine. */
export const HELD_TOTAL_BYTES_MAX = 64 * 1024 * 1024

/** A segment further ahead than any TCP window reaches (RFC 7323 §2.3: 1 GiB) belongs to no stream and is dropped. */
const AHEAD_MAX = 1 << 30

/** Receives a stream. */
export interface StreamSink {
	/** The next bytes in order, borrowed. Answers whether more are wanted. */
	data(wing: Wing, view: DataView, at: number, end: number): boolean
	/** `bytes` were skipped: they are missing for good. */
	gap(wing: Wing, bytes: number): void
	/** `bytes` that no stream can contain were ignored. */
	ignored(bytes: number): void
}

/**
 * Puts the bytes of TCP segments in order. What is next passes borrowed; what came early is copied and held under a
 * limit. Of a byte that comes twice, the first copy wins. A hole is skipped when the receiver acknowledged it
 * (the capture missed it), or when no more can be held.
 */
export class Assembler {
	readonly #sink: StreamSink
	/** The part of the segment in hand that is not placed yet. */
	readonly #rest: { view: DataView; at: number; end: number } = {
		view: new DataView(new ArrayBuffer(0)),
		at: 0,
		end: 0,
	}
	#sequence = 0
	#heldBytes = 0

	constructor(sink: StreamSink) {
		this.#sink = sink
	}

	/** Bytes held over all sessions. */
	get heldBytes(): number {
		return this.#heldBytes
	}

	/** Takes a segment that `wing` sent to `other`. */
	accept(wing: Wing, other: Wing, packet: Packet, view: DataView): void {
		const isSyn = (packet.tcpFlags & SYN) !== 0
		const sequence = isSyn ? (packet.sequence + 1) | 0 : packet.sequence
		if (!wing.hasSequence) startAt(wing, sequence)
		if (packet.payloadBytes === 0) return
		if (sequence === wing.nextSequence && wing.held === undefined) {
			this.#deliverWhole(wing, packet, view)
			return
		}
		if (ahead(sequence, wing.nextSequence) > AHEAD_MAX) {
			this.#sink.ignored(packet.payloadBytes)
			return
		}
		this.#rest.view = view
		this.#rest.at = packet.payloadAt
		this.#rest.end = packet.payloadEnd
		this.#sequence = sequence
		this.#place(wing)
		if (wing.held !== undefined) this.settle(wing, other)
	}

	/** Skips holes of `wing` that `other` has acknowledged. */
	settle(wing: Wing, other: Wing): void {
		if (!other.hasAcknowledged) return
		for (let held = wing.held; held !== undefined; held = wing.held) {
			const first = held.pieces[0]
			if (!first || ahead(other.acknowledged, first.sequence) < 0) return
			if (!this.#skipTo(wing, first.sequence)) return
		}
	}

	/** Delivers what is held, holes skipped: nothing more will come. */
	finish(wing: Wing): void {
		for (let held = wing.held; held !== undefined; held = wing.held) {
			const first = held.pieces[0]
			if (!first || !this.#skipTo(wing, first.sequence)) return
		}
	}

	/** Forgets what is held. */
	release(wing: Wing): void {
		if (wing.held === undefined) return
		this.#heldBytes -= wing.held.bytes
		wing.held = undefined
	}

	/** The segment is what comes next, and nothing is held. */
	#deliverWhole(wing: Wing, packet: Packet, view: DataView): void {
		const isWanted = this.#deliver(wing, view, packet.payloadAt, packet.payloadEnd)
		const missing = packet.payloadBytes - (packet.payloadEnd - packet.payloadAt)
		if (missing === 0) return
		wing.nextSequence = (wing.nextSequence + missing) | 0
		if (isWanted) this.#sink.gap(wing, missing)
	}

	/** Places the rest, piece by piece: seen before, next, or early. */
	#place(wing: Wing): void {
		const rest = this.#rest
		while (rest.at < rest.end) {
			const early = ahead(this.#sequence, wing.nextSequence)
			if (early < 0) this.#take(Math.min(-early, rest.end - rest.at))
			else if (early === 0) {
				if (!this.#deliverNext(wing)) return
			} else {
				if (this.#hold(wing)) return
				const first = wing.held?.pieces[0]
				const isBefore = first && ahead(first.sequence, this.#sequence) < 0
				if (!this.#skipTo(wing, isBefore ? first.sequence : this.#sequence)) return
			}
		}
	}

	/** Delivers the rest up to the first held piece, then what follows of those held. */
	#deliverNext(wing: Wing): boolean {
		const rest = this.#rest
		const first = wing.held?.pieces[0]
		const room = first ? ahead(first.sequence, wing.nextSequence) : rest.end - rest.at
		const bytes = Math.min(room, rest.end - rest.at)
		const at = rest.at
		this.#take(bytes)
		return this.#deliver(wing, rest.view, at, at + bytes) && this.#drain(wing)
	}

	/** Copies the parts of the rest that are not held yet; false when there is no room. */
	#hold(wing: Wing): boolean {
		const rest = this.#rest
		const held = wing.held ?? new HeldPieces()
		for (let i = 0; rest.at < rest.end; i++) {
			const piece = held.pieces[i]
			const before = piece ? ahead(piece.sequence, this.#sequence) : rest.end - rest.at
			const bytes = Math.min(before, rest.end - rest.at)
			if (bytes > 0) {
				if (!held.hasRoom(bytes) || this.#heldBytes + bytes > HELD_TOTAL_BYTES_MAX) return false
				const part = { view: rest.view, at: rest.at, end: rest.at + bytes }
				held.insert(i, copyPiece(this.#sequence, part))
				wing.held = held
				this.#heldBytes += bytes
				this.#take(bytes)
			} else if (piece) {
				const covered = ahead((piece.sequence + piece.bytes) | 0, this.#sequence)
				this.#take(Math.min(Math.max(covered, 0), rest.end - rest.at))
			}
		}
		return true
	}

	/** Skips the hole before `sequence`, then delivers what follows of the held pieces. */
	#skipTo(wing: Wing, sequence: number): boolean {
		const missing = ahead(sequence, wing.nextSequence)
		if (missing > 0) {
			wing.nextSequence = sequence
			this.#sink.gap(wing, missing)
		}
		return this.#drain(wing)
	}

	/** Delivers held pieces as long as they are next. Answers whether more is wanted. */
	#drain(wing: Wing): boolean {
		for (let held = wing.held; held !== undefined; held = wing.held) {
			const first = held.pieces[0]
			if (first && ahead(first.sequence, wing.nextSequence) > 0) return true
			held.shift()
			if (held.pieces.length === 0) wing.held = undefined
			if (!first) continue
			this.#heldBytes -= first.bytes
			const seen = ahead(wing.nextSequence, first.sequence)
			if (seen < first.bytes && !this.#deliver(wing, first.view, seen, first.bytes)) return false
		}
		return true
	}

	#deliver(wing: Wing, view: DataView, at: number, end: number): boolean {
		if (at === end) return true
		wing.nextSequence = (wing.nextSequence + end - at) | 0
		return this.#sink.data(wing, view, at, end)
	}

	#take(bytes: number): void {
		this.#rest.at += bytes
		this.#sequence = (this.#sequence + bytes) | 0
	}
}
