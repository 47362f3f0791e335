import { describe, expect, it } from 'vitest'
import {
	bytes,
	client,
	dnsAddress,
	dnsMessage,
	dnsName,
	dnsQuestion,
	framed,
	join,
	outcomeOf,
	play,
	server,
	text,
	uint16,
} from '../sample-sessions.ts'
import { DNS } from './dns.ts'

const UDP = { transport: 'udp' } as const
const QUERY = dnsQuestion('a.example', 1)

/** Vectors are made here after RFC 1035 §4.1 and the specification named beside them. */
describe('dns is named', () => {
	it.each([
		[
			'EDNS (RFC 6891 §6.1.2)',
			{ ...QUERY, additionals: [bytes(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)] },
		],
		['a root query', { flags: 0, questions: [bytes(0, 0, 2, 0, 1)] }],
		['a notification (RFC 1996 §3)', { flags: 0x2400, questions: QUERY.questions }],
		[
			'an update (RFC 2136 §2)',
			{ flags: 0x2800, questions: [join(dnsName('a.example'), uint16(6), uint16(1))] },
		],
		['a refusal', { ...QUERY, flags: 0x8185 }],
		[
			'multicast (RFC 6762 §18)',
			{
				flags: 0x8400,
				questions: [],
				answers: [join(dnsName('a.local'), bytes(0, 1, 0x80, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1))],
			},
		],
		['HTTPS (RFC 9460 §2)', dnsQuestion('a.example', 65)],
	])('by %s', (_, fields) => {
		expect(play([client(dnsMessage(fields))], UDP).application).toBe('dns')
	})

	it('and done with the first answer', () => {
		const query = client(dnsMessage(QUERY))
		const answer = server(dnsMessage({ ...QUERY, flags: 0x8180, answers: [dnsAddress()] }))
		expect(play([query], UDP).isDone).toBe(false)
		expect(play([query, answer], UDP).isDone).toBe(true)
	})

	it('by an answer whose query was not seen', () => {
		const answer = dnsMessage({ ...QUERY, flags: 0x8180, answers: [dnsAddress()] })
		expect(outcomeOf([server(answer)], UDP)).toMatchObject({
			application: 'dns',
			facts: { detail: 'a.example' },
		})
	})

	it('after datagrams that are something else', () => {
		const noise = client(text('are you there?'))
		expect(play([noise, noise, client(dnsMessage(QUERY))], UDP).application).toBe('dns')
	})

	it('by a sound question whatever is behind it, which is malformed', () => {
		const tail = join(dnsMessage(QUERY), text('padding'))
		const outcome = {
			application: 'dns',
			malformedMessages: 1,
			malformedWhy: 'bytes after the last record',
		}
		expect(outcomeOf([client(tail)], UDP)).toMatchObject(outcome)
		expect(outcomeOf([client(framed(tail))])).toMatchObject(outcome)
	})

	it('by the header of a plain query whose question is cut, which is malformed', () => {
		const cut = dnsMessage(QUERY).subarray(0, 16)
		expect(outcomeOf([client(cut)], UDP)).toMatchObject({
			application: 'dns',
			malformedMessages: 1,
			malformedWhy: 'message too short',
		})
	})

	it('in the middle of a session over TCP, at a message that starts a segment', () => {
		const answer = server(framed(dnsMessage({ ...QUERY, flags: 0x8180, answers: [dnsAddress()] })))
		const turns = [server(text('tail of a zone')), answer]
		expect(play(turns, { isMidstream: true }).application).toBe('dns')
	})

	it('with bytes of a name that are not text escaped', () => {
		const name = join(bytes(3), text('A.\xff'), bytes(0))
		const query = dnsMessage({ flags: 0x0100, questions: [join(name, bytes(0, 1, 0, 1))] })
		expect(play([client(query)], UDP).facts).toEqual({ detail: 'a\\046\\255' })
	})
})

