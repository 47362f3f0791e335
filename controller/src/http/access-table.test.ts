import { beforeAll, describe, expect, test } from 'vitest'
import { ACCESS } from './access-table.ts'
import { openTestApp, type TestApp } from './test-app.ts'

const ROLES = ['viewer', 'operator', 'admin'] as const
const ROUTES = Object.entries(ACCESS)

let it: TestApp
beforeAll(async () => {
	it = await openTestApp({ streamTickMs: 3_600_000 })
})

test('the table names exactly the routes that exist', () => {
	const registered = it.app.routes
		.filter(({ method }) => method !== 'ALL')
		.map(({ method, path }) => `${method} ${path}`)
	expect([...new Set(registered)].sort()).toEqual(Object.keys(ACCESS).sort())
	expect(ROUTES.length).toBeGreaterThan(45)
})

describe.each(ROUTES)('%s', (route, access) => {
	const [method = '', pattern = ''] = route.split(' ')
	const path = pattern.replaceAll(/:\w+/g, '1')
	const statusAs = async (key: string | undefined) => {
		const response = await it.app.request(path, {
			method,
			headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
		})
		await response.body?.cancel()
		return response.status
	}

	test(`needs ${access}`, async () => {
		const isPublic = access === 'public'
		const withoutKey = [await statusAs(undefined), await statusAs('rfk_nobody_x')]
		for (const status of withoutKey) {
			if (isPublic) expect([401, 403]).not.toContain(status)
			else expect(status).toBe(401)
		}
		for (const [rank, role] of ROLES.entries()) {
			const isEnough = isPublic || rank >= ROLES.indexOf(access)
			const status = await statusAs(it.keys[role])
			if (isEnough) expect([401, 403]).not.toContain(status)
			else expect(status).toBe(403)
		}
	})
})

test('a route that the table forgot is refused', async () => {
	const { app, keys } = await openTestApp()
	app.get('/v1/forgotten', (c) => c.json({ secret: true }))
	const response = await app.request('/v1/forgotten', {
		headers: { authorization: `Bearer ${keys.admin}` },
	})
	expect(response.status).toBe(500)
	expect(await response.text()).not.toContain('secret')
})
