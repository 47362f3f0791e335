import { describe, expect, it } from 'vitest'
import type { Facts } from '../parser.ts'
import { client, outcomeOf, play, server, text } from '../sample-sessions.ts'
import { REDIS } from './redis.ts'

/** Vectors are made here after the Redis serialization protocol specification. */
describe('redis is named', () => {
	it('by a command in an array, at once, and its arguments are not told', () => {
		const detection = play([client(text('*2\r\n$4\r\nauth\r\n$6\r\nsecret\r\n'))])
		expect(detection).toMatchObject({ application: 'redis', isDone: true })
		expect(detection.facts).toEqual({ detail: 'AUTH' })
	})

	it('by a command of a module when the server answers in kind', () => {
		const command = client(text('*2\r\n$8\r\nJSON.GET\r\n$1\r\nk\r\n'))
		expect(play([command]).isFinal).toBe(false)
		expect(play([command, server(text('memcached?\r\n'))]).application).toBeUndefined()
		expect(outcomeOf([command, server(text('$-1\r\n'))])).toMatchObject({
			application: 'redis',
			facts: { detail: 'JSON.GET' },
		})
	})

	it.each([
		'+OK\r\n',
		'-ERR unknown\r\n',
		':1\r\n',
		'$-1\r\n',
		'*0\r\n',
		'_\r\n',
		'#t\r\n',
		',1.5\r\n',
		'%2\r\n',
		'(123\r\n',
		'~1\r\n',
		'>3\r\n',
		'=15\r\n',
		'!5\r\n',
		'|1\r\n',
	])('by an inline command and the reply %j', (reply) => {
		expect(play([client(text('get k\r\n')), server(text(reply))]).application).toBe('redis')
	})

	it('in the middle of a session by arrays, from either side', () => {
		const options = { isMidstream: true }
		const push = server(text('*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n'))
		expect(play([push], options).application).toBe('redis')
		const command = client(text('*1\r\n$4\r\nPING\r\n'))
		expect(play([server(text('tail of a value\r\n')), command], options).application).toBe('redis')
		const unknown = client(text('*1\r\n$5\r\nX.ADD\r\n'))
		expect(play([unknown], options).application).toBeUndefined()
		expect(play([unknown, server(text(':1\r\n'))], options).application).toBe('redis')
	})
})

describe('redis is not', () => {
	it.each([
		['POP3 (RFC 1939 §4)', ['S+OK ready\r\n', 'CQUIT\r\n', 'S+OK\r\n']],
		['IMAP (RFC 9051 §7.1.1)', ['S* OK ready\r\n', 'C1 NOOP\r\n']],
		['memcached (protocol.txt)', ['Cget k\r\n', 'SEND\r\n']],
		['memcached with a value', ['Cget k\r\n', 'SVALUE k 0 1\r\n1\r\nEND\r\n']],
		['memcached with a bare number', ['Cincr k 1\r\n', 'S6\r\n']],
		['NATS (docs.nats.io protocol)', ['SINFO {"port":4222}\r\n', 'CPING\r\n', 'SPONG\r\n']],
		['HTTP/0.9 (RFC 1945 §5)', ['CGET /\r\n', 'S<p>\r\n']],
		['a reply with bare LF', ['CPING\r\n', 'S+PONG\n']],
		['a reply with an error in lower case', ['CPING\r\n', 'S-err\r\n']],
		['a reply whose length is no number', ['CPING\r\n', 'S$x\r\n']],
		['a reply without a length', ['CPING\r\n', 'S$\r\n']],
		['an array of no elements', ['C*0\r\n*0\r\n', 'S+OK\r\n']],
		['an array without a count', ['C*\r\n*\r\n', 'S+OK\r\n']],
		['an array of numbers', ['C*1\r\n:1\r\n', 'S+OK\r\n']],
		['a string that is no word', ['C*1\r\n$3\r\na b\r\n', 'S+OK\r\n']],
		['a string longer than its length', ['C*1\r\n$3\r\nGETX\r\n', 'S+OK\r\n']],
		['an empty string', ['C*1\r\n$0\r\n\r\n', 'S+OK\r\n']],
		['a length beyond any command', ['C*1\r\n$999\r\n', 'S+OK\r\n']],
		['a number without end', ['C*1234567890123\r\n', 'S+OK\r\n']],
		['an inline word that is no command', ['CHELO a\r\n', 'S+OK\r\n']],
		['an inline command with control bytes', ['CGET \x01\r\n', 'S$-1\r\n']],
	])('%s', (_, script) => {
		const turns = script.map((line) =>
			(line.startsWith('C') ? client : server)(text(line.slice(1))),
		)
		expect(play(turns)).toMatchObject({ application: undefined, isFinal: true })
	})

	it('a line in the middle of a session, where POP3 talks alike', () => {
		const turns = [client(text('QUIT\r\n')), server(text('+OK\r\n'))]
		expect(play(turns, { isMidstream: true }).application).toBeUndefined()
	})
})

describe('a command is malformed', () => {
	it.each([
		['array count', '*x\r\n'],
		['element is no string', '*1\r\n:1\r\n'],
		['string length', '*1\r\n$x\r\n'],
		['command too long', '*1\r\n$41\r\n'],
		['command is no word', '*1\r\n$3\r\na b\r\n'],
		['inline command is no word', '\x01\x02\r\n'],
	])('by its %s', (why, said) => {
		expect(parse(said)).toEqual({ kind: 'malformed', why })
	})

	it('never before it is whole', () => {
		for (const said of ['*', '*1\r', '*1\r\n', '*1\r\n$', '*1\r\n$4\r\nPI', 'PING']) {
			expect(parse(said)).toEqual({ kind: 'more' })
		}
	})

	it('never when it is empty: such are passed over', () => {
		expect(parse('*0\r\n')).toEqual({ kind: 'message', consumedBytes: 4 })
		expect(parse('\r\n')).toEqual({ kind: 'message', consumedBytes: 2 })
	})
})

function parse(said: string, facts: Facts = {}): unknown {
	const view = new DataView(text(said).buffer)
	const segment = { view, at: 0, end: said.length, fromClient: true }
	return REDIS.parse(segment, REDIS.open(facts, 'tcp'))
}
