import { APPLICATIONS } from '@ringfence/shared/contract/application'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Facts, Opening, Parser, Segment, Span, Transport } from './parser.ts'
import { candidatesOf, PARSERS } from './registry.ts'
import { outcomeOf, SAMPLE_SESSIONS, type Turn } from './sample-sessions.ts'

const RUNS = { numRuns: 300, seed: 20_240_501 }

describe('the registry', () => {
	it('has one row for each application of the contract', () => {
		expect(PARSERS.map((parser) => parser.name).sort()).toEqual([...APPLICATIONS].sort())
	})

	it('has a sample session of each row and transport', () => {
		for (const parser of PARSERS) {
			for (const transport of parser.transports)
				expect(samplesOf(parser, transport)).not.toEqual([])
		}
	})

	it('asks those first that usually live at the port, and all others too', () => {
		expect(candidatesOf('tcp', 6379)[0]?.name).toBe('redis')
		expect(candidatesOf('tcp', 6379)).toHaveLength(PARSERS.length)
		expect(candidatesOf('udp', 6379).map((parser) => parser.name)).toEqual(['dns'])
	})
})

describe.each(SAMPLE_SESSIONS)('a $application session over $transport', (sample) => {
	const { application, transport, turns, facts } = sample
	const whole = { application, facts, malformedMessages: 0, malformedWhy: undefined }

	it.each([0, 53, 80, 443, 6379, 22, 31_337])(
		'is named with its facts on port %i',
		(serverPort) => {
			expect(outcomeOf(turns, { transport, serverPort })).toEqual(whole)
		},
	)

	it('is the same at every cut of every turn', () => {
		if (transport === 'udp') return
		let cuts = 0
		for (const [index, turn] of turns.entries()) {
			for (let at = 1; at < turn.bytes.length; at++) {
				expect(outcomeOf(cutTurn(turns, index, at))).toEqual(whole)
				cuts++
			}
		}
		expect(cuts).toBeGreaterThan(10)
	})

	it('is the same in any number of pieces', () => {
		if (transport === 'udp') return
		const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 })
		fc.assert(
			fc.property(sizes, (piecesBytes) => {
				expect(outcomeOf(turns.flatMap((turn) => pieces(turn, piecesBytes)))).toEqual(whole)
			}),
			RUNS,
		)
	})
})

describe.each(PARSERS.flatMap(rowsOf))('$parser.name over $transport', ({ parser, transport }) => {
	const samples = samplesOf(parser, transport).flatMap((sample) => sample.turns)

	it('never throws, whatever the bytes', () => {
		const any = fc.uint8Array({ maxLength: 300 })
		fc.assert(
			fc.property(any, any, fc.boolean(), (one, other, isMidstream) => {
				expect(
					ask(parser, { transport, isMidstream, turns: [one, other], filler: 0 }),
				).toBeDefined()
			}),
			RUNS,
		)
	})

	it('never throws on a sample with bytes changed', () => {
		const change = fc.tuple(fc.nat(400), fc.integer({ min: 0, max: 255 }))
		fc.assert(
			fc.property(
				fc.constantFrom(...samples),
				fc.array(change, { maxLength: 4 }),
				(turn, changes) => {
					const spoiled = Uint8Array.from(turn.bytes)
					for (const [at, value] of changes) spoiled[at % spoiled.length] = value
					const asked: Asked = {
						transport,
						isMidstream: false,
						turns: [spoiled, spoiled],
						filler: 0,
					}
					expect(ask(parser, asked)).toBeDefined()
				},
			),
			RUNS,
		)
	})

	it('never reads its neighbours, at any length of a sample', () => {
		let asked = 0
		for (const turn of samples) {
			for (let end = 0; end <= turn.bytes.length; end++) {
				for (const isMidstream of [false, true]) {
					const said = turn.bytes.subarray(0, end)
					const zeros = ask(parser, { transport, isMidstream, turns: [said, said], filler: 0x00 })
					const ones = ask(parser, { transport, isMidstream, turns: [said, said], filler: 0xff })
					expect(ones).toEqual(zeros)
					asked++
				}
			}
		}
		expect(asked).toBeGreaterThan(20)
	})
})

interface Asked {
	readonly transport: Transport
	readonly isMidstream: boolean
	/** What the client and the server said. */
	readonly turns: readonly [Uint8Array, Uint8Array]
	/** Byte all around them. */
	readonly filler: number
}

/** Asks a parser everything it can be asked about the bytes, in every direction. */
function ask(parser: Parser, { transport, isMidstream, turns, filler }: Asked): unknown {
	const [client, server] = turns.map((said) => inRing(said, filler)) as [Span, Span]
	const empty = { ...client, end: client.at }
	const openings: Opening[] = [
		{ client, server, transport, isMidstream },
		{ client, server: empty, transport, isMidstream },
		{ client: empty, server, transport, isMidstream },
	]
	return {
		probes: openings.map((opening) => parser.probe(opening)),
		parses: [true, false].map((fromClient) =>
			readAll(parser, { ...client, fromClient }, transport),
		),
	}
}

/** Parses to the end of the bytes. */
function readAll(parser: Parser, segment: Segment, transport: Transport): unknown {
	const facts: Facts = {}
	const state = parser.open(facts, transport)
	const results = []
	let at = segment.at
	while (at < segment.end) {
		const result = parser.parse({ ...segment, at }, state)
		results.push(result)
		if (result.kind !== 'message') break
		expect(result.consumedBytes).toBeGreaterThan(0)
		at += result.consumedBytes
	}
	return { results, facts }
}

function inRing(said: Uint8Array, filler: number): Span {
	const ring = new Uint8Array(said.length + 64).fill(filler)
	ring.set(said, 32)
	return { view: new DataView(ring.buffer), at: 32, end: 32 + said.length }
}

function rowsOf(parser: Parser): { parser: Parser; transport: Transport }[] {
	return parser.transports.map((transport) => ({ parser, transport }))
}

function samplesOf(parser: Parser, transport: Transport) {
	return SAMPLE_SESSIONS.filter(
		(sample) => sample.application === parser.name && sample.transport === transport,
	)
}

function cutTurn(turns: readonly Turn[], index: number, at: number): Turn[] {
	return turns.flatMap((turn, place) => (place === index ? pieces(turn, [at, 10_000]) : [turn]))
}

/** Cuts a turn into pieces of the given sizes, over and over. */
function pieces({ bytes, fromClient }: Turn, piecesBytes: readonly number[]): Turn[] {
	const cut: Turn[] = []
	let at = 0
	while (at < bytes.length) {
		const sizeBytes = Math.max(piecesBytes[cut.length % piecesBytes.length] ?? 1, bytes.length / 30)
		const end = Math.min(bytes.length, Math.ceil(at + sizeBytes))
		cut.push({ bytes: bytes.subarray(at, end), fromClient })
		at = end
	}
	return cut
}
