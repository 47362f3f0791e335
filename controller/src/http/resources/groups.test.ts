import { beforeEach, expect, test } from 'vitest'
import { readGeneration } from '../../fleet/desired/documents.ts'
import { joinAgent, workload } from '../../fleet/test-fleet.ts'
import { openTestApp, type TestApp } from '../test-app.ts'

let it: TestApp
beforeEach(async () => {
	it = await openTestApp()
	const agent = await joinAgent(it.fleet, 'n1', ['10.0.0.1/24'])
	await agent.report([
		workload('web', ['10.0.0.2/24'], { labels: { tier: 'front', team: 'a' } }),
		workload('api', ['10.0.0.3/24'], { labels: { tier: 'back', team: 'a' } }),
		workload('db', ['10.0.0.4/24'], { labels: { tier: 'back', team: 'b' } }),
	])
})

test('reserved and learned groups are there with their members', async () => {
	const { json } = await it.call('GET /v1/groups', { as: 'viewer' })
	const brief = json.items.map((group: Record<string, unknown>) => [
		group['name'],
		group['kind'],
		group['mode'],
		group['members'],
	])
	expect(brief).toEqual([
		['containers', 'reserved', null, 3],
		['external', 'reserved', null, null],
		['nodes', 'reserved', 'discover', 1],
		['rf.api.shop', 'learned', 'discover', 1],
		['rf.db.shop', 'learned', 'discover', 1],
		['rf.web.shop', 'learned', 'discover', 1],
	])
	const learned = await it.call('GET /v1/groups?kind=learned&limit=2', { as: 'viewer' })
	expect(learned.json.items).toHaveLength(2)
	expect(learned.json.next).not.toBeNull()
})

test.each(['rf.web.shop', 'nodes'])(
	'the mode of %s changes, which is a new policy',
	async (name) => {
		const before = await readGeneration(it.fleet.store.db, 'policy')
		const { json: group } = await it.call(`GET /v1/groups/${name}`, { as: 'viewer' })
		const call = { as: 'operator', revision: group.revision } as const
		const body = { mode: 'monitor' }
		const { status, json } = await it.call(`PATCH /v1/groups/${name}`, { ...call, body })
		expect([status, json.mode]).toEqual([200, 'monitor'])
		expect(await readGeneration(it.fleet.store.db, 'policy')).toBe(before + 1)
		expect((await it.call(`PATCH /v1/groups/${name}`, { ...call, body })).status).toBe(412)
	},
)

test.each(['containers', 'external'])('%s has no mode', async (name) => {
	const call = { as: 'operator', revision: '*', body: { mode: 'monitor' } } as const
	const { status, json } = await it.call(`PATCH /v1/groups/${name}`, call)
	expect([status, json.errors[0].pointer]).toEqual([422, '/mode'])
})

test('a custom group is previewed, made, changed and removed', async () => {
	const criteria = [
		{ key: 'label:tier', op: '=', value: 'back' },
		{ key: 'label:team', op: '=', value: 'a' },
	]
	const preview = await it.call('POST /v1/groups/preview', { as: 'viewer', body: { criteria } })
	expect(preview.json.workloads.map(({ id }: { id: string }) => id)).toEqual(['api'])
	const before = await readGeneration(it.fleet.store.db, 'addresses')
	const made = await it.call('POST /v1/groups', {
		as: 'operator',
		body: { name: 'a-back', criteria },
	})
	expect([made.status, made.json.members]).toEqual([201, 1])
	const wider = { criteria: criteria.slice(0, 1) }
	const call = { as: 'operator', revision: 1 } as const
	const changed = await it.call('PATCH /v1/groups/a-back', { ...call, body: wider })
	expect(changed.json).toMatchObject({ members: 2, revision: 2 })
	expect(await readGeneration(it.fleet.store.db, 'addresses')).toBe(before + 2)
	expect((await it.call('DELETE /v1/groups/a-back', { ...call, revision: 2 })).status).toBe(204)
	expect((await it.call('GET /v1/groups/a-back', { as: 'viewer' })).status).toBe(404)
})

test('a group in use by a rule stays', async () => {
	const criteria = [{ key: 'address', op: '=', value: '192.0.2.0/24' }]
	await it.call('POST /v1/groups', { as: 'operator', body: { name: 'office', criteria } })
	const rule = { from: 'office', to: 'containers', action: 'deny' }
	const { json } = await it.call('POST /v1/rules', { as: 'operator', body: rule })
	const call = { as: 'operator', revision: '*' } as const
	const refused = await it.call('DELETE /v1/groups/office', call)
	expect(refused).toMatchObject({
		status: 409,
		json: { detail: `The group is in use by rules: ${json.id}.` },
	})
	expect((await it.call('DELETE /v1/groups/rf.web.shop', call)).status).toBe(409)
})

test.each([
	['a name like a learned one', { name: 'rf.web.shop' }, '/name'],
	['a reserved name', { name: 'nodes' }, '/name'],
	['a name with a slash', { name: 'a/b' }, '/name'],
	['no criteria', { criteria: [] }, '/criteria'],
	['a key nobody knows', { criteria: [{ key: 'size', op: '=', value: '1' }] }, '/criteria/0/key'],
	[
		'no network',
		{ criteria: [{ key: 'address', op: '=', value: '10.0.0.1/8' }] },
		'/criteria/0/value',
	],
	[
		'part of an address',
		{ criteria: [{ key: 'address', op: 'prefix', value: '10.0.0.0/8' }] },
		'/criteria/0/op',
	],
])('a custom group with %s is refused', async (_, body, pointer) => {
	const criteria = [{ key: 'name', op: '=', value: 'web' }]
	const made = { name: 'mine', criteria, ...body }
	const { status, json } = await it.call('POST /v1/groups', { as: 'operator', body: made })
	expect([status, json.errors[0].pointer]).toEqual([422, pointer])
})
