import { describe, expect, test } from 'vitest'
import { createApp } from '../app.ts'
import { joinAgent } from '../fleet/test-fleet.ts'
import { openAppFleet, openTestApp } from './test-app.ts'

describe('errors are problems', () => {
	test.each([
		['an unknown path', 'GET /v1/nothing', {}, 404, 'not-found'],
		['a method that is not there', 'PUT /v1/rules', { as: 'admin' }, 404, 'not-found'],
		['no key', 'GET /v1/rules', {}, 401, 'unauthenticated'],
		['too small a role', 'POST /v1/rules', { as: 'viewer', body: {} }, 403, 'forbidden'],
		['broken JSON', 'POST /v1/rules', { as: 'admin', body: '{"from":' }, 400, 'unreadable'],
		['no body', 'POST /v1/rules', { as: 'admin' }, 422, 'invalid'],
		['a list instead of an object', 'POST /v1/rules', { as: 'admin', body: [] }, 422, 'invalid'],
		['an unknown query', 'GET /v1/rules?colour=red', { as: 'admin' }, 422, 'invalid'],
		['a page too large', 'GET /v1/rules?limit=501', { as: 'admin' }, 422, 'invalid'],
		['a cursor of nobody', 'GET /v1/rules?cursor=abc', { as: 'admin' }, 422, 'invalid'],
		['another list’s cursor', 'GET /v1/rules?cursor=WyJhIl0', { as: 'admin' }, 422, 'invalid'],
		['no revision', 'DELETE /v1/rules/1', { as: 'admin' }, 428, 'precondition-required'],
		[
			'a body of a megabyte',
			'POST /v1/rules',
			{ as: 'admin', body: 'x'.repeat(1_100_000) },
			413,
			'too-large',
		],
	] as const)('%s', async (...[, route, sent, status, code]) => {
		const { call } = await openTestApp()
		const { json } = await call(route, sent)
		expect(json).toMatchObject({ status, type: `urn:ringfence:problem:${code}` })
	})

	test('a form is not JSON', async () => {
		const { call } = await openTestApp()
		const headers = { 'content-type': 'application/x-www-form-urlencoded' }
		const { status } = await call('POST /v1/auth/sign-in', { body: 'name=a', headers })
		expect(status).toBe(415)
	})

	test('faults point into the request', async () => {
		const { call } = await openTestApp()
		const body = { from: 1, to: 'nodes', action: 'maybe', colour: 'red' }
		const { json } = await call('POST /v1/rules', { as: 'admin', body })
		const pointers = json.errors.map(({ pointer }: { pointer: string }) => pointer).sort()
		expect(pointers).toEqual(['/action', '/colour', '/from'])
		const query = await call('GET /v1/rules?limit=many&limit=2&x=1', { as: 'admin' })
		expect(query.json.errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual([
			'/query/limit',
			'/query/x',
		])
	})

	test('what nobody expected is logged, and told to nobody', async () => {
		const fleet = await openAppFleet()
		const app = createApp({ ...fleet, clock: { now: () => fail('secret of the house') } })
		const body = JSON.stringify({ name: 'a', password: 'b' })
		const headers = { 'content-type': 'application/json' }
		const response = await app.request('/v1/auth/sign-in', { method: 'POST', body, headers })
		const text = await response.text()
		expect(response.status).toBe(500)
		expect(text).not.toContain('secret')
		expect(JSON.stringify(fleet.logged)).toContain('secret of the house')
		expect(JSON.stringify(fleet.logged)).toContain(JSON.parse(text).instance)
	})
})

test('every answer forbids what a browser might do with it', async () => {
	const { app } = await openTestApp()
	for (const path of ['/', '/v1/nothing', '/v1/rules', '/healthz', '/openapi.json']) {
		const { headers } = await app.request(path)
		expect(headers.get('content-security-policy')).toContain("default-src 'none'")
		expect(headers.get('content-security-policy')).not.toContain('unsafe')
		expect(headers.get('x-content-type-options')).toBe('nosniff')
	}
})

test('a resource is sent whole, whatever the client has: its tag is no tag of all that it shows', async () => {
	const { call, fleet } = await openTestApp()
	const { headers, json } = await call('GET /v1/groups/nodes', { as: 'viewer' })
	await joinAgent(fleet, 'n-1')
	const known = { 'if-none-match': headers.get('etag') ?? '' }
	const again = await call('GET /v1/groups/nodes', { as: 'viewer', headers: known })
	expect([again.status, again.json.revision]).toEqual([200, json.revision])
	expect([json.members, again.json.members]).toEqual([0, 1])
})

test('a file that a client has already is not sent again', async () => {
	const { app } = await openTestApp()
	const page = await app.request('/')
	const again = await app.request('/', {
		headers: { 'if-none-match': page.headers.get('etag') ?? '' },
	})
	expect(again.status).toBe(304)
	const policy = 'content-security-policy'
	expect(again.headers.get(policy)).toBe(page.headers.get(policy))
	expect(page.headers.get(policy)).toContain("script-src 'self'")
})

test('health is one thing, readiness another', async () => {
	let why: string | undefined = 'The broker is away.'
	const { call, fleet } = await openTestApp({ notReadyWhy: async () => why })
	expect((await call('GET /healthz')).status).toBe(200)
	expect(await call('GET /readyz')).toMatchObject({ status: 503, json: { detail: why } })
	why = undefined
	expect((await call('GET /readyz')).status).toBe(200)
	await fleet.store.close()
	expect((await call('GET /readyz')).status).toBe(503)
	expect((await call('GET /healthz')).status).toBe(200)
})

test('settings are changed one by one', async () => {
	const { call, fleet } = await openTestApp()
	const body = { newServiceMode: 'monitor', unusedGroupAgingHours: 2 }
	const { json } = await call('PATCH /v1/settings', { as: 'admin', revision: 1, body })
	expect(json).toMatchObject({ ...body, eventRetentionDays: 30, revision: 2 })
	expect((await call('GET /v1/settings', { as: 'viewer' })).json).toEqual(json)
	expect(fleet.counts.documents).toBe(1)
	const days = { eventRetentionDays: 7 }
	expect((await call('PATCH /v1/settings', { as: 'admin', revision: 1, body: days })).status).toBe(
		412,
	)
	const again = await call('PATCH /v1/settings', { as: 'admin', revision: 2, body: days })
	expect(again.json).toMatchObject({ ...body, ...days, revision: 3 })
	expect(fleet.counts.documents).toBe(1)
	const wrong = { as: 'admin', revision: 3, body: { eventRetentionDays: 0 } } as const
	expect((await call('PATCH /v1/settings', wrong)).status).toBe(422)
})

test('an agent enrols with a token, as often as the token says', async () => {
	const { call, fleet } = await openTestApp()
	const { json: made } = await call('POST /v1/enroll-tokens', { as: 'admin', body: { uses: 2 } })
	const body = { token: made.token, name: 'host-1' }
	const enrolled = await call('POST /v1/enroll', { body })
	expect(enrolled.status).toBe(201)
	expect(fleet.accounts.get(enrolled.json.node)).toBe(enrolled.json.brokerPassword)
	expect((await call('POST /v1/enroll', { body })).status).toBe(201)
	expect((await call('POST /v1/enroll', { body })).status).toBe(401)
	const { json: audits } = await call('GET /v1/audits', { as: 'admin' })
	expect(JSON.stringify(audits)).toContain('enroll-token.create')
	expect(JSON.stringify(audits)).not.toContain(made.token)
})

describe('the OpenAPI document', () => {
	test('is complete and refers to what it has', async () => {
		const { app } = await openTestApp()
		const text = await (await app.request('/openapi.json')).text()
		const document = JSON.parse(text)
		expect(document.openapi).toBe('3.1.0')
		const operations = Object.values<Record<string, Record<string, unknown>>>(
			document.paths,
		).flatMap((methods) => Object.values(methods))
		const routes = app.routes.filter(
			({ method, path }) => method !== 'ALL' && path.startsWith('/v1/'),
		)
		expect(operations).toHaveLength(new Set(routes.map(({ method, path }) => method + path)).size)
		for (const operation of operations) expect(operation['responses']).toHaveProperty('default')
		const names = Object.keys(document.components.schemas)
		const references = [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(
			([, name]) => name,
		)
		expect(references.length).toBeGreaterThan(50)
		for (const name of references) expect(names).toContain(name)
		expect(names).toEqual(expect.arrayContaining(['Rule', 'Group', 'Node', 'Event', 'Problem']))
	})
})

function fail(message: string): never {
	throw new Error(message)
}

test.each([
	['/v1/settings', { eventRetentionDays: 7 }, { eventRetentionDays: 8 }],
	['/v1/groups/nodes', { mode: 'monitor' }, { mode: 'protect' }],
	['/v1/rules/1', { comment: 'a' }, { comment: 'b' }],
	['/v1/rules/1', { isEnabled: false }, { from: 'external' }],
])(
	'of two changes of %s that were meant for one revision, one is made',
	async (path, ...bodies) => {
		const { call } = await openTestApp()
		const rule = { from: 'nodes', to: 'external', action: 'allow' }
		await call('POST /v1/rules', { as: 'operator', body: rule })
		const { headers } = await call(`GET ${path}`, { as: 'viewer' })
		const tag = { 'if-match': headers.get('etag') ?? '' }
		const answers = await Promise.all(
			bodies.map((body) => call(`PATCH ${path}`, { as: 'admin', headers: tag, body })),
		)
		expect(answers.map(({ status }) => status).sort()).toEqual([200, 412])
		const winner = answers.find(({ status }) => status === 200)
		expect((await call(`GET ${path}`, { as: 'viewer' })).json).toEqual(winner?.json)
	},
)
