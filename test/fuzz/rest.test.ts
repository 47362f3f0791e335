import { connect, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Controller, startController } from '../harness/controller.ts'
import { openSandbox } from '../harness/sandbox.ts'
import { pause, waitFor } from '../harness/wait.ts'
import { peakRssMib } from './memory.ts'
import { createRandom, flipBytes, SEED } from './random.ts'
import { exchange, parseAnswer, type RawAnswer } from './raw-http.ts'

const PEAK_MIB_MAX = 500
/** Of an honest request at any time during the rest. The machine may be busy with other things. */
const LATENCY_MS_MAX = 2000
const BODY_BYTES_MAX = 1024 * 1024
const SLOW_CONNECTIONS = 200
/** Requests for each operation of the description. */
const RUNS_A_ROUTE = 15

describe(`the REST interface under bad requests [seed ${SEED}]`, () => {
	const sandbox = openSandbox()
	const slow: SlowClient[] = []
	const latencies: number[] = []
	let controller: Controller
	let port: number
	let authorization: string
	let isDone = false
	let polling: Promise<void>

	beforeAll(async () => {
		controller = await startController(sandbox)
		port = Number(new URL(controller.url).port)
		const { key } = await controller.api.post<{ key: string }>('api-keys', {
			name: 'fuzz',
			role: 'admin',
		})
		authorization = `Bearer ${key}`
		for (let i = 0; i < SLOW_CONNECTIONS; i++) slow.push(openSlow(port, i % 2 === 0))
		polling = pollHonestly()
	})
	afterAll(async () => {
		isDone = true
		for (const { socket } of slow) socket.destroy()
		await polling
		await sandbox.close()
	})

	async function pollHonestly(): Promise<void> {
		while (!isDone) {
			const startedAt = performance.now()
			const answer = await fetch(`${controller.url}/v1/nodes`, { headers: { authorization } })
			await answer.text()
			expect(answer.status).toBe(200)
			latencies.push(performance.now() - startedAt)
			await pause(50)
		}
	}

	const send = (path: string, init: RequestInit = {}) =>
		fetch(`${controller.url}${path}`, {
			...init,
			headers: { authorization, 'content-type': 'application/json', ...init.headers },
		})

	test.each(MALFORMED)('%s is refused with a reason', async (_name, bytes) => {
		expectProblem(await exchange(port, bytes))
	})

	test('requests with bytes changed are answered below 500, or refused with a reason', async () => {
		const random = createRandom(20)
		const body = '{"name":"g","criteria":[]}'
		const whole = Buffer.from(
			`POST /v1/groups?x=1 HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: ${authorization}\r\n` +
				`content-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
		)
		const statuses = new Map<number, number>()
		for (let round = 0; round < 10; round++) {
			const requests = Array.from({ length: 40 }, () =>
				flipBytes(random, whole, { count: 1 + random.below(3) }),
			)
			for (const [index, answer] of (
				await Promise.all(requests.map((bytes) => exchange(port, bytes)))
			).entries()) {
				statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
				// A body that is announced longer than it is has no answer yet.
				if (answer.status === 0) continue
				const sent = requests[index]?.toString('latin1')
				expect(answer.status, sent).toBeLessThan(500)
				if (answer.status >= 400) expectProblem(answer, sent)
			}
		}
		expect(statuses.get(400) ?? 0).toBeGreaterThan(20)
	})

	test('bytes that are no request at all are refused with a reason', async () => {
		const random = createRandom(21)
		const answers = await Promise.all(
			Array.from({ length: 100 }, () => exchange(port, random.bytes(1 + random.below(400)))),
		)
		for (const answer of answers.filter(({ status }) => status !== 0)) expectProblem(answer)
		expect(answers.filter(({ status }) => status === 400).length).toBeGreaterThan(60)
	})

	test.each([
		'/v1/../../etc/passwd',
		'/v1/%2e%2e/%2e%2e/etc/passwd',
		'/assets/../../package.json',
		'/assets/..%2f..%2fpackage.json',
		'/assets/%2e%2e%5cnode.js',
		'/assets/main.js%00.png',
		'//etc/passwd',
		'/v1//nodes',
		'/v1/nodes/%',
		'/v1/nodes/%00',
		'/v1/nodes/%ff%fe',
		'/v1/groups/__proto__',
		'/v1/groups/constructor',
		`/v1/groups/${'a'.repeat(4000)}`,
		'/V1/nodes',
		'/v1/nodes/.;/',
	])('path %s finds nothing', async (path) => {
		const request = `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n\r\n`
		const answer = await exchange(port, request)
		expectProblem(answer)
		expect([400, 404, 422], String(answer.status)).toContain(answer.status)
		expect(answer.text).not.toMatch(/root:|"dependencies"/)
	})

	test.each([
		'WzFlOTk5XQ',
		'WyJcdWQ4MDAiXQ',
		'W10',
		'bm90IGpzb24',
		'%00',
		'9'.repeat(8000),
		Buffer.from(JSON.stringify(['a'.repeat(5000), 2 ** 53, null])).toString('base64url'),
		Buffer.from('['.repeat(5000)).toString('base64url'),
		Buffer.from('{"__proto__":1}').toString('base64url'),
	])('cursor %s breaks no list', async (cursor) => {
		for (const list of ['nodes', 'workloads', 'groups', 'rules', 'conversations', 'events']) {
			const answer = await send(`/v1/${list}?limit=5&cursor=${cursor}`)
			if (answer.status >= 400) await expectProblemOf(answer, `${list} ${cursor}`)
			else expect(answer.status).toBe(200)
		}
	})

	test.each(BODIES)(
		'a body that is $name is refused with a reason',
		async ({ name, body, headers }) => {
			const answer = await send('/v1/groups', { method: 'POST', body, headers: headers ?? {} })
			await expectProblemOf(answer, name)
			expect([400, 413, 415, 422]).toContain(answer.status)
		},
	)

	test('a body above the limit is refused whether its length is told or not', async () => {
		const text = JSON.stringify({ name: 'x'.repeat(BODY_BYTES_MAX) })
		const told = await send('/v1/groups', { method: 'POST', body: text })
		expect(told.status).toBe(413)
		await expectProblemOf(told)
		const chunk = `20000\r\n${'a'.repeat(0x20000)}\r\n`
		const head = `POST /v1/groups HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`
		const untold = await exchange(port, `${head}${chunk.repeat(12)}0\r\n\r\n`)
		expect(untold.status).toBe(413)
		expectProblem(untold)
	})

	test('clients that hang up in the middle of a body cause no error', async () => {
		const head = `POST /v1/groups HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-type: application/json\r\n`
		const cuts = [
			`${head}content-length: 5000\r\n\r\n{"name":`,
			`${head}transfer-encoding: chunked\r\n\r\n5\r\n{"nam`,
			`${head}transfer-encoding: chunked\r\n\r\nzz\r\n`,
		]
		await Promise.all(
			Array.from({ length: 60 }, (_, index) =>
				exchange(port, cuts[index % cuts.length] ?? '', { isCut: true }),
			),
		)
		expect(controller.program().output()).not.toContain('request failed')
	})

	test('a pipeline of requests is answered in its order', async () => {
		const request = 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'
		const { text } = await exchange(port, request.repeat(500), { silenceMs: 1000 })
		expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(500)
	})

	test('every operation of the description withstands any body, path and query', async () => {
		const operations = await describedOperations(controller.url)
		expect(operations.length).toBeGreaterThan(40)
		const statuses = new Map<number, number>()
		for (const { method, path } of operations) {
			await fc.assert(
				fc.asyncProperty(REQUEST, async ({ segment, query, body, header }) => {
					const target = `${path.replaceAll(/\{\w+\}/g, segment)}?${query}`
					const hasBody = method !== 'GET' && method !== 'DELETE'
					const answer = await send(target, {
						method,
						headers: header,
						...(hasBody && { body }),
					})
					statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
					expect(answer.status, `${method} ${target} ${body}`).toBeLessThan(500)
					if (answer.status >= 400) await expectProblemOf(answer, `${method} ${target} ${body}`)
					else await answer.text()
				}),
				{ numRuns: RUNS_A_ROUTE, seed: SEED },
			)
		}
		expect(statuses.get(200) ?? 0).toBeGreaterThan(20)
		expect(statuses.get(422) ?? 0).toBeGreaterThan(20)
	})

	test.each(['PUT', 'PROPFIND', 'OPTIONS', 'TRACE', 'SEARCH', 'QUERY', 'M-SEARCH', 'LINK'])(
		'method %s is refused with a reason',
		async (method) => {
			for (const path of ['/', '/v1/nodes', '/v1/rules/1', '/healthz']) {
				const request = `${method} ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\nconnection: close\r\n\r\n`
				expectProblem(await exchange(port, request), `${method} ${path}`)
			}
		},
	)

	test('slow clients are cut off with a reason, headers first', { timeout: 30_000 }, async () => {
		const slowHeaders = slow.filter(({ isInHeaders }) => isInHeaders)
		await waitFor(
			'the slow ones to be refused',
			() => slowHeaders.every(({ answer }) => answer().status === 408),
			20_000,
		)
		for (const { answer } of slowHeaders) expectProblem(answer())
	})

	test('all that time honest requests were answered soon, and the process is sound', async () => {
		expect(latencies.length).toBeGreaterThan(20)
		expect(Math.max(...latencies)).toBeLessThan(LATENCY_MS_MAX)
		expect(controller.program().isRunning()).toBe(true)
		const output = controller.program().output()
		expect(output).not.toMatch(/request failed|a bug|^\s+at /m)
		expect(output).not.toMatch(/[^\P{Cc}\n]/u)
		const peak = peakRssMib(controller.program().child.pid)
		expect(peak).toBeGreaterThan(0)
		expect(peak).toBeLessThan(PEAK_MIB_MAX)
	})
})

const LINE = 'GET /healthz HTTP/1.1\r\n'

/** Each is refused before any resource is asked. */
const MALFORMED: readonly (readonly [string, string | Uint8Array])[] = [
	['a line of nonsense', 'nonsense\r\n\r\n'],
	['an unknown version', 'GET / HTTP/9.9\r\nhost: x\r\n\r\n'],
	['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
	['a TLS handshake', Buffer.from('160301004a0100004603030000000000000000', 'hex')],
	['a tunnel', 'CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n'],
	['a NUL in the target', 'GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n'],
	['a backslash in the path', 'GET /v1\\nodes HTTP/1.1\r\nhost: x\r\n\r\n'],
	['a target of one star', 'OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n'],
	['a target without a slash', 'GET v1/nodes HTTP/1.1\r\nhost: x\r\n\r\n'],
	['another scheme', 'GET ftp://x/ HTTP/1.1\r\nhost: x\r\n\r\n'],
	['no host', `${LINE}\r\n`],
	['an empty host', `${LINE}host:\r\n\r\n`],
	['a host that is none', `${LINE}host: [\r\n\r\n`],
	['a host with a user', `${LINE}host: a@b\r\n\r\n`],
	['a host with a space', `${LINE}host: a b\r\n\r\n`],
	['a header without a colon', `${LINE}host: x\r\nnothing\r\n\r\n`],
	['a header with NUL', `${LINE}host: x\r\na: \0\r\n\r\n`],
	['a header with a lonely line feed', `${LINE}host: x\r\na: b\n\rc: d\r\n\r\n`],
	['headers of 20 kB', `${LINE}host: x\r\na: ${'b'.repeat(20_000)}\r\n\r\n`],
	['ten thousand headers', `${LINE}host: x\r\n${'a: b\r\n'.repeat(10_000)}\r\n`],
	['a target of 20 kB', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`],
	[
		'two lengths',
		'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}',
	],
	[
		'a length and chunks',
		'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
	],
	['a length below zero', 'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n'],
	[
		'a length beyond all numbers',
		`POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: ${'9'.repeat(40)}\r\n\r\n`,
	],
	[
		'a length of 2^53',
		'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 9007199254740992\r\n\r\n',
	],
	['an unknown coding', 'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ntransfer-encoding: lzma\r\n\r\n'],
	[
		'a chunk without a size',
		'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n',
	],
	[
		'a chunk with a huge extension',
		`POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1;${'a'.repeat(40_000)}\r\n`,
	],
	[
		'an unknown expectation',
		'POST /v1/enroll HTTP/1.1\r\nhost: x\r\nexpect: wonders\r\ncontent-length: 0\r\n\r\n',
	],
]

interface BadBody {
	readonly name: string
	readonly body: NonNullable<RequestInit['body']>
	readonly headers?: Record<string, string>
}

const typed = (contentType: string) => ({ 'content-type': contentType })

const BODIES: readonly BadBody[] = [
	{ name: 'nothing', body: '' },
	{ name: 'no JSON', body: '{"name":' },
	{ name: 'a hundred thousand brackets', body: '['.repeat(100_000) },
	{
		name: 'nested a hundred thousand times',
		body: `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
	},
	{ name: 'a number', body: '1' },
	{ name: 'beyond all numbers', body: '{"name":1e999}' },
	{ name: 'null', body: 'null' },
	{ name: 'an array', body: '[]' },
	{ name: 'no UTF-8', body: Buffer.from('7b226e616d65223a22c328ff227d', 'hex') },
	{ name: 'UTF-16', body: Buffer.from('{"name":"x"}', 'utf16le') },
	{ name: 'random', body: Uint8Array.from(createRandom(22).bytes(5000)) },
	{
		name: 'compressed',
		body: gzipSync('{"name":"x"}'),
		headers: { 'content-encoding': 'gzip' },
	},
	{ name: 'called a form', body: 'name=x', headers: typed('application/x-www-form-urlencoded') },
	{ name: 'called text', body: '{"name":"x"}', headers: typed('text/plain') },
	{ name: 'called nothing known', body: '{"name":"x"}', headers: typed('application/json/x;;,') },
	{ name: 'in parts', body: new FormData() },
	{ name: 'poisoned', body: '{"__proto__":{"role":"admin"},"constructor":{"prototype":{}}}' },
	{ name: 'a name with NUL', body: '{"name":"a\\u0000b","criteria":[]}' },
	{
		name: 'of eighty thousand keys',
		body: `{${Array.from({ length: 80_000 }, (_, index) => `"${index}":0`).join()}}`,
	},
	{
		name: 'of half a million elements',
		body: `{"name":"g","criteria":[${'0,'.repeat(500_000)}0]}`,
	},
]

interface SlowClient {
	readonly socket: Socket
	readonly isInHeaders: boolean
	answer(): RawAnswer
}

/** Begins a request and never ends it: in its headers, or in its body. */
function openSlow(port: number, isInHeaders: boolean): SlowClient {
	let text = ''
	const socket = connect(port, '127.0.0.1')
	socket.on('data', (chunk) => {
		text += chunk
	})
	socket.on('error', () => undefined)
	socket.write(
		isInHeaders
			? 'GET / HTTP/1.1\r\nhost: x\r\na: '
			: 'POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{',
	)
	return { socket, isInHeaders, answer: () => parseAnswer(text) }
}

/** RFC 9457: said in its type, with the status in the body and words for people. */
function expectProblem({ status, type, body, text }: RawAnswer, sent?: string): void {
	const what = `${sent ?? ''}\n${text.slice(0, 500)}`
	expect(status, what).toBeGreaterThanOrEqual(400)
	expect(status, what).toBeLessThan(500)
	expect(type, what).toBe('application/problem+json')
	const problem = JSON.parse(body)
	expect(problem.status, what).toBe(status)
	expect(problem.title.length + (problem.detail ?? '').length, what).toBeGreaterThan(10)
}

async function expectProblemOf(answer: Response, sent?: string): Promise<void> {
	const { status, headers } = answer
	const body = await answer.text()
	expectProblem({ status, type: headers.get('content-type') ?? '', body, text: body }, sent)
}

/** From `/openapi.json`, without the stream, which does not end, and without what would end this test's own key. */
async function describedOperations(url: string) {
	const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as {
		paths: Record<string, Record<string, unknown>>
	}
	return Object.entries(paths).flatMap(([path, methods]) =>
		path.endsWith('/stream')
			? []
			: Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
	)
}

const ANYTHING = fc.oneof(
	fc.jsonValue({ maxDepth: 3 }),
	fc.string({ unit: 'binary' }),
	fc.constantFrom('\u0000', '\ud800', '__proto__', '<script>', '\u001b[2J', '%00', -1, 2 ** 53),
	fc.constantFrom('any', 'http', 'allow', 'tcp/80', 'monitor', 'admin', 'http://127.0.0.1:9/'),
	fc.constantFrom(['any'], ['tcp/1-2'], [{ key: 'name', op: '=', value: '\u0000' }], null, true),
)
const KEYS = fc.constantFrom(
	...['from', 'to', 'ports', 'applications', 'action', 'name', 'password', 'mode', 'criteria'],
	...[
		'comment',
		'url',
		'kinds',
		'severityMin',
		'role',
		'token',
		'uses',
		'before',
		'newServiceMode',
	],
)
const SEGMENT = fc.oneof(
	fc.constantFrom('1', 'nodes', 'external', '%00', '%F0%9F%94%A5', '9'.repeat(30), '-1', '%2e%2e'),
	fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).map(encodeURIComponent),
)
const REQUEST = fc.record({
	segment: SEGMENT,
	query: fc
		.array(fc.tuple(fc.constantFrom('limit', 'cursor', 'since', 'group', 'kind', 'sort'), SEGMENT))
		.map((pairs) => pairs.map((pair) => pair.join('=')).join('&')),
	body: fc.oneof(
		fc.dictionary(KEYS, ANYTHING).map((fields) => JSON.stringify(fields)),
		ANYTHING.map((value) => JSON.stringify(value)),
		fc.string({ unit: 'binary' }),
	),
	header: fc.constantFrom<Record<string, string>>(
		...[{}, {}, {}, { 'if-match': '*' }, { 'if-match': '"1"' }, { 'if-match': '"9e99"' }],
		...[{ 'content-type': 'text/plain' }, { authorization: 'Basic Og==' }],
		...[{ authorization: 'Bearer rfk_\u00e9_' }, { cookie: 'ringfence=%; ringfence="' }],
	),
})
