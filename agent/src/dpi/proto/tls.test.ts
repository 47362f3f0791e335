import { describe, expect, it } from 'vitest'
import type { Facts } from '../parser.ts'
import {
	alpn,
	bytes,
	client,
	join,
	outcomeOf,
	play,
	server,
	serverName,
	text,
	tlsHello,
	tlsRecord,
	uint16,
} from '../sample-sessions.ts'
import { TLS } from './tls.ts'

const HELLO = tlsHello(1, [serverName('a.example')])

/** Vectors are made here after RFC 8446 §4.1 and §5.1, and the specification named beside them. */
describe('tls is named', () => {
	it('by a client hello at once, and done with the answer', () => {
		const detection = play([client(tlsRecord(22, HELLO))])
		expect(detection).toMatchObject({ application: 'tls', isFinal: true, isDone: false })
		expect(detection.facts).toEqual({ host: 'a.example', version: 'TLS1.2' })
		const answer = server(tlsRecord(22, tlsHello(2, [alpn(['h2'])])))
		const both = play([client(tlsRecord(22, HELLO)), answer])
		expect(both).toMatchObject({ isDone: true, facts: { version: 'TLS1.2', detail: 'h2' } })
	})

	it('by a server hello whose client was not seen', () => {
		const answer = server(tlsRecord(22, tlsHello(2, [])))
		expect(play([answer])).toMatchObject({ application: 'tls', isDone: true })
	})

	it.each([1, 3, 10, 40, 70])('by a hello in records of %i bytes', (partBytes) => {
		const records = join(...partsOf(HELLO, partBytes).map((part) => tlsRecord(22, part)))
		expect(outcomeOf([client(records)])).toEqual({
			application: 'tls',
			facts: { host: 'a.example', version: 'TLS1.2' },
			malformedMessages: 0,
			malformedWhy: undefined,
		})
	})

	it('by an SSL 2.0 hello that offers more (RFC 5246 Appendix E.2)', () => {
		const detection = play([client(ssl2Hello())])
		expect(detection).toMatchObject({ application: 'tls', facts: { version: 'TLS1.0' } })
	})

	it('and done when the server answers in SSL 2.0, or in a draft of TLS 1.3', () => {
		const old = server(bytes(0x80, 0x0b, 4, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0))
		expect(play([client(ssl2Hello()), old])).toMatchObject({ isDone: true, malformedMessages: 0 })
		const draft = server(tlsRecord(22, tlsHello(2, []).with(4, 0x7f).with(5, 19)))
		expect(play([client(tlsRecord(22, HELLO)), draft])).toMatchObject({
			isDone: true,
			facts: { version: 'TLS1.3' },
			malformedMessages: 0,
		})
	})

	it('by the newest version offered, without the reserved ones (RFC 8701 §3)', () => {
		const offers: [number, Uint8Array] = [43, bytes(6, 0x7a, 0x7a, 3, 4, 3, 3)]
		expect(play([client(tlsRecord(22, tlsHello(1, [offers])))]).facts.version).toBe('TLS1.3')
	})

	it('without a host that is no text', () => {
		const hello = tlsHello(1, [serverName('a b'), alpn(['\x00'])])
		expect(play([client(tlsRecord(22, hello))]).facts).toEqual({ version: 'TLS1.2' })
	})

	it('and done when the server refuses', () => {
		const refusal = server(tlsRecord(21, bytes(2, 40)))
		expect(play([client(tlsRecord(22, HELLO)), refusal])).toMatchObject({
			application: 'tls',
			isDone: true,
			malformedMessages: 0,
		})
	})

	it('in the middle of a session by records that fill what is there', () => {
		const data = tlsRecord(23, new Uint8Array(40).fill(0x99))
		const options = { isMidstream: true }
		expect(play([server(text('rest of a record')), server(data)], options).application).toBe('tls')
		expect(play([client(join(data, data.subarray(0, 20)))], options).application).toBe('tls')
	})

	it('in the middle of a session by two long records only when both sides show one', () => {
		const start = tlsRecord(23, new Uint8Array(9000)).subarray(0, 1400)
		const options = { isMidstream: true }
		expect(play([server(start)], options).application).toBeUndefined()
		expect(play([server(start), client(start)], options).application).toBe('tls')
	})
})

