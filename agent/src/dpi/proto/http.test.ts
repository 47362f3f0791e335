import { describe, expect, it } from 'vitest'
import type { Facts } from '../parser.ts'
import { client, outcomeOf, play, server, text } from '../sample-sessions.ts'
import { HTTP } from './http.ts'

/** Vectors are made here after RFC 9112, the foreign ones after the specification named beside them. */
describe('http is named', () => {
	it.each([
		[
			'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n',
			{ host: 'a.example', version: '1.1', detail: 'GET /' },
		],
		['\r\nGET / HTTP/1.0\n\n', { version: '1.0', detail: 'GET /' }],
		[
			'POST /a?token=x#y HTTP/1.1\r\nhost:B.Example:81\r\n\r\n',
			{ host: 'b.example', version: '1.1', detail: 'POST /a' },
		],
		[
			'GET /a b HTTP/1.1\r\nHost: [::1]:80\r\n\r\n',
			{ host: '::1', version: '1.1', detail: 'GET /a b' },
		],
		[
			'GET http://user:pass@c.example/x?y HTTP/1.1\r\nHost: d\r\n\r\n',
			{ host: 'c.example', version: '1.1', detail: 'GET /x' },
		],
		[
			'GET http://e.example HTTP/1.1\r\n\r\n',
			{ host: 'e.example', version: '1.1', detail: 'GET /' },
		],
		[
			'CONNECT f.example:443 HTTP/1.1\r\n\r\n',
			{ host: 'f.example', version: '1.1', detail: 'CONNECT f.example' },
		],
		[
			`CONNECT user:${'p'.repeat(3000)}@f.example:443 HTTP/1.1\r\n\r\n`,
			{ host: 'f.example', version: '1.1', detail: 'CONNECT f.example' },
		],
		['GET /\x1b[1m HTTP/1.1\r\n\r\n', { version: '1.1', detail: 'GET /%1B[1m' }],
		[
			'GET http://g.example?x=/y HTTP/1.1\r\n\r\n',
			{ host: 'g.example', version: '1.1', detail: 'GET /' },
		],
		['OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n', { version: '1.1', detail: 'OPTIONS *' }],
		['GET / HTTP/1.1\r\nX: y\r\n folded\r\nHost: a b\r\n\r\n', { version: '1.1', detail: 'GET /' }],
		[
			'RPC_IN_DATA /rpc HTTP/1.1\r\nHost: g\r\n\r\n',
			{ host: 'g', version: '1.1', detail: 'RPC_IN_DATA /rpc' },
		],
	])('with its facts from %j', (request, facts) => {
		expect(outcomeOf([client(text(request))])).toMatchObject({ application: 'http', facts })
	})

	it('by a response whose request was not seen', () => {
		const detection = play([server(text('HTTP/1.1 408 Request Timeout\r\n'))])
		expect(detection.application).toBe('http')
		expect(detection.facts).toEqual({ version: '1.1' })
	})

	it('in the middle of a session, at the next line that tells, whoever is the client', () => {
		const body = client(text('rest of a body'))
		const request = server(text('GET /a HTTP/1.1\r\nHost: a\r\n\r\n'))
		expect(play([body], { isMidstream: true }).application).toBeUndefined()
		expect(outcomeOf([body, request], { isMidstream: true })).toMatchObject({
			application: 'http',
			facts: { host: 'a' },
			malformedMessages: 0,
		})
	})

	it('without a version only when the answer is HTML or has a status line', () => {
		const request = client(text('GET /old?x\r\n'))
		expect(play([request]).isFinal).toBe(false)
		const facts = { version: '0.9', detail: 'GET /old' }
		expect(outcomeOf([request, server(text('<html>'))])).toMatchObject({
			application: 'http',
			facts,
		})
		const status = server(text('HTTP/1.0 400 Bad\r\n'))
		expect(outcomeOf([request, status])).toMatchObject({ application: 'http', facts })
		expect(outcomeOf([request, server(text('no such page'))])).toMatchObject({
			application: undefined,
		})
	})

	it('with something wrong before the version only when the server takes it', () => {
		const request = client(text('\x00\x01get / HTTP/1.1\r\nHost: a\r\n\r\n'))
		expect(play([request]).isFinal).toBe(false)
		expect(outcomeOf([request, server(text('HTTP/1.1 200 OK\r\n'))])).toMatchObject({
			application: 'http',
			malformedMessages: 1,
			malformedWhy: 'method',
		})
		expect(play([request, server(text('+OK\r\n'))]).application).toBeUndefined()
	})
})

describe('http is not', () => {
	it.each([
		['SIP (RFC 3261 §7.1)', 'INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\n'],
		['RTSP (RFC 2326 §6.1)', 'OPTIONS rtsp://a.example/m RTSP/1.0\r\nCSeq: 1\r\n\r\n'],
		[
			'SSDP (UPnP Device Architecture §1.3)',
			'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n',
		],
		['SSDP (UPnP Device Architecture §1.2)', 'NOTIFY * HTTP/1.1\r\nNTS: ssdp:alive\r\n\r\n'],
		['HTTP/2 (RFC 9113 §3.4)', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
		['ICAP (RFC 3507 §4.3)', 'REQMOD icap://a.example/s ICAP/1.0\r\nHost: a\r\n\r\n'],
		['SMTP (RFC 5321 §4.1)', 'EHLO a.example\r\n'],
		['STOMP (STOMP 1.2)', 'CONNECT\naccept-version:1.2\n\n\0'],
		['a method without a target', 'GET HTTP/1.1\r\n'],
		['a longer word than any method', `${'A'.repeat(30)} / HTTP/1.1\r\n`],
	])('%s', (_, said) => {
		expect(play([client(text(said))]).application).toBeUndefined()
	})

	it('what a server greets first, whatever the client then says', () => {
		const turns = [server(text('220 mail\r\n')), client(text('GET / HTTP/1.1\r\n\r\n'))]
		expect(play(turns)).toMatchObject({ application: undefined, isFinal: true })
	})
})

describe('a request is malformed', () => {
	it.each([
		['request line', 'nonsense\r\n'],
		['method', '/ x HTTP/1.1\r\n'],
		['header line without a colon', 'GET / HTTP/1.1\r\nHost a\r\n\r\n'],
	])('by its %s', (why, said) => {
		expect(parse(said)).toEqual({ kind: 'malformed', why })
	})

	it('never before its lines are whole', () => {
		expect(parse('GET / HT')).toEqual({ kind: 'more' })
		expect(parse('GET / HTTP/1.1\r\n')).toEqual({ kind: 'more' })
		expect(parse('GET / HTTP/1.1\r\nHost a')).toEqual({ kind: 'more' })
		expect(parse('HTTP/')).toEqual({ kind: 'more' })
	})
})

it('holds a fact to 255 characters', () => {
	const facts: Facts = {}
	parse(`GET /${'a'.repeat(4000)} HTTP/1.1\r\nHost: ${'b'.repeat(300)}\r\n\r\n`, facts)
	expect(facts.detail).toHaveLength(255)
	expect(facts.host).toBeUndefined()
})

function parse(said: string, facts: Facts = {}): unknown {
	const view = new DataView(text(said).buffer)
	const segment = { view, at: 0, end: said.length, fromClient: true }
	return HTTP.parse(segment, HTTP.open(facts, 'tcp'))
}
