import { sql } from 'drizzle-orm'
import { beforeEach, describe, expect, test } from 'vitest'
import { apiKeys, users } from '../../db/schema.ts'
import { ensureAdmin } from '../../fleet/access/access.ts'
import { openTestApp, TEST_ITERATIONS, type TestApp } from '../test-app.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

let it: TestApp
let admin: { name: string; password: string }

beforeEach(async () => {
	it = await openTestApp()
	const made = await ensureAdmin(it.fleet, { passwordIterations: TEST_ITERATIONS })
	if (!made) throw new Error('there is an admin already')
	admin = made
})

describe('sign-in', () => {
	test('an admin is made once, with a password nobody can guess', async () => {
		expect(admin.name).toBe('admin')
		expect(admin.password).toMatch(/^[\w-]{24}$/)
		expect(await ensureAdmin(it.fleet)).toBeUndefined()
	})

	test('gives a browser a cookie that scripts and other sites cannot have', async () => {
		const { status, headers, json } = await it.call('POST /v1/auth/sign-in', { body: admin })
		expect(status).toBe(200)
		expect(json).toEqual({ name: 'admin', role: 'admin', expiresAt: expect.any(Number) })
		const cookie = headers.get('set-cookie') ?? ''
		expect(cookie).toMatch(/^ringfence=rfs_[\w-]{43};/)
		expect(cookie).toContain('HttpOnly')
		expect(cookie).toContain('SameSite=Strict')
		expect(await selfBy(cookieOf(cookie))).toMatchObject({ status: 200, json: { name: 'admin' } })
	})

	test('binds the cookie to the host and to TLS where people come by TLS', async () => {
		const secure = await openTestApp({ publicUrl: 'https://firewall.example' })
		const made = await ensureAdmin(secure.fleet, { passwordIterations: TEST_ITERATIONS })
		const { headers } = await secure.call('POST /v1/auth/sign-in', { body: made })
		expect(headers.get('set-cookie')).toMatch(/^__Host-ringfence=.*; Secure/)
		expect(headers.get('strict-transport-security')).toContain('max-age')
	})

	test('gives a program a bearer token, and no cookie', async () => {
		const { headers, json } = await signInAsProgram()
		expect(headers.get('set-cookie')).toBeNull()
		const bearer = { authorization: `Bearer ${json.token}` }
		expect(await selfBy(bearer)).toMatchObject({ status: 200, json: { kind: 'user' } })
	})

	test('keeps only hashes of passwords, tokens and keys', async () => {
		const { json } = await signInAsProgram()
		const tables = ['users', 'sessions', 'api_keys', 'audits']
		const rows = await Promise.all(
			tables.map((table) => it.fleet.store.db.all(sql.raw(`select * from ${table}`))),
		)
		const dump = JSON.stringify(rows)
		expect(dump).toContain('pbkdf2-sha256')
		for (const secret of [admin.password, json.token.slice(4), it.keys.admin.split('_')[2]]) {
			expect(dump).not.toContain(secret)
		}
	})

	test('says the same about a wrong name and a wrong password', async () => {
		const wrongPassword = await signIn('admin', 'wrong')
		const wrongName = await signIn('nobody', 'wrong')
		expect(wrongPassword).toMatchObject({
			status: 401,
			json: { detail: 'Wrong name or password.' },
		})
		expect(wrongName.json).toEqual(wrongPassword.json)
	})

	test.each(['admin', 'nobody'])(
		'locks %s after five failures, for longer each time',
		async (name) => {
			for (let i = 0; i < 5; i++) expect((await signIn(name, 'wrong')).status).toBe(401)
			const locked = await signIn(name, admin.password)
			expect(locked.status).toBe(429)
			expect(locked.headers.get('retry-after')).toBe('30')
			it.fleet.pass(31_000)
			expect((await signIn(name, 'wrong')).status).toBe(401)
			expect((await signIn(name, 'wrong')).headers.get('retry-after')).toBe('60')
		},
	)

	test('forgets failures after a good sign-in', async () => {
		for (let i = 0; i < 4; i++) await signIn('admin', 'wrong')
		expect((await signIn('admin', admin.password)).status).toBe(200)
		const [row] = await it.fleet.store.db.select().from(users)
		expect(row?.failures).toBe(0)
	})

	test('slows down a client that tries many names', async () => {
		const answers = []
		for (let i = 0; i < 12; i++) answers.push((await signIn(`name${i}`, 'wrong')).status)
		expect(answers.slice(0, 10)).toEqual(new Array(10).fill(401))
		expect(answers.slice(10)).toEqual([429, 429])
		it.fleet.pass(6000)
		expect((await signIn('name', 'wrong')).status).toBe(401)
	})
})

