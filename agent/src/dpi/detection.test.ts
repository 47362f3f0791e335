import { afterEach, describe, expect, it } from 'vitest'
import { lendBuffer, lentBufferBytes, type PooledBuffer, returnBuffer } from './byte-pool.ts'
import {
	closeDetection,
	feed,
	feedGap,
	MESSAGE_BYTES_MAX,
	OPENING_BYTES_MAX,
	OPENING_DATAGRAMS_MAX,
	OPENING_SEEN_BYTES_MAX,
	OPENING_SEGMENTS_MAX,
	openDetection,
	READ_SEGMENTS_MAX,
	returnDetection,
} from './detection.ts'
import {
	bytes,
	client,
	dnsMessage,
	dnsQuestion,
	join,
	play,
	say,
	server,
	text,
	tlsHello,
	tlsRecord,
} from './sample-sessions.ts'

const HELLO = tlsRecord(22, tlsHello(1, []))
/** An inline Redis command: undecided until the server answers. */
const UNDECIDED = text('PING\r\n')

it('a record that was given back serves another session as a new one does', () => {
	const opening = { transport: 'tcp', serverPort: 1, isMidstream: false } as const
	const fresh = structuredClone(plain(openDetection(opening)))
	for (const first of [
		[client(text('GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n'))],
		[client(text('GET /a HT'))],
		[client(tlsRecord(22, HELLO)), server(text('no TLS'))],
		[client(bytes(0, 1, 2)), server(bytes(3, 4))],
	]) {
		const used = play(first)
		returnDetection(used)
		expect(lentBufferBytes()).toBe(0)
		const again = openDetection(opening)
		expect(again).toBe(used)
		expect(plain(again)).toEqual(fresh)
	}
})

describe('recognition', () => {
	afterEach(() => expect(lentBufferBytes()).toBe(0))

	it('copies nothing of a session that its first segment decides', () => {
		const detection = play([client(text('GET / HTTP/1.1\r\nHost: a\r\n\r\n'))])
		expect(lentBufferBytes()).toBe(0)
		expect(detection).toMatchObject({ application: 'http', isFinal: true, isDone: true })
	})

	it('keeps its own copy of what is borrowed', () => {
		const borrowed = Uint8Array.from(UNDECIDED)
		const detection = play([client(borrowed)])
		borrowed.fill(0)
		say(detection, server(text('+PONG\r\n')))
		expect(detection).toMatchObject({ application: 'redis', facts: { detail: 'PING' } })
	})

	it('gives up when everybody said no, and releases what it kept', () => {
		const detection = play([client(UNDECIDED)])
		expect(lentBufferBytes()).toBeGreaterThan(0)
		say(detection, server(bytes(0, 0, 0, 0)))
		expect(detection).toMatchObject({ application: undefined, isFinal: true, isDone: true })
	})

	it('gives up after so many segments of one direction', () => {
		const detection = play([])
		for (let segments = 1; segments < OPENING_SEGMENTS_MAX; segments++)
			say(detection, client(text('A')))
		expect(detection.isFinal).toBe(true)
		const slow = play([client(text('GET /'))])
		for (let segments = 2; segments < OPENING_SEGMENTS_MAX; segments++) say(slow, client(text('a')))
		expect(slow.isFinal).toBe(false)
		say(slow, client(text('a')))
		expect(slow).toMatchObject({ application: undefined, isFinal: true, isDone: true })
	})

	it('gives up after so many bytes of one direction, of which it keeps a part', () => {
		const detection = play([client(text('GET /'))])
		const long = client(new Uint8Array(OPENING_BYTES_MAX).fill(0x61))
		for (
			let sent = 5;
			sent + OPENING_BYTES_MAX < OPENING_SEEN_BYTES_MAX;
			sent += OPENING_BYTES_MAX
		) {
			expect(detection.isFinal).toBe(false)
			expect(lentBufferBytes()).toBeLessThanOrEqual(OPENING_BYTES_MAX)
			say(detection, long)
		}
		say(detection, long)
		expect(detection).toMatchObject({ application: undefined, isFinal: true })
	})

	it('gives up after so many datagrams', () => {
		const detection = play([], { transport: 'udp' })
		const noise = client(text('noise'))
		for (let datagrams = 1; datagrams < OPENING_DATAGRAMS_MAX; datagrams++) say(detection, noise)
		expect(detection.isFinal).toBe(false)
		say(detection, noise)
		expect(detection.isFinal).toBe(true)
	})

	it('ends when it is closed, named or not', () => {
		const unnamed = play([client(UNDECIDED)])
		closeDetection(unnamed)
		expect(unnamed).toMatchObject({ application: undefined, isFinal: true, isDone: true })
		const named = play([client(HELLO.subarray(0, 60))])
		expect(lentBufferBytes()).toBeGreaterThan(0)
		closeDetection(named)
		expect(named).toMatchObject({ application: 'tls', isDone: true })
	})

	it('hears nothing after its end', () => {
		const detection = play([client(bytes(0))])
		say(detection, client(HELLO))
		feedGap(detection, true)
		expect(detection).toMatchObject({ application: undefined, isDone: true })
	})

	it('takes an empty segment for nothing', () => {
		expect(play([client(bytes())]).isFinal).toBe(false)
	})

	it('gives up when the pool is empty', () => {
		const taken = drainPool()
		expect(play([client(UNDECIDED)])).toMatchObject({ application: undefined, isFinal: true })
		expect(play([client(HELLO.subarray(0, 60))])).toMatchObject({
			application: 'tls',
			isDone: true,
		})
		expect(play([client(HELLO)])).toMatchObject({ application: 'tls', isDone: false })
		for (const buffer of taken) returnBuffer(buffer)
	})
})

