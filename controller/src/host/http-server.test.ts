import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTestApp, type TestApp } from '../http/test-app.ts'
import { type HttpServer, startHttpServer } from './http-server.ts'

let app: TestApp
let server: HttpServer

beforeEach(async () => {
	app = await openTestApp()
	server = await startHttpServer(app.app, { host: '127.0.0.1', port: 0 })
})
afterEach(() => server.close())

describe('HTTP server', () => {
	it.each([
		['what is not HTTP', 'nonsense\r\n\r\n', 400],
		['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
		['a host that makes no URL', 'GET / HTTP/1.1\r\nhost: _127.0.0.1\r\n\r\n', 400],
		['a target that makes no URL', 'GET v1 HTTP/1.1\r\nhost: x\r\n\r\n', 400],
		['a tunnel', 'CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n', 405],
		['large headers', `GET / HTTP/1.1\r\nhost: x\r\na: ${'b'.repeat(20_000)}\r\n\r\n`, 431],
	])('refuses %s with a problem', async (_name, request, status) => {
		const { head, body } = await send(request)
		expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
		expect(head).toMatch(/content-type: application\/problem\+json/i)
		expect(JSON.parse(body)).toMatchObject({ status, title: expect.any(String) })
	})

	it('takes an expectation that it does not know for none', async () => {
		const { head } = await send('GET /healthz HTTP/1.1\r\nhost: x\r\nexpect: wonders\r\n\r\n')
		expect(head).toMatch(/^HTTP\/1.1 200 /)
	})

	it('says that the connection ends with a body that is too large', async () => {
		const { head } = await send(
			'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n{',
		)
		expect(head).toMatch(/^HTTP\/1.1 413 /)
		expect(head).toMatch(/connection: close/i)
	})

	it('logs no error when a client hangs up in the middle of its body', async () => {
		const begun =
			'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\ncontent-type: application/json\r\n\r\n{'
		const socket = connect(server.port, '127.0.0.1')
		await new Promise((resolve) => socket.write(begun, resolve))
		socket.destroy()
		await send('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')
		expect(app.fleet.logged.filter(({ level }) => level === 'error')).toEqual([])
	})
})

/** The first answer to these bytes. */
function send(bytes: string): Promise<{ head: string; body: string }> {
	return new Promise((resolve, reject) => {
		let text = ''
		const socket = connect(server.port, '127.0.0.1')
		socket.on('error', reject)
		socket.on('data', (chunk) => {
			text += chunk
			const [head = '', body = ''] = text.split('\r\n\r\n')
			if (!text.includes('\r\n\r\n') || body.length < lengthIn(head)) return
			socket.destroy()
			resolve({ head, body })
		})
		socket.write(bytes)
	})
}

function lengthIn(head: string): number {
	return Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
}
