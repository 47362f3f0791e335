import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Packet } from '../packet/packet.ts'
import { ACK, SYN } from '../packet/tcp.ts'
import { Assembler, HELD_TOTAL_BYTES_MAX } from './assembler.ts'
import { HELD_BYTES_MAX, HELD_PIECES_MAX } from './held-pieces.ts'
import { resetWing, startAt, Wing } from './wing.ts'

/** Just before the wrap, so that every stream crosses it. */
const START = 0x7ffffff0

describe('any stream', () => {
	const stream = fc.uint8Array({ minLength: 1, maxLength: 400 })

	it('comes out the same from any split, order, duplication and overlap', () => {
		fc.assert(
			fc.property(stream, segmentsSeed(), (bytes, seed) => {
				const tap = new Tap()
				const segments = cover(bytes.length, seed)
				for (const [from, to] of segments) tap.send(from, bytes.subarray(from, to))
				expect(tap.bytes).toEqual([...bytes])
				expect(tap.gaps).toEqual([])
				expect(tap.assembler.heldBytes).toBe(0)
			}),
			{ numRuns: 500 },
		)
	})

	it('keeps the first copy of a byte that differs later', () => {
		fc.assert(
			fc.property(fc.array(piece(), { maxLength: 12 }), (pieces) => {
				const tap = new Tap()
				const first = new Map<number, number>()
				for (const [i, { from, size }] of pieces.entries()) {
					for (let at = from; at < from + size; at++) if (!first.has(at)) first.set(at, i)
					tap.send(from, new Uint8Array(size).fill(i))
				}
				const expected: number[] = []
				for (let at = 0; first.has(at); at++) expected.push(first.get(at) ?? -1)
				expect(tap.bytes).toEqual(expected)
				expect(tap.gaps).toEqual([])
			}),
			{ numRuns: 500 },
		)
	})

	it('with parts lost is what is left, in order, and each gap is told', () => {
		const lossy = fc.array(
			fc.record({ size: fc.integer({ min: 1, max: 20 }), lost: fc.boolean() }),
			{
				minLength: 1,
				maxLength: 40,
			},
		)
		fc.assert(
			fc.property(lossy, (parts) => {
				const tap = new Tap()
				const left: number[] = []
				let at = 0
				let lostBytes = 0
				for (const [i, { size, lost }] of parts.entries()) {
					if (lost) lostBytes += size
					else {
						tap.send(at, new Uint8Array(size).fill(i))
						left.push(...new Array<number>(size).fill(i))
					}
					at += size
					tap.acknowledge(at)
				}
				tap.send(at, Uint8Array.of(99))
				expect(tap.bytes).toEqual([...left, 99])
				expect(sum(tap.gaps)).toBe(lostBytes)
			}),
		)
	})
})

describe('a hole', () => {
	it('waits while the receiver has not acknowledged it', () => {
		const tap = new Tap()
		tap.send(0, Uint8Array.of(1))
		tap.send(2, Uint8Array.of(3))
		tap.acknowledge(1)
		expect(tap.bytes).toEqual([1])
		tap.send(1, Uint8Array.of(2))
		expect(tap.bytes).toEqual([1, 2, 3])
		expect(tap.gaps).toEqual([])
	})

	it('is skipped when the receiver acknowledges what is behind it', () => {
		const tap = new Tap()
		tap.send(10, Uint8Array.of(7))
		tap.acknowledge(11)
		expect(tap.bytes).toEqual([7])
		expect(tap.gaps).toEqual([10])
	})

	it('is skipped when too many bytes wait behind it', () => {
		const tap = new Tap()
		const chunk = new Uint8Array(HELD_BYTES_MAX / 4)
		for (let i = 0; i < 4; i++) tap.send(1 + i * chunk.length, chunk.fill(i))
		expect(tap.bytes).toEqual([])
		expect(tap.assembler.heldBytes).toBe(HELD_BYTES_MAX)
		tap.send(1 + 4 * chunk.length, Uint8Array.of(9))
		expect(tap.gaps).toEqual([1])
		expect(tap.bytes.length).toBe(HELD_BYTES_MAX + 1)
		expect(tap.bytes.at(-1)).toBe(9)
		expect(tap.assembler.heldBytes).toBe(0)
	})

	it('is skipped when too many pieces wait behind it', () => {
		const tap = new Tap()
		for (let i = 0; i <= HELD_PIECES_MAX; i++) tap.send(1 + i * 2, Uint8Array.of(i))
		expect(tap.gaps.length).toBeGreaterThan(0)
		expect(tap.bytes).toEqual([0])
	})

	it('before a segment larger than the limit is skipped at once', () => {
		const tap = new Tap()
		tap.send(5, new Uint8Array(HELD_BYTES_MAX + 1))
		expect(tap.gaps).toEqual([5])
		expect(tap.bytes.length).toBe(HELD_BYTES_MAX + 1)
	})

	it('is skipped at once when all sessions together hold too much', () => {
		const tap = new Tap()
		const chunk = new Uint8Array(HELD_BYTES_MAX)
		const others: Wing[] = []
		while (tap.assembler.heldBytes + HELD_BYTES_MAX <= HELD_TOTAL_BYTES_MAX) {
			const wing = new Wing(true)
			startAt(wing, 0)
			others.push(wing)
			tap.assembler.accept(wing, new Wing(false), segment(10, chunk), viewOf(chunk))
		}
		tap.send(5, chunk)
		expect(tap.gaps).toEqual([5])
		for (const wing of others) tap.assembler.release(wing)
		expect(tap.assembler.heldBytes).toBe(0)
	})

	it('at the end of the session is skipped, and what is held comes', () => {
		const tap = new Tap()
		tap.send(1, Uint8Array.of(1))
		tap.send(3, Uint8Array.of(3))
		tap.assembler.finish(tap.wing)
		expect(tap.bytes).toEqual([1, 3])
		expect(tap.gaps).toEqual([1, 1])
	})
})