describe('a hole in the stream', () => {
	it('before any byte lets the direction start anywhere', () => {
		const detection = play([])
		feedGap(detection, false)
		say(detection, server(text('rest of a body')))
		expect(detection.isFinal).toBe(false)
		say(detection, client(HELLO))
		expect(detection.application).toBe('tls')
	})

	it('behind an opening leaves what is there, and nothing is added', () => {
		const detection = play([client(text('GET /a'))])
		feedGap(detection, true)
		say(detection, client(text(' HTTP/1.1\r\nHost: a\r\n\r\n')))
		expect(detection.isFinal).toBe(false)
		say(detection, server(text('HTTP/1.1 200 OK\r\n')))
		expect(detection).toMatchObject({ application: 'http', facts: { version: '1.1' } })
		expect(detection.facts.host).toBeUndefined()
	})

	it('ends the reading of a named session', () => {
		const detection = play([client(HELLO.subarray(0, 60))])
		feedGap(detection, true)
		expect(detection).toMatchObject({ application: 'tls', isDone: true })
		expect(lentBufferBytes()).toBe(0)
	})

	it('in the middle of a session drops the start that it cut', () => {
		const detection = play([client(text('GET /a'))], { isMidstream: true })
		feedGap(detection, true)
		say(detection, client(text('GET /b HTTP/1.1\r\n\r\n')))
		expect(detection.facts.detail).toBe('GET /b')
	})
})

describe('reading a named session', () => {
	afterEach(() => expect(lentBufferBytes()).toBe(0))

	it('passes over bytes that the parser need not see', () => {
		const certificate = tlsRecord(22, join(bytes(11), new Uint8Array(5000)))
		const detection = play([client(HELLO), client(certificate.subarray(0, 100))])
		expect(lentBufferBytes()).toBe(0)
		for (let at = 100; at < certificate.length; at += 1000) {
			say(detection, client(certificate.subarray(at, at + 1000)))
		}
		expect(detection.malformedMessages).toBe(0)
		say(detection, client(bytes(99, 3, 3, 0, 1, 0)))
		expect(detection).toMatchObject({ malformedMessages: 1, malformedWhy: 'record header' })
		closeDetection(detection)
	})

	it('ends with a message that is longer than the limit', () => {
		const head = client(text('GET / HTTP/1.1\r\nCookie: '))
		const part = client(new Uint8Array(2000).fill(0x61))
		const detection = play([head])
		for (let sent = 0; sent <= MESSAGE_BYTES_MAX; sent += 2000) say(detection, part)
		expect(detection).toMatchObject({
			application: 'http',
			malformedWhy: 'message longer than the limit',
		})
		closeDetection(detection)
		const once = play([head, client(new Uint8Array(MESSAGE_BYTES_MAX + 1).fill(0x61))])
		expect(once).toMatchObject({ malformedWhy: 'message longer than the limit' })
		closeDetection(once)
	})

	it('ends after so many segments, so that a long session costs nothing', () => {
		const detection = play([client(HELLO)])
		const data = client(tlsRecord(23, bytes(1)))
		for (let segments = 2; segments < READ_SEGMENTS_MAX; segments++) say(detection, data)
		expect(detection.isDone).toBe(false)
		say(detection, data)
		expect(detection.isDone).toBe(true)
	})

	it('does not join what follows to an opening that was cut', () => {
		const detection = play([
			client(text(`GET /${'a'.repeat(OPENING_BYTES_MAX)}`)),
			server(text('HTTP/1.1 200 OK\r\n')),
			client(text(' HTTP/1.1\r\nHost: other\r\n\r\n')),
		])
		expect(detection).toMatchObject({ application: 'http', isDone: true, malformedMessages: 0 })
		expect(detection.facts).toEqual({ version: '1.1' })
	})

	it('ends when neither direction can be read on', () => {
		const banner = play([server(text('HTTP/1.1 200 OK\r\n')), client(text('nonsense\r\n'))])
		expect(banner).toMatchObject({ malformedMessages: 1, isDone: true })
	})

	it('does not call malformed what starts inside a message', () => {
		const turns = [server(text('HTTP/1.1 200 OK\r\n\r\n')), client(text('end of a body\r\n'))]
		expect(play(turns, { isMidstream: true })).toMatchObject({ malformedMessages: 0, isDone: true })
	})

	it('goes on with the next datagram after one that does not parse', () => {
		const query = dnsMessage(dnsQuestion('a.example', 1))
		const turns = [client(query), client(text('noise')), client(query)]
		expect(play(turns, { transport: 'udp' })).toMatchObject({
			application: 'dns',
			isDone: false,
			malformedMessages: 1,
			malformedWhy: 'message too short',
		})
	})

	it('reads on in a segment that was cut to fit the opening', () => {
		const target = 'a'.repeat(OPENING_BYTES_MAX - 100)
		const head = text(`GET /${target} HTTP/1.1\r\nX: ${'b'.repeat(500)}\r\nHost: a.example\r\n\r\n`)
		const detection = play([client(head.subarray(0, 3)), client(head.subarray(3))])
		expect(detection).toMatchObject({ application: 'http', facts: { host: 'a.example' } })
	})
})

