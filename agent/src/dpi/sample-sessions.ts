import type { ApplicationName } from '@ringfence/shared/contract/application'
import { closeDetection, type Detection, feed, openDetection } from './detection.ts'
import type { Facts, Transport } from './parser.ts'

/*
 * Sessions for tests: bytes made here, field by field, from the specifications that the parsers cite.
 */

/** What one side says before the other speaks. */
export interface Turn {
	readonly fromClient: boolean
	readonly bytes: Uint8Array
}

export interface SampleSession {
	readonly application: ApplicationName
	readonly transport: Transport
	readonly turns: readonly Turn[]
	readonly facts: Facts
}

/** A whole session of each application, as it usually goes. */
export const SAMPLE_SESSIONS: readonly SampleSession[] = [
	{
		application: 'http',
		transport: 'tcp',
		turns: [
			client(text('GET /cart?user=7 HTTP/1.1\r\nHost: Shop.Example:8080\r\nAccept: */*\r\n\r\n')),
			server(text('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')),
		],
		facts: { host: 'shop.example', version: '1.1', detail: 'GET /cart' },
	},
	{
		application: 'tls',
		transport: 'tcp',
		turns: [
			client(
				tlsRecord(
					22,
					tlsHello(1, [
						serverName('Api.Example'),
						alpn(['h2', 'http/1.1']),
						[43, bytes(4, 3, 4, 3, 3)],
					]),
				),
			),
			server(tlsRecord(22, tlsHello(2, [[43, bytes(3, 4)]]))),
		],
		facts: { host: 'api.example', version: 'TLS1.3', detail: 'h2,http/1.1' },
	},
	{
		application: 'dns',
		transport: 'udp',
		turns: [
			client(dnsMessage(dnsQuestion('www.Example.org', 1))),
			server(
				dnsMessage({
					...dnsQuestion('www.Example.org', 1),
					flags: 0x8180,
					answers: [dnsAddress()],
				}),
			),
		],
		facts: { detail: 'www.example.org' },
	},
	{
		application: 'dns',
		transport: 'tcp',
		turns: [
			client(framed(dnsMessage(dnsQuestion('example.org', 16)))),
			server(
				framed(
					dnsMessage({ ...dnsQuestion('example.org', 16), flags: 0x8180, answers: [dnsAddress()] }),
				),
			),
		],
		facts: { detail: 'example.org' },
	},
	{
		application: 'ssh',
		transport: 'tcp',
		turns: [server(text('SSH-2.0-OpenSSH_9.6 Debian-3\r\n')), client(text('SSH-2.0-client_1\r\n'))],
		facts: { version: 'SSH-2.0', detail: 'OpenSSH_9.6' },
	},
	{
		application: 'redis',
		transport: 'tcp',
		turns: [client(text('*2\r\n$3\r\nget\r\n$4\r\ncart\r\n')), server(text('$5\r\nhello\r\n'))],
		facts: { detail: 'GET' },
	},
	{
		application: 'redis',
		transport: 'tcp',
		turns: [client(text('PING\r\n')), server(text('+PONG\r\n'))],
		facts: { detail: 'PING' },
	},
]

export function client(said: Uint8Array): Turn {
	return { fromClient: true, bytes: said }
}

export function server(said: Uint8Array): Turn {
	return { fromClient: false, bytes: said }
}

export interface PlayOptions {
	readonly transport?: Transport
	readonly serverPort?: number
	readonly isMidstream?: boolean
}

/** Feeds the turns to a new detection, which is left open. */
export function play(turns: readonly Turn[], options: PlayOptions = {}): Detection {
	const { transport = 'tcp', serverPort = 9999, isMidstream = false } = options
	const detection = openDetection({ transport, serverPort, isMidstream })
	for (const turn of turns) say(detection, turn)
	return detection
}

export function say(detection: Detection, { bytes: said, fromClient }: Turn): void {
	const view = new DataView(said.buffer, said.byteOffset, said.byteLength)
	feed(detection, { view, at: 0, end: said.length, fromClient })
}

/** Plays to the end and tells what was learned. */
export function outcomeOf(turns: readonly Turn[], options: PlayOptions = {}): object {
	const detection = play(turns, options)
	closeDetection(detection)
	const { application, facts, malformedMessages, malformedWhy } = detection
	return { application, facts: { ...facts }, malformedMessages, malformedWhy }
}

/** One byte for each character. */
export function text(said: string): Uint8Array {
	return Uint8Array.from(said, (character) => character.charCodeAt(0))
}

export function bytes(...values: readonly number[]): Uint8Array {
	return Uint8Array.from(values)
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
	return Uint8Array.from(parts.flatMap((part) => [...part]))
}

export function uint16(value: number): Uint8Array {
	return bytes((value >> 8) & 0xff, value & 0xff)
}

/** Behind its length in two bytes: DNS over TCP, and most lists of TLS. */
export function framed(body: Uint8Array): Uint8Array {
	return join(uint16(body.length), body)
}

/** `type | 3.3 | length | fragment` (RFC 8446 §5.1). */
export function tlsRecord(type: number, fragment: Uint8Array): Uint8Array {
	return join(bytes(type, 3, 3), framed(fragment))
}

/** A ClientHello (1) or a ServerHello (2) with its handshake header (RFC 8446 §4.1.2, §4.1.3). */
export function tlsHello(
	type: 1 | 2,
	extensions: readonly (readonly [number, Uint8Array])[],
): Uint8Array {
	const random = new Uint8Array(32).fill(0xab)
	const sessionId = join(bytes(32), new Uint8Array(32).fill(0xcd))
	const ciphers =
		type === 1 ? join(framed(bytes(0x13, 1, 0x13, 2)), bytes(1, 0)) : bytes(0x13, 1, 0)
	const list = extensions.map(([kind, body]) => join(uint16(kind), framed(body)))
	const body = join(bytes(3, 3), random, sessionId, ciphers, framed(join(...list)))
	return join(bytes(type, 0), framed(body))
}

/** RFC 6066 §3. */
export function serverName(host: string): readonly [number, Uint8Array] {
	return [0, framed(join(bytes(0), framed(text(host))))]
}

/** RFC 7301 §3.1. */
export function alpn(names: readonly string[]): readonly [number, Uint8Array] {
	return [16, framed(join(...names.map((name) => join(bytes(name.length), text(name)))))]
}

export interface DnsFields {
	readonly flags: number
	readonly questions: readonly Uint8Array[]
	readonly answers?: readonly Uint8Array[]
	readonly additionals?: readonly Uint8Array[]
}

/** RFC 1035 §4.1. */
export function dnsMessage({
	flags,
	questions,
	answers = [],
	additionals = [],
}: DnsFields): Uint8Array {
	const counts = [questions.length, answers.length, 0, additionals.length].map(uint16)
	return join(uint16(0x1234), uint16(flags), ...counts, ...questions, ...answers, ...additionals)
}

/** A recursive query for a name and a type, class IN. */
export function dnsQuestion(name: string, type: number): DnsFields {
	return { flags: 0x0100, questions: [join(dnsName(name), uint16(type), uint16(1))] }
}

export function dnsName(name: string): Uint8Array {
	const labels = name.split('.').map((label) => join(bytes(label.length), text(label)))
	return join(...labels, bytes(0))
}

/** An A record of 192.0.2.1 (RFC 5737) for the first question. */
export function dnsAddress(): Uint8Array {
	return bytes(0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
}
