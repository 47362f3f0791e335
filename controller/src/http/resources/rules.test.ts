import { eq } from 'drizzle-orm'
import { beforeEach, expect, test } from 'vitest'
import { audits, groups, rules } from '../../db/schema.ts'
import { readGeneration } from '../../fleet/desired/documents.ts'
import { LEARNED_POSITION_MIN } from '../../fleet/intake/learn.ts'
import { openTestApp, type TestApp } from '../test-app.ts'

const WEB = { from: 'nodes', to: 'external', applications: ['http'], action: 'allow' }

let it: TestApp
beforeEach(async () => {
	it = await openTestApp()
})

test('a rule is made with defaults, shown, and published', async () => {
	const { status, headers, json } = await create(WEB)
	expect(status).toBe(201)
	expect(headers.get('etag')).toBe('"1"')
	expect(headers.get('location')).toBe(`/v1/rules/${json.id}`)
	expect(json).toMatchObject({ ...WEB, ports: ['any'], isEnabled: true, isLearned: false })
	expect(await generation()).toBe(1)
	expect(it.fleet.counts.documents).toBe(1)
	expect((await it.call(`GET /v1/rules/${json.id}`, { as: 'viewer' })).json).toEqual(json)
})

test('rules stand in the order asked for', async () => {
	const [a, b] = [await created('a'), await created('b')]
	await created('first', { before: a })
	await created('middle', { after: a })
	await created('last')
	await created('also middle', { before: b })
	expect(await order()).toEqual(['first', 'a', 'middle', 'also middle', 'b', 'last'])
})

test('room between two rules never runs out', async () => {
	const first = await created('first')
	await created('last')
	for (let i = 0; i < 30; i++) await created(String(i), { after: first })
	const wanted = ['first', ...Array.from({ length: 30 }, (_, i) => String(29 - i)), 'last']
	expect(await order()).toEqual(wanted)
})

test('user rules stay before learned ones, even when they fill their room to its end', async () => {
	await learned('learned')
	const first = await created('first')
	await it.fleet.store.write((tx) =>
		tx
			.update(rules)
			.set({ position: LEARNED_POSITION_MIN - 1 })
			.where(eq(rules.id, first)),
	)
	await created('second')
	expect(await order()).toEqual(['first', 'second', 'learned'])
})

test('a moved rule keeps its number', async () => {
	const [a, b, c] = [await created('a'), await created('b'), await created('c')]
	const move = (id: number, body: object) =>
		it.call(`POST /v1/rules/${id}/move`, { as: 'operator', body, revision: '*' })
	await move(c, { before: a })
	expect(await order()).toEqual(['c', 'a', 'b'])
	await move(c, { after: a })
	expect(await order()).toEqual(['a', 'c', 'b'])
	const { json } = await move(a, {})
	expect(json.id).toBe(a)
	expect(await order()).toEqual(['c', 'b', 'a'])
	expect((await move(b, { before: b })).status).toBe(200)
	expect(await order()).toEqual(['c', 'b', 'a'])
})

test('a change names the revision it is meant for', async () => {
	const route = `/v1/rules/${await created('a')}`
	const patch = (call: object) =>
		it.call(`PATCH ${route}`, { as: 'operator', body: { action: 'deny' }, ...call })
	expect((await patch({})).status).toBe(428)
	expect((await patch({ revision: 7 })).status).toBe(412)
	expect((await patch({ headers: { 'if-match': 'W/"1"' } })).status).toBe(412)
	expect((await it.call(`GET ${route}`, { as: 'viewer' })).json.action).toBe('allow')
	const { status, headers, json } = await patch({ revision: 1 })
	expect([status, headers.get('etag'), json.action]).toEqual([200, '"2"', 'deny'])
	expect((await patch({ revision: 1 })).status).toBe(412)
	expect((await it.call(`DELETE ${route}`, { as: 'operator' })).status).toBe(428)
	expect((await it.call(`DELETE ${route}`, { as: 'operator', revision: 2 })).status).toBe(204)
	expect((await it.call(`GET ${route}`, { as: 'viewer' })).status).toBe(404)
})

test('only what nodes read raises the generation', async () => {
	const id = await created('a')
	const patch = (body: object) =>
		it.call(`PATCH /v1/rules/${id}`, { as: 'operator', body, revision: '*' })
	const steps = []
	for (const body of [
		{ comment: 'b' },
		{ isEnabled: false },
		{ action: 'deny' },
		{ isEnabled: true },
	]) {
		await patch(body)
		steps.push(await generation())
	}
	expect(steps).toEqual([1, 2, 2, 3])
	expect(it.fleet.counts.documents).toBe(3)
})