describe('a session', () => {
	test('ends by sign-out', async () => {
		const { json } = await signInAsProgram()
		const headers = { authorization: `Bearer ${json.token}` }
		expect((await it.call('POST /v1/auth/sign-out', { headers })).status).toBe(204)
		expect((await selfBy(headers)).status).toBe(401)
	})

	test('lives on while it is used, and ends after twelve idle hours', async () => {
		const { json } = await signInAsProgram()
		const headers = { authorization: `Bearer ${json.token}` }
		for (let i = 0; i < 3; i++) {
			it.fleet.pass(11 * HOUR_MS)
			expect((await selfBy(headers)).status).toBe(200)
		}
		it.fleet.pass(12 * HOUR_MS)
		expect((await selfBy(headers)).status).toBe(401)
	})

	test('ends after a week whatever happens', async () => {
		const { json } = await signInAsProgram()
		const headers = { authorization: `Bearer ${json.token}` }
		const statuses = []
		for (let i = 0; i < 17; i++) {
			it.fleet.pass(10 * HOUR_MS)
			statuses.push((await selfBy(headers)).status)
		}
		expect(statuses).toEqual([...new Array(16).fill(200), 401])
	})

	test('ends when the password changes elsewhere', async () => {
		const mine = { authorization: `Bearer ${(await signInAsProgram()).json.token}` }
		const other = { authorization: `Bearer ${(await signInAsProgram()).json.token}` }
		const wrong = { current: 'wrong', next: 'correct horse battery' }
		const refused = await it.call('POST /v1/auth/password', { headers: mine, body: wrong })
		expect(refused).toMatchObject({ status: 422, json: { errors: [{ pointer: '/current' }] } })
		const right = { current: admin.password, next: 'correct horse battery' }
		const changed = await it.call('POST /v1/auth/password', { headers: mine, body: right })
		expect(changed.status).toBe(204)
		expect((await selfBy(mine)).status).toBe(200)
		expect((await selfBy(other)).status).toBe(401)
		expect((await signIn('admin', admin.password)).status).toBe(401)
		expect((await signIn('admin', right.next)).status).toBe(200)
	})
})

describe('a write with a cookie', () => {
	const cases: [string, Record<string, string>, number][] = [
		['from the console', { 'sec-fetch-site': 'same-origin' }, 204],
		['from another site', { 'sec-fetch-site': 'cross-site' }, 403],
		['from a sister host', { 'sec-fetch-site': 'same-site' }, 403],
		['from an old browser, own origin', { origin: 'http://localhost' }, 204],
		['from an old browser, other origin', { origin: 'http://evil.example' }, 403],
		['from a sandboxed frame', { origin: 'null' }, 403],
		['from nowhere', {}, 403],
		[
			'that lies about its origin only',
			{ 'sec-fetch-site': 'cross-site', origin: 'http://localhost' },
			403,
		],
	]
	test.each(cases)('%s', async (_, headers, status) => {
		const { headers: answered } = await it.call('POST /v1/auth/sign-in', { body: admin })
		const cookie = cookieOf(answered.get('set-cookie') ?? '')
		const sent = { ...headers, ...cookie }
		expect((await it.call('POST /v1/auth/sign-out', { headers: sent })).status).toBe(status)
	})
})