describe('segments', () => {
	it('of a retransmission and of keep-alive bring nothing', () => {
		const tap = new Tap()
		tap.send(0, Uint8Array.of(1, 2, 3))
		tap.send(0, Uint8Array.of(9, 9, 9))
		tap.send(2, Uint8Array.of(9))
		tap.send(-1, Uint8Array.of(0))
		expect(tap.bytes).toEqual([1, 2, 3])
	})

	it('further ahead than any window are ignored and counted', () => {
		const tap = new Tap()
		tap.send(2 ** 30 + 1, Uint8Array.of(1, 2))
		expect(tap.ignoredBytes).toBe(2)
		tap.send(0, Uint8Array.of(1))
		expect(tap.bytes).toEqual([1])
	})

	it('that the capture truncated leave a gap', () => {
		const tap = new Tap()
		const packet = segment(START, Uint8Array.of(1, 2))
		packet.payloadBytes = 10
		tap.assembler.accept(tap.wing, tap.other, packet, viewOf(Uint8Array.of(1, 2)))
		tap.send(10, Uint8Array.of(3))
		expect(tap.bytes).toEqual([1, 2, 3])
		expect(tap.gaps).toEqual([8])
	})

	it('with data in the SYN start behind it', () => {
		const tap = new Tap()
		resetWing(tap.wing)
		const packet = segment(START - 1, Uint8Array.of(5))
		packet.tcpFlags = SYN
		tap.assembler.accept(tap.wing, tap.other, packet, viewOf(Uint8Array.of(5)))
		tap.send(1, Uint8Array.of(6))
		expect(tap.bytes).toEqual([5, 6])
	})

	it('pass without a copy when they are next', () => {
		const tap = new Tap()
		const view = viewOf(Uint8Array.of(1))
		tap.assembler.accept(tap.wing, tap.other, segment(START, Uint8Array.of(1)), view)
		expect(tap.lastView).toBe(view)
	})

	it('are no longer delivered once nobody wants more', () => {
		const tap = new Tap()
		tap.wanted = 2
		tap.send(1, Uint8Array.of(2))
		tap.send(3, Uint8Array.of(4))
		tap.send(0, Uint8Array.of(1))
		tap.assembler.release(tap.wing)
		expect(tap.bytes).toEqual([1, 2])
		expect(tap.assembler.heldBytes).toBe(0)
	})
})

/** One direction, watched. Positions count from the start of the stream. */
class Tap {
	readonly bytes: number[] = []
	readonly gaps: number[] = []
	readonly wing = new Wing(true)
	readonly other = new Wing(false)
	ignoredBytes = 0
	/** How many deliveries are wanted. */
	wanted = Number.POSITIVE_INFINITY
	lastView: DataView | undefined
	readonly assembler = new Assembler({
		data: (_, view, at, end) => {
			for (let i = at; i < end; i++) this.bytes.push(view.getUint8(i))
			this.lastView = view
			return --this.wanted > 0
		},
		gap: (_, bytes) => this.gaps.push(bytes),
		ignored: (bytes) => {
			this.ignoredBytes += bytes
		},
	})

	constructor() {
		startAt(this.wing, START)
	}

	send(position: number, payload: Uint8Array): void {
		const packet = segment((START + position) | 0, payload)
		this.assembler.accept(this.wing, this.other, packet, viewOf(payload))
	}

	acknowledge(position: number): void {
		this.other.hasAcknowledged = true
		this.other.acknowledged = (START + position) | 0
		this.assembler.settle(this.wing, this.other)
	}
}

function segment(sequence: number, payload: Uint8Array): Packet {
	const packet = new Packet()
	packet.tcpFlags = ACK
	packet.sequence = sequence
	packet.payloadAt = 0
	packet.payloadEnd = payload.length
	packet.payloadBytes = payload.length
	return packet
}

function viewOf(bytes: Uint8Array): DataView {
	return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function piece(): fc.Arbitrary<{ from: number; size: number }> {
	return fc.record({ from: fc.nat(30), size: fc.integer({ min: 1, max: 12 }) })
}

interface CoverSeed {
	readonly cuts: readonly number[]
	readonly extras: readonly (readonly [number, number])[]
	readonly order: readonly number[]
}

function segmentsSeed(): fc.Arbitrary<CoverSeed> {
	return fc.record({
		cuts: fc.array(fc.nat(400), { maxLength: 20 }),
		extras: fc.array(fc.tuple(fc.nat(400), fc.nat(400)), { maxLength: 8 }),
		order: fc.array(fc.nat(1000), { minLength: 30, maxLength: 30 }),
	})
}

/** Segments that together cover `[0, size)`: cut anywhere, some repeated or overlapping, in any order. */
function cover(size: number, { cuts, extras, order }: CoverSeed): [number, number][] {
	const edges = [...new Set([0, size, ...cuts.filter((cut) => cut < size)])].sort((a, b) => a - b)
	const segments = edges.slice(1).map((to, i): [number, number] => [edges[i] ?? 0, to])
	for (const [a, b] of extras) {
		const from = Math.min(a, b, size)
		const to = Math.min(Math.max(a, b), size)
		if (to > from) segments.push([from, to])
	}
	return segments
		.map((part, i) => ({ part, rank: order[i] ?? 0 }))
		.sort((a, b) => a.rank - b.rank)
		.map(({ part }) => part)
}

function sum(numbers: readonly number[]): number {
	return numbers.reduce((total, number) => total + number, 0)
}
