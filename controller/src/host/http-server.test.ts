import { connect, type Socket } from 'node:net'
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

	it.each(['told', 'untold'])(
		'goes on with a connection after a body of %s length that is too large',
		async (kind) => {
			const large = 'a'.repeat(2_000_000)
			const head = 'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'
			const request =
				kind === 'told'
					? `${head}content-length: ${large.length}\r\n\r\n${large}`
					: `${head}transfer-encoding: chunked\r\n\r\n${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`
			const socket = connect(server.port, '127.0.0.1')
			expect((await send(request, socket)).head).toMatch(/^HTTP\/1.1 413 /)
			const next = await send('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n', socket)
			expect(next.head).toMatch(/^HTTP\/1.1 200 /)
			socket.destroy()
		},
	)

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

/** The first answer to these bytes, on a connection of their own unless there is one. */
async function send(bytes: string, given?: Socket): Promise<{ head: string; body: string }> {
	const socket = given ?? connect(server.port, '127.0.0.1')
	try {
		return await new Promise((resolve, reject) => {
			let text = ''
			socket.on('error', reject)
			socket.removeAllListeners('data')
			socket.on('data', (chunk) => {
				text += chunk
				const [head = '', body = ''] = text.split('\r\n\r\n')
				if (text.includes('\r\n\r\n') && body.length >= lengthIn(head)) resolve({ head, body })
			})
			socket.write(bytes)
		})
	} finally {
		if (!given) socket.destroy()
	}
}

function lengthIn(head: string): number {
	return Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
}
