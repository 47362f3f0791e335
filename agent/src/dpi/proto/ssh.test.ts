import { describe, expect, it } from 'vitest'
import { bytes, client, join, outcomeOf, play, server, text } from '../sample-sessions.ts'
import { SSH } from './ssh.ts'

/** Vectors are made here after RFC 4253 §4.2 and §7.1. */
describe('ssh is named', () => {
	it('by either identification alone', () => {
		expect(play([server(text('SSH-1.99-Cisco-1.25\n'))]).application).toBe('ssh')
		expect(play([client(text('SSH-2.0-x'))]).application).toBe('ssh')
	})

	it('behind lines that the server sends before', () => {
		const turns = [
			server(text('Welcome.\r\nMind the gap.\r\n')),
			server(text('SSH-2.0-dropbear comment\r\n')),
			client(text('SSH-2.0-c\r\n')),
		]
		expect(outcomeOf(turns)).toEqual({
			application: 'ssh',
			facts: { version: 'SSH-2.0', detail: 'dropbear' },
			malformedMessages: 0,
			malformedWhy: undefined,
		})
	})

	it('and read no further once both sides told theirs', () => {
		const detection = play([server(text('SSH-2.0-a\r\n'))])
		expect(detection.isDone).toBe(false)
		expect(play([server(text('SSH-2.0-a\r\n')), client(text('SSH-2.0-b\r\n'))]).isDone).toBe(true)
	})

	it('in the middle of a session by the key exchange, from either side', () => {
		expect(play([client(keyExchange())], { isMidstream: true }).application).toBe('ssh')
		expect(play([server(keyExchange())], { isMidstream: true }).application).toBe('ssh')
	})
})

describe('ssh is not', () => {
	it.each([
		['FTP (RFC 959 §4.2)', '220 ready\r\n', 'USER a\r\n'],
		['POP3 (RFC 1939 §4)', '+OK ready\r\n', 'USER a\r\n'],
		['a version that is none', 'SSH-two-x\r\n', ''],
		['a version without software', 'SSH-2.0\r\n', ''],
		['a version that is too long', 'SSH-123456-x\r\n', ''],
		['binary before the identification', '\x01\x02\nSSH-2.0-x\r\n', ''],
		['identification after too many lines', `${'a\n'.repeat(30)}SSH-2.0-x\r\n`, ''],
	])('%s', (_, greeting, answer) => {
		const detection = play([server(text(greeting)), client(text(answer))])
		expect(detection).toMatchObject({ application: undefined, isFinal: true })
	})

	it.each([
		['whose list is longer than its packet', 22, 0xff],
		['whose list is empty', 25, 0],
		['whose list is no text', 30, 0x07],
		['that is too long', 1, 0xff],
		['that is too short', 3, 20],
		['without padding', 4, 1],
	])('a key exchange %s', (_, at, value) => {
		const spoiled = keyExchange()
		spoiled[at] = value
		expect(play([client(spoiled)], { isMidstream: true }).application).toBeUndefined()
	})
})

describe('an identification is malformed', () => {
	it.each([
		['identification too long', false, `SSH-2.0-${'a'.repeat(300)}`],
		['no identification', true, 'hello\r\n'],
		['no identification', false, '\x01\r\n'],
	])('%s', (why, fromClient, said) => {
		const view = new DataView(text(said).buffer)
		const segment = { view, at: 0, end: said.length, fromClient }
		expect(SSH.parse(segment, SSH.open({}, 'tcp'))).toEqual({ kind: 'malformed', why })
	})
})

function keyExchange(): Uint8Array {
	const list = text('curve25519-sha256,ecdh-sha2-nistp256')
	const rest = new Uint8Array(60)
	const packetBytes = 1 + 1 + 16 + 4 + list.length + rest.length
	return join(
		bytes(0, 0, 0, packetBytes, 6, 20),
		new Uint8Array(16).fill(0xee),
		bytes(0, 0, 0, list.length),
		list,
		rest,
	)
}