describe('dns is not', () => {
	const netbios = join(bytes(32), text('CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'), bytes(0))
	it.each([
		[
			'a NetBIOS name query (RFC 1002 §4.2.12)',
			dnsMessage({ flags: 0x0110, questions: [join(netbios, bytes(0, 32, 0, 1))] }),
		],
		[
			'a NetBIOS query to a name server (RFC 1002 §4.2.12)',
			dnsMessage({ flags: 0x0100, questions: [join(netbios, bytes(0, 32, 0, 1))] }),
		],
		[
			'a NetBIOS status query (RFC 1002 §4.2.17)',
			dnsMessage({ flags: 0x0000, questions: [join(netbios, bytes(0, 33, 0, 1))] }),
		],
		[
			'a NetBIOS answer (RFC 1002 §4.2.13)',
			dnsMessage({
				flags: 0x8500,
				questions: [],
				answers: [join(netbios, bytes(0, 32, 0, 1, 0, 0, 0, 60, 0, 6, 0, 0, 192, 0, 2, 1))],
			}),
		],
		[
			'STUN (RFC 8489 §5)',
			join(bytes(0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42), new Uint8Array(12).fill(7)),
		],
		['NTP (RFC 5905 §7.3)', join(bytes(0x23, 0, 6, 0xec), new Uint8Array(44))],
		['DTLS (RFC 6347 §4.1)', join(bytes(22, 254, 253), new Uint8Array(60).fill(1))],
		['zeros', new Uint8Array(64)],
		['ones', new Uint8Array(64).fill(0xff)],
		['a status opcode', dnsMessage({ ...QUERY, flags: 0x1100 })],
		['a reserved bit', dnsMessage({ ...QUERY, flags: 0x0140 })],
		['a query with a response code', dnsMessage({ ...QUERY, flags: 0x0003 })],
		['no question', dnsMessage({ flags: 0x8180, questions: [] })],
		['an unassigned type', dnsMessage({ ...dnsQuestion('a.example', 5000), flags: 0 })],
		[
			'an unassigned class',
			dnsMessage({ flags: 0, questions: [join(dnsName('a'), bytes(0, 1, 0, 9))] }),
		],
		[
			'a name of control bytes',
			dnsMessage({ flags: 0, questions: [join(dnsName('\x01\x02'), bytes(0, 1, 0, 1))] }),
		],
		['a pointer forward', dnsMessage({ flags: 0, questions: [bytes(0xc0, 40, 0, 1, 0, 1)] })],
	])('%s', (_, datagram) => {
		expect(play([client(datagram)], UDP).application).toBeUndefined()
		expect(play([client(framed(datagram))]).application).toBeUndefined()
	})

	it('a name that fits when the length before it does not', () => {
		const query = dnsMessage(QUERY)
		expect(play([client(join(uint16(5), query))])).toMatchObject({
			isFinal: true,
			application: undefined,
		})
	})
})

describe('a message is malformed', () => {
	const answered = { ...QUERY, flags: 0x8180 }
	it.each([
		['message too short', bytes(0, 0)],
		['opcode', dnsMessage({ ...QUERY, flags: 0x1000 })],
		['reserved bit', dnsMessage({ ...QUERY, flags: 0x0040 })],
		['response code in a query', dnsMessage({ ...QUERY, flags: 0x0001 })],
		['no question', join(dnsMessage({ flags: 0, questions: [] }), new Uint8Array(5))],
		['more records than bytes', withCount(dnsMessage(QUERY), 4, 9)],
		['too many records', withCount(dnsMessage(QUERY), 6, 0xffff)],
		[
			'question name',
			dnsMessage({ flags: 0, questions: [join(bytes(0x40), text('not a label'))] }),
		],
		['question type or class', dnsMessage(dnsQuestion('a.example', 0))],
		['record', dnsMessage({ ...answered, answers: [dnsAddress().with(11, 200)] })],
		['record', dnsMessage({ ...answered, answers: [dnsAddress().with(5, 77)] })],
		['record', dnsMessage({ ...answered, answers: [dnsAddress().with(0, 0x80)] })],
		['bytes after the last record', join(dnsMessage(QUERY), bytes(0))],
	])('by %s', (why, said) => {
		expect(parse(said, 'udp')).toEqual({ kind: 'malformed', why })
	})

	it('by a length over TCP that holds no header', () => {
		expect(parse(bytes(0, 3, 1, 2, 3), 'tcp')).toEqual({
			kind: 'malformed',
			why: 'message too short',
		})
	})

	it('never over TCP before it is whole', () => {
		const whole = framed(dnsMessage(QUERY))
		for (let end = 1; end < whole.length; end++) {
			expect(parse(whole.slice(0, end), 'tcp')).toEqual({ kind: 'more' })
		}
	})
})

function withCount(message: Uint8Array, at: number, count: number): Uint8Array {
	return message.with(at, count >> 8).with(at + 1, count & 0xff)
}

function parse(said: Uint8Array, transport: 'tcp' | 'udp'): unknown {
	const view = new DataView(said.buffer, said.byteOffset, said.length)
	const segment = { view, at: 0, end: said.length, fromClient: true }
	return DNS.parse(segment, DNS.open({}, transport))
}