describe('sessions of applications without a parser stay unknown', () => {
	const zeros = new Uint8Array(40)
	it.each([
		[
			'Kafka (ApiVersions)',
			[
				client(join(bytes(0, 0, 0, 20, 0, 18, 0, 3, 0, 0, 0, 1, 0, 4), text('rdka'))),
				server(join(bytes(0, 0, 0, 10, 0, 0, 0, 1), zeros)),
			],
		],
		[
			'PostgreSQL (StartupMessage)',
			[
				client(join(bytes(0, 0, 0, 22, 0, 3, 0, 0), text('user\0postgres\0\0'))),
				server(bytes(82, 0, 0, 0, 8, 0, 0, 0, 0)),
			],
		],
		[
			'PostgreSQL (SSLRequest)',
			[client(bytes(0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f)), server(text('S')), client(HELLO)],
		],
		[
			'MySQL',
			[
				server(join(bytes(0x4a, 0, 0, 0, 10), text('8.0.36\0'), zeros)),
				client(join(bytes(0x20, 0, 0, 1), zeros)),
			],
		],
		[
			'ZooKeeper',
			[client(join(bytes(0, 0, 0, 0x2d), zeros)), server(join(bytes(0, 0, 0, 0x25), zeros))],
		],
		['ZooKeeper (ruok)', [client(text('ruok')), server(text('imok'))]],
		[
			'MQTT (CONNECT)',
			[
				client(join(bytes(16, 14, 0, 4), text('MQTT'), bytes(4, 2, 0, 60, 0, 2, 97, 98))),
				server(bytes(32, 2, 0, 0)),
			],
		],
		['SMTP', [server(text('220 a.example ESMTP\r\n')), client(text('EHLO b\r\n'))]],
		['FTP', [server(text('220 ready\r\n')), client(text('USER a\r\n'))]],
		['IMAP', [server(text('* OK ready\r\n')), client(text('a LOGIN b c\r\n'))]],
		['memcached', [client(text('set k 0 0 1\r\n1\r\n')), server(text('STORED\r\n'))]],
		[
			'AMQP',
			[client(join(text('AMQP'), bytes(0, 0, 9, 1))), server(join(bytes(1, 0, 0, 0, 0), zeros))],
		],
		['SMB', [client(join(bytes(0, 0, 0, 64, 0xfe), text('SMB'), zeros))]],
		['LDAP', [client(bytes(0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0))]],
		['MongoDB', [client(join(bytes(64, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0), zeros))]],
		['Telnet', [server(bytes(255, 253, 24, 255, 253, 32))]],
	])('%s', (_, turns) => {
		for (const isMidstream of [false, true]) {
			const detection = play(isMidstream ? turns.slice(0, 2) : turns, { isMidstream })
			closeDetection(detection)
			expect(detection).toMatchObject({ application: undefined, isFinal: true })
		}
	})

	it.each([
		['QUIC (RFC 9000 §17.2.2)', join(bytes(0xc3, 0, 0, 0, 1, 8), new Uint8Array(1200).fill(0x5a))],
		['SIP', text('OPTIONS sip:a SIP/2.0\r\n\r\n')],
		['SSDP', text('M-SEARCH * HTTP/1.1\r\n\r\n')],
		['DHCP', join(bytes(1, 1, 6, 0), new Uint8Array(240))],
	])('%s in datagrams', (_, datagram) => {
		expect(play([client(datagram)], { transport: 'udp' }).application).toBeUndefined()
	})
})

it('feeds from any place of a view', () => {
	const ring = join(text('xxx'), HELLO, text('yyy'))
	const detection = openDetection({ transport: 'tcp', serverPort: 1, isMidstream: false })
	feed(detection, {
		view: new DataView(ring.buffer),
		at: 3,
		end: 3 + HELLO.length,
		fromClient: true,
	})
	expect(detection.application).toBe('tls')
	closeDetection(detection)
})

function drainPool(): PooledBuffer[] {
	const taken: PooledBuffer[] = []
	for (let buffer = lendBuffer(32_768); buffer !== undefined; buffer = lendBuffer(32_768))
		taken.push(buffer)
	return taken
}

/** What a detection holds, without its parsers. */
function plain(detection: object): object {
	const { candidates, ...rest } = detection as { candidates?: unknown }
	return { ...rest, candidates: Array.isArray(candidates) }
}