test('a rule says only what can be', async () => {
	const pointersOf = async (body: object) => {
		const { status, json } = await create({ ...WEB, ...body })
		expect(status).toBe(422)
		return json.errors.map((fault: { pointer: string }) => fault.pointer)
	}
	expect(await pointersOf({ from: 'nobody' })).toEqual(['/from'])
	expect(await pointersOf({ to: 'nobody' })).toEqual(['/to'])
	expect(await pointersOf({ ports: ['tcp/99999'] })).toEqual(['/ports/0'])
	expect(await pointersOf({ ports: ['tcp/20-10'] })).toEqual(['/ports/0'])
	expect(await pointersOf({ ports: [] })).toEqual(['/ports'])
	expect(await pointersOf({ applications: ['http', 'gopher'] })).toEqual(['/applications/1'])
	expect(await pointersOf({ 'a/b~c': 1 })).toEqual(['/a~1b~0c'])
	expect(await pointersOf({ before: 1, after: 2 })).toEqual(['/after'])
	expect(await pointersOf({ before: 4711 })).toEqual(['/before'])
	expect(await order()).toEqual([])
	expect(await generation()).toBe(0)
})

test('a learned rule can be switched, commented and removed, not rewritten or moved', async () => {
	const id = await learned('learned')
	const call = { as: 'operator', revision: '*' } as const
	const rewritten = await it.call(`PATCH /v1/rules/${id}`, { ...call, body: { action: 'deny' } })
	expect(rewritten).toMatchObject({ status: 422, json: { errors: [{ pointer: '/action' }] } })
	const body = { isEnabled: false, comment: 'no' }
	expect((await it.call(`PATCH /v1/rules/${id}`, { ...call, body })).json).toMatchObject(body)
	expect((await it.call(`POST /v1/rules/${id}/move`, { ...call, body: {} })).status).toBe(409)
	expect((await create({ ...WEB, after: id })).status).toBe(422)
	expect((await it.call(`DELETE /v1/rules/${id}`, call)).status).toBe(204)
})

test('the list is filtered and paged without holes or repeats', async () => {
	for (let i = 0; i < 25; i++) await created(String(i))
	await learned('learned')
	const seen: string[] = []
	let cursor: string | null = ''
	while (cursor !== null) {
		const query: string = cursor === '' ? '' : `&cursor=${cursor}`
		const { json } = await it.call(`GET /v1/rules?limit=7${query}`, { as: 'viewer' })
		seen.push(...json.items.map((rule: { comment: string }) => rule.comment))
		expect(json.items.length).toBeLessThanOrEqual(7)
		cursor = json.next
	}
	expect(seen).toEqual([...Array.from({ length: 25 }, (_, i) => String(i)), 'learned'])
	const onlyLearned = await it.call('GET /v1/rules?isLearned=true', { as: 'viewer' })
	expect(onlyLearned.json.items).toHaveLength(1)
	const ofGroup = await it.call('GET /v1/rules?group=containers', { as: 'viewer' })
	expect(ofGroup.json.items).toHaveLength(0)
})

test('every write is audited with its author, before and after', async () => {
	const id = await created('a')
	const call = { as: 'operator', revision: '*' } as const
	await it.call(`PATCH /v1/rules/${id}`, { ...call, body: { action: 'deny' } })
	await it.call(`PATCH /v1/rules/${id}`, { ...call, body: { from: 'nobody' } })
	await it.call(`DELETE /v1/rules/${id}`, call)
	const rows = await it.fleet.store.db
		.select()
		.from(audits)
		.where(eq(audits.target, `rule:${id}`))
	expect(rows.map(({ action }) => action)).toEqual(['rule.create', 'rule.update', 'rule.delete'])
	expect(rows[1]).toMatchObject({ before: { action: 'allow' }, after: { action: 'deny' } })
	const keyId = it.keys.operator.split('_')[1]
	expect(new Set(rows.map(({ actor }) => actor))).toEqual(new Set([`key:${keyId}`]))
	const { json } = await it.call(`GET /v1/audits?target=rule:${id}`, { as: 'admin' })
	expect(json.items.map(({ action }: { action: string }) => action)).toEqual([
		'rule.delete',
		'rule.update',
		'rule.create',
	])
})

function create(body: object) {
	return it.call('POST /v1/rules', { as: 'operator', body })
}

async function created(comment: string, place: object = {}): Promise<number> {
	const { status, json } = await create({ ...WEB, comment, ...place })
	expect(status).toBe(201)
	return json.id
}

async function learned(comment: string): Promise<number> {
	await it.fleet.store.write((tx) =>
		tx
			.insert(groups)
			.values({ name: 'rf.web.shop', kind: 'learned', mode: 'discover', createdAt: 1 }),
	)
	const [row] = await it.fleet.store.write((tx) =>
		tx
			.insert(rules)
			.values({
				position: LEARNED_POSITION_MIN,
				fromGroup: 'rf.web.shop',
				toGroup: 'external',
				ports: ['any'],
				applications: ['http'],
				action: 'allow',
				isLearned: true,
				comment,
				createdAt: 1,
				updatedAt: 1,
			})
			.returning({ id: rules.id }),
	)
	return row?.id ?? 0
}

async function order(): Promise<string[]> {
	const { json } = await it.call('GET /v1/rules', { as: 'viewer' })
	return json.items.map((rule: { comment: string }) => rule.comment)
}

function generation(): Promise<number> {
	return readGeneration(it.fleet.store.db, 'policy')
}
