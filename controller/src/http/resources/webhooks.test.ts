import { eq } from 'drizzle-orm'
import { beforeEach, expect, test } from 'vitest'
import { outbox } from '../../db/schema.ts'
import { openTestApp, type TestApp } from '../test-app.ts'

const HOOK = { name: 'pager', url: 'https://pager.example/in' }

let it: TestApp
beforeEach(async () => {
	it = await openTestApp()
})

test('its secret is shown once', async () => {
	const { status, json } = await make()
	expect(status).toBe(201)
	expect(json).toMatchObject({ ...HOOK, kinds: [], severityMin: 'info', isEnabled: true })
	expect(json.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
	const { secret: _, ...rest } = json
	expect((await it.call(`GET /v1/webhooks/${json.id}`, { as: 'admin' })).json).toEqual(rest)
	expect((await it.call('GET /v1/webhooks', { as: 'admin' })).json.items).toEqual([rest])
	const { json: audits } = await it.call('GET /v1/audits', { as: 'admin' })
	expect(JSON.stringify(audits)).toContain('webhook.create')
	expect(JSON.stringify(audits)).not.toContain(json.secret.slice(6))
})

test.each([
	'ftp://example.org',
	'javascript:alert(1)',
	'https://user:secret@example.org/',
	'/relative',
	'https://',
])('%s is no place for messages', async (url) => {
	const { status, json } = await it.call('POST /v1/webhooks', {
		as: 'admin',
		body: { ...HOOK, url },
	})
	expect([status, json.errors[0].pointer]).toEqual([422, '/url'])
})

test('it is changed and removed by who has seen it', async () => {
	const { json } = await make()
	const route = `/v1/webhooks/${json.id}`
	const body = { isEnabled: false }
	expect((await it.call(`PATCH ${route}`, { as: 'admin', body })).status).toBe(428)
	const changed = await it.call(`PATCH ${route}`, { as: 'admin', body, revision: 1 })
	expect(changed.json).toMatchObject({ isEnabled: false, revision: 2 })
	expect((await it.call(`POST ${route}/ping`, { as: 'admin' })).status).toBe(409)
	expect((await it.call(`DELETE ${route}`, { as: 'admin', revision: 2 })).status).toBe(204)
	expect((await it.call(`GET ${route}`, { as: 'admin' })).status).toBe(404)
})

test('a ping is queued, listed, and started over when it has died', async () => {
	const { json } = await make()
	const route = `/v1/webhooks/${json.id}`
	const pinged = await it.call(`POST ${route}/ping`, { as: 'admin' })
	expect(pinged).toMatchObject({ status: 202, json: { state: 'due', attempts: 0 } })
	expect(it.fleet.counts.outbox).toBe(1)
	const { id } = pinged.json
	const replay = `POST ${route}/deliveries/${id}/replay`
	expect((await it.call(replay, { as: 'admin' })).status).toBe(409)
	await it.fleet.store.write((tx) =>
		tx.update(outbox).set({ state: 'dead', attempts: 10 }).where(eq(outbox.id, id)),
	)
	const dead = await it.call(`GET ${route}/deliveries?state=dead`, { as: 'admin' })
	expect(dead.json.items).toMatchObject([{ id, attempts: 10 }])
	expect((await it.call(replay, { as: 'admin' })).json).toMatchObject({ state: 'due', attempts: 0 })
	const none = `POST ${route}/deliveries/msg_none/replay`
	expect((await it.call(none, { as: 'admin' })).status).toBe(404)
	expect((await it.call('GET /v1/webhooks/none/deliveries', { as: 'admin' })).status).toBe(404)
})

test('deliveries are paged without holes or repeats', async () => {
	const { json } = await make()
	for (let i = 0; i < 9; i++) await it.call(`POST /v1/webhooks/${json.id}/ping`, { as: 'admin' })
	const seen: string[] = []
	let cursor: string | null = ''
	while (cursor !== null) {
		const query: string = cursor === '' ? '' : `&cursor=${cursor}`
		const route = `GET /v1/webhooks/${json.id}/deliveries?limit=2${query}`
		const page = await it.call(route, { as: 'admin' })
		seen.push(...page.json.items.map(({ id }: { id: string }) => id))
		cursor = page.json.next
	}
	expect([seen.length, new Set(seen).size]).toEqual([9, 9])
})

function make() {
	return it.call('POST /v1/webhooks', { as: 'admin', body: HOOK })
}
