import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { ACCESS } from './access-table.ts'
import { openTestApp, type TestApp } from './test-app.ts'

/** Requests that nobody sends by mistake: every answer is below 500, and the app lives. */
const RUNS = 1500

let it: TestApp
beforeAll(async () => {
	it = await openTestApp({ streamTickMs: 3_600_000 })
})

const anything = fc.oneof(
	fc.jsonValue({ maxDepth: 4 }),
	fc.string({ unit: 'binary' }),
	fc.constantFrom('\u0000', '\ud800', '__proto__', '"', '%00', '1e999', -1, 2 ** 53, null, true),
)

/** Values that get past the first look, mixed with any. */
const field = fc.oneof(
	anything,
	fc.constantFrom(
		'nodes',
		'external',
		'any',
		'http',
		'allow',
		'tcp/80',
		'monitor',
		'admin',
		'info',
	),
	fc.constantFrom(['any'], ['tcp/1-2'], [{ key: 'name', op: '=', value: '\u0000' }]),
	fc.array(anything, { maxLength: 3 }),
	fc.string({ unit: 'binary', maxLength: 300 }),
)

const keys = fc.constantFrom(
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
		'after',
		'__proto__',
	],
)

const body = fc.oneof(
	fc.dictionary(keys, field).map((fields) => JSON.stringify(fields)),
	anything.map((value) => JSON.stringify(value)),
	fc.string({ unit: 'binary' }),
	fc.constantFrom('['.repeat(100_000), '{"a":'.repeat(50_000), '\ufeff{}', '{"__proto__":{"x":1}}'),
)

const segment = fc.oneof(
	fc.constantFrom('1', 'nodes', '%00', '%ff', '%', '..', '9'.repeat(30), '-1', '%F0%9F%94%A5'),
	fc
		.string({ unit: 'binary', maxLength: 80 })
		.map((text) => encodeURIComponent(text.replace(/\p{Cs}/gu, '\ufffd'))),
)

const query = fc.array(
	fc.tuple(
		fc.constantFrom('limit', 'cursor', 'since', 'group', 'kind', 'sort', 'state', 'node', 'x'),
		fc.oneof(segment, fc.constantFrom('WzFlOTk5XQ', 'WyJcdWQ4MDAiXQ', 'W10', '999999999999999')),
	),
	{ maxLength: 3 },
)

const header = fc.constantFrom<Record<string, string>>(
	{},
	{ 'if-match': '*' },
	{ 'if-match': '"1"' },
	{ 'if-match': '"99999999999999999999"' },
	{ 'content-type': 'application/merge-patch+json' },
	{ 'content-type': 'text/plain' },
	{ 'last-event-id': '\u00ff'.repeat(100) },
	{ authorization: 'Basic Og==' },
	{ authorization: 'Bearer rfk_\u00e9_' },
	{ cookie: 'ringfence=%; ringfence="' },
	{ origin: 'http://[' },
	{ 'if-none-match': ',,W/"' },
)

const request = fc.record({
	route: fc.constantFrom(...Object.keys(ACCESS).filter((route) => !route.endsWith('/stream'))),
	segment,
	query,
	body,
	header,
})

test('no request breaks the app', { timeout: 60_000 }, async () => {
	const statuses = new Map<number, number>()
	await fc.assert(
		fc.asyncProperty(request, async (wanted) => {
			const [method = 'GET', pattern = '/'] = wanted.route.split(' ')
			const path = pattern.replaceAll(/:\w+/g, wanted.segment)
			const search = wanted.query.map(([key, value]) => `${key}=${value}`).join('&')
			const hasBody = method !== 'GET' && method !== 'DELETE'
			const response = await it.app.request(`${path}?${search}`, {
				method,
				headers: {
					'content-type': 'application/json',
					authorization: `Bearer ${it.keys.admin}`,
					...wanted.header,
				},
				...(hasBody && { body: wanted.body }),
			})
			const text = await response.text()
			statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1)
			const trouble = it.fleet.logged.filter(({ level }) => level === 'error')
			expect(response.status, JSON.stringify([wanted, trouble])).toBeLessThan(500)
			if (response.status >= 400) expect(JSON.parse(text).status).toBe(response.status)
			// Sign-in and enrolment are limited by time.
			it.fleet.pass(10_000)
		}),
		{ numRuns: RUNS },
	)
	// A fuzz that never got past the door would prove little.
	expect(statuses.get(200) ?? 0).toBeGreaterThan(20)
	expect(statuses.get(422) ?? 0).toBeGreaterThan(20)
	expect((await it.call('GET /v1/rules', { as: 'viewer' })).status).toBe(200)
})