describe('an API key', () => {
	test('works until it expires', async () => {
		const expiresAt = it.fleet.clock.now() + HOUR_MS
		const body = { name: 'ci', role: 'operator', expiresAt }
		const { status, json } = await it.call('POST /v1/api-keys', { as: 'admin', body })
		expect(status).toBe(201)
		expect(json.key).toMatch(/^rfk_[a-z2-7]{16}_[\w-]{43}$/)
		const headers = { authorization: `Bearer ${json.key}` }
		expect((await selfBy(headers)).json).toMatchObject({
			kind: 'key',
			name: 'ci',
			role: 'operator',
		})
		it.fleet.pass(HOUR_MS)
		expect((await selfBy(headers)).status).toBe(401)
	})

	test('needs its whole secret', async () => {
		for (const key of [
			`${it.keys.admin}x`,
			it.keys.admin.slice(0, -1),
			'rfk__',
			'rfk',
			'',
			'x_y',
		]) {
			expect((await selfBy({ authorization: `Bearer ${key}` })).status).toBe(401)
		}
	})

	test('has its last use written at most once a minute', async () => {
		const lastUses = async () =>
			(await it.fleet.store.db.select().from(apiKeys)).map((row) => row.lastUsedAt)
		const start = it.fleet.clock.now()
		await it.call('GET /v1/auth/self', { as: 'viewer' })
		it.fleet.pass(MINUTE_MS - 1)
		await it.call('GET /v1/auth/self', { as: 'viewer' })
		expect(await lastUses()).toContain(start)
		it.fleet.pass(1)
		await it.call('GET /v1/auth/self', { as: 'viewer' })
		expect(await lastUses()).toContain(start + MINUTE_MS)
	})

	test('stops working when it is removed', async () => {
		const body = { name: 'ci', role: 'viewer' }
		const { json } = await it.call('POST /v1/api-keys', { as: 'admin', body })
		const route = `DELETE /v1/api-keys/${json.id}`
		expect((await it.call(route, { as: 'admin', revision: 1 })).status).toBe(204)
		expect((await selfBy({ authorization: `Bearer ${json.key}` })).status).toBe(401)
	})

	test('cannot be born expired', async () => {
		const body = { name: 'ci', role: 'viewer', expiresAt: 1 }
		const { status, json } = await it.call('POST /v1/api-keys', { as: 'admin', body })
		expect(status).toBe(422)
		expect(json.errors).toEqual([{ pointer: '/expiresAt', detail: 'is in the past' }])
	})
})

test('the addresses of one site of IPv6 are one client for the limit of guesses', async () => {
	let host = 0
	const app = await openTestApp({ clientAddress: () => `2001:db8:0:1::${(++host).toString(16)}` })
	const body = { name: 'nobody', password: 'wrong' }
	const answers = []
	for (let i = 0; i < 12; i++) answers.push(await app.call('POST /v1/auth/sign-in', { body }))
	const limited = answers.filter(({ json }) => json.type === 'urn:ringfence:problem:too-many')
	expect(limited).toHaveLength(2)
})

test('of two changes of a password at once one is made', async () => {
	const { json } = await signInAsProgram()
	const headers = { authorization: `Bearer ${json.token}` }
	const answers = await Promise.all(
		['first new password', 'second new password'].map((next) =>
			it.call('POST /v1/auth/password', { headers, body: { current: admin.password, next } }),
		),
	)
	expect(answers.map(({ status }) => status).sort()).toEqual([204, 412])
})

describe('users', () => {
	const body = { name: 'ada', role: 'viewer', password: 'a long password' }

	test('are made, promoted and removed', async () => {
		const { json: made } = await it.call('POST /v1/users', { as: 'admin', body })
		expect((await signIn('ada', body.password)).json.role).toBe('viewer')
		const route = `/v1/users/${made.id}`
		const patch = { as: 'admin', body: { role: 'operator' }, revision: 1 } as const
		expect((await it.call(`PATCH ${route}`, patch)).json).toMatchObject({
			role: 'operator',
			revision: 2,
		})
		expect((await it.call(`DELETE ${route}`, { as: 'admin', revision: 2 })).status).toBe(204)
		expect((await signIn('ada', body.password)).status).toBe(401)
	})

	test('have names of their own', async () => {
		await it.call('POST /v1/users', { as: 'admin', body })
		expect((await it.call('POST /v1/users', { as: 'admin', body })).status).toBe(409)
	})

	test('always include an admin', async () => {
		const { json } = await it.call('GET /v1/users', { as: 'admin' })
		const route = `/v1/users/${json.items[0].id}`
		const call = { as: 'admin', revision: '*' } as const
		expect((await it.call(`DELETE ${route}`, call)).status).toBe(409)
		const demotion = { ...call, body: { role: 'viewer' } }
		expect((await it.call(`PATCH ${route}`, demotion)).status).toBe(409)
	})
})

function signIn(name: string, password: string) {
	return it.call('POST /v1/auth/sign-in', { body: { name, password } })
}

function signInAsProgram() {
	return it.call('POST /v1/auth/sign-in', { body: { ...admin, session: 'token' } })
}

function selfBy(headers: Record<string, string>) {
	return it.call('GET /v1/auth/self', { headers })
}

function cookieOf(setCookie: string): Record<string, string> {
	return { cookie: setCookie.split(';')[0] ?? '' }
}