describe('tls is not', () => {
	it.each([
		['another record', tlsRecord(23, HELLO)],
		['another handshake message', tlsRecord(22, join(bytes(11), HELLO.subarray(1)))],
		['another major version', tlsRecord(22, HELLO).with(1, 4)],
		['another minor version', tlsRecord(22, HELLO).with(2, 9)],
		['an empty record', tlsRecord(22, HELLO).with(3, 0).with(4, 0)],
		['a record beyond any limit', tlsRecord(22, HELLO).with(3, 0xff)],
		['a hello beyond any limit', tlsRecord(22, HELLO).with(6, 9)],
		['a hello of another version', tlsRecord(22, HELLO).with(9, 9)],
		['a session id that is too long', tlsRecord(22, HELLO).with(43, 33)],
		[
			'a small record with no other behind it',
			join(tlsRecord(22, HELLO.subarray(0, 9)), text('GET /')),
		],
		['an SSL 2.0 hello whose lengths disagree', ssl2Hello().with(1, 99)],
		[
			'RDP (MS-RDPBCGR §2.2.1.1)',
			bytes(3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0),
		],
	])('%s', (_, said) => {
		expect(play([client(said)])).toMatchObject({ application: undefined, isFinal: true })
	})

	it('what a mail server turns to after STARTTLS', () => {
		const turns = [
			server(text('220 mail\r\n')),
			client(text('STARTTLS\r\n')),
			client(tlsRecord(22, HELLO)),
		]
		expect(play(turns)).toMatchObject({ application: undefined, isFinal: true })
	})

	it('DTLS, which comes in datagrams', () => {
		expect(play([client(tlsRecord(22, HELLO))], { transport: 'udp' }).application).toBeUndefined()
	})
})

describe('a record is malformed', () => {
	it.each([
		['record header', bytes(99, 3, 3, 0, 1, 0)],
		['record header', bytes(20, 3, 3, 0, 2, 1, 1)],
		['record header', ssl2Hello().with(2, 9)],
		['hello too short', tlsRecord(22, bytes(1, 0, 0, 4, 3, 3, 0, 0))],
		['hello fields beyond its end', tlsRecord(22, HELLO.with(72, 0xff))],
		['extensions beyond the hello', tlsRecord(22, HELLO.with(79, 0xff))],
		['extension header', tlsRecord(22, withExtensions(bytes(0, 0, 0)))],
		['extension beyond the hello', tlsRecord(22, withExtensions(bytes(0, 0, 0, 9)))],
	])('by %s', (why, said) => {
		expect(parse(said)).toEqual({ kind: 'malformed', why })
	})

	it('by a hello of more records than are joined', () => {
		const part = tlsRecord(22, new Uint8Array(16_000).fill(1))
		const turns = [
			client(tlsRecord(22, HELLO.with(2, 0xf0))),
			client(part),
			client(part),
			client(part),
		]
		expect(outcomeOf(turns)).toMatchObject({ application: 'tls', malformedWhy: 'hello too long' })
	})
})

function parse(said: Uint8Array, facts: Facts = {}): unknown {
	const view = new DataView(said.buffer, said.byteOffset, said.length)
	const segment = { view, at: 0, end: said.length, fromClient: true }
	return TLS.parse(segment, TLS.open(facts, 'tcp'))
}

/** A hello whose extensions are these bytes. */
function withExtensions(list: Uint8Array): Uint8Array {
	const head = tlsHello(1, []).subarray(4, -2)
	const body = join(head, uint16(list.length), list)
	return join(bytes(1, 0), uint16(body.length), body)
}

function ssl2Hello(): Uint8Array {
	const ciphers = bytes(0, 0, 0x2f, 1, 0, 0x80)
	const challenge = new Uint8Array(16).fill(0x55)
	const head = bytes(1, 3, 1, 0, ciphers.length, 0, 0, 0, challenge.length)
	return join(
		uint16(0x8000 + head.length + ciphers.length + challenge.length),
		head,
		ciphers,
		challenge,
	)
}

function partsOf(whole: Uint8Array, sizeBytes: number): Uint8Array[] {
	const count = Math.ceil(whole.length / sizeBytes)
	return Array.from({ length: count }, (_, index) =>
		whole.slice(index * sizeBytes, (index + 1) * sizeBytes),
	)
}
