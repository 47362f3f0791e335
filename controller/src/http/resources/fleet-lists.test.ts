import type { SessionAction } from '@ringfence/shared/contract/telemetry'
import { beforeEach, expect, test } from 'vitest'
import { ensureCluster } from '../../fleet/cluster.ts'
import {
	conversation,
	joinAgent,
	type TestAgent,
	violation,
	workload,
} from '../../fleet/test-fleet.ts'
import { openTestApp, type TestApp } from '../test-app.ts'

let it: TestApp
let agent: TestAgent

beforeEach(async () => {
	it = await openTestApp()
	agent = await joinAgent(it.fleet, 'n1', ['10.0.0.1/24'])
	await agent.report([workload('web', ['10.0.0.2/24']), workload('db', ['10.0.0.3/24'])])
})

test('a node shows what it runs of each document, and what it should run', async () => {
	const { epoch } = await ensureCluster(it.fleet)
	await it.call('PATCH /v1/groups/nodes', { as: 'admin', revision: '*', body: { mode: 'monitor' } })
	const documentsOf = async () =>
		(await it.call('GET /v1/nodes/n1', { as: 'viewer' })).json.documents
	const [policy] = await documentsOf()
	expect(policy).toMatchObject({ document: 'policy', state: 'unknown', isCurrent: false })
	const current = policy.currentGeneration
	await tell({ generation: current - 1, state: 'applied' })
	expect((await documentsOf())[0]).toMatchObject({ generation: current - 1, isCurrent: false })
	expect(await progress()).toMatchObject({ applied: 0, rejected: 0, behind: 1 })
	await tell({ generation: current, state: 'rejected', why: 'no such application' })
	expect((await documentsOf())[0]).toMatchObject({ state: 'rejected', why: 'no such application' })
	expect(await progress()).toMatchObject({ applied: 0, rejected: 1, behind: 0 })
	await tell({ generation: current, state: 'applied' })
	expect((await documentsOf())[0]).toMatchObject({ state: 'applied', isCurrent: true })
	expect(await progress()).toMatchObject({ applied: 1, rejected: 0, behind: 0 })

	async function tell(status: { generation: number; state: 'applied' | 'rejected'; why?: string }) {
		const stamp = { v: 1, boot: agent.boot, document: 'policy', epoch, at: 1 } as const
		await it.fleet.intake.status('n1', { ...stamp, ...status })
	}

	async function progress() {
		const { json } = await it.call('GET /v1/policy/status', { as: 'viewer' })
		expect(json).toMatchObject({ nodes: 1, nodesUp: 1 })
		return json.documents[0]
	}
})

test('nodes and workloads are listed and filtered', async () => {
	await joinAgent(it.fleet, 'n2')
	await it.fleet.intake.presence('n2', { v: 1, boot: 'n2-boot1', isUp: false, at: 1 })
	expect(await idsOf('nodes')).toEqual(['n1', 'n2'])
	expect(await idsOf('nodes?isUp=false')).toEqual(['n2'])
	expect(await idsOf('workloads')).toEqual(['db', 'web'])
	expect(await idsOf('workloads?node=n2')).toEqual([])
	expect(await idsOf('workloads?group=rf.web.shop')).toEqual(['web'])
	await agent.report([workload('db', ['10.0.0.3/24'])])
	expect(await idsOf('workloads')).toEqual(['db'])
	expect(await idsOf('workloads?state=gone')).toEqual(['web'])
	expect(await idsOf('workloads?state=all')).toEqual(['db', 'web'])
})

test('a removed node is gone with its workloads', async () => {
	const call = { as: 'admin', revision: '*' } as const
	expect((await it.call('DELETE /v1/nodes/n1', call)).status).toBe(204)
	expect((await it.call('DELETE /v1/nodes/n1', call)).status).toBe(404)
	expect(await idsOf('workloads?state=all')).toEqual([])
})

test('a conversation names both ends and shows the greater sums', async () => {
	const ends = { workload: 'web', peerAddress: '10.0.0.3', application: 'redis' } as const
	await agent.send(
		conversation({ ...ends, serverPort: 6379, sessions: 2, clientBytes: 100 }),
		conversation({
			...ends,
			workload: 'db',
			peerAddress: '10.0.0.2',
			side: 'server',
			serverPort: 6379,
			sessions: 1,
			clientBytes: 300,
		}),
		conversation({ workload: 'web', peerAddress: '192.0.2.9', serverPort: 4444 }),
	)
	const { json } = await it.call('GET /v1/conversations?application=redis', { as: 'viewer' })
	expect(json.items).toHaveLength(1)
	expect(json.items[0]).toMatchObject({
		client: { id: 'workload:web', kind: 'workload', name: 'web', group: 'rf.web.shop' },
		server: { id: 'workload:db', kind: 'workload', name: 'db', group: 'rf.db.shop' },
		application: 'redis',
		sessions: 2,
		clientBytes: 300,
	})
	const unknown = await it.call('GET /v1/conversations?application=unknown', { as: 'viewer' })
	expect(unknown.json.items[0]).toMatchObject({
		server: { kind: 'external', name: '192.0.2.9', group: 'external' },
		application: null,
	})
	const filtered = async (query: string) =>
		(await it.call(`GET /v1/conversations?${query}`, { as: 'viewer' })).json.items.length
	expect(await filtered('workload=db')).toBe(1)
	expect(await filtered('group=rf.web.shop')).toBe(2)
	expect(await filtered('action=deny')).toBe(0)
	expect(await filtered('sort=recent&since=0')).toBe(2)
	expect(await filtered(`since=${it.fleet.clock.now() + 1}`)).toBe(0)
})

test.each(['id', 'recent'])(
	'conversations by %s are paged without holes or repeats',
	async (sort) => {
		const records = Array.from({ length: 23 }, (_, i) =>
			conversation({ workload: 'web', peerAddress: `192.0.2.${i}`, lastAt: 1000 + (i % 5) }),
		)
		await agent.send(...records)
		const seen: number[] = []
		let cursor: string | null = ''
		while (cursor !== null) {
			const query: string = cursor === '' ? '' : `&cursor=${cursor}`
			const route = `GET /v1/conversations?limit=4&sort=${sort}${query}`
			const { json } = await it.call(route, { as: 'viewer' })
			seen.push(...json.items.map(({ id }: { id: number }) => id))
			cursor = json.next
		}
		expect(seen).toHaveLength(23)
		expect(new Set(seen).size).toBe(23)
	},
)

test('the graph has one edge for each pair of groups', async () => {
	const ends = { workload: 'web', peerAddress: '10.0.0.3' }
	await agent.send(
		conversation({ ...ends, serverPort: 6379, application: 'redis', sessions: 3 }),
		conversation({ ...ends, serverPort: 80, application: 'http', sessions: 1 }),
		conversation({ ...ends, serverPort: 9999, sessions: 1, action: 'violate' }),
		conversation({ workload: 'web', peerAddress: '192.0.2.9', application: 'tls' }),
	)
	const { json } = await it.call('GET /v1/graph', { as: 'viewer' })
	expect(json.isTruncated).toBe(false)
	expect(json.nodes.map(({ group }: { group: string }) => group)).toEqual([
		'external',
		'rf.db.shop',
		'rf.web.shop',
	])
	expect(json.edges).toHaveLength(2)
	expect(json.edges[0]).toMatchObject({
		from: 'rf.web.shop',
		to: 'rf.db.shop',
		applications: ['http', 'redis'],
		ports: ['tcp/9999'],
		action: 'violate',
		sessions: 5,
	})
})

test('an edge shows the gravest of its recent states, not what was once', async () => {
	const actionAfter = async (ms: number, action: SessionAction, application: 'http' | 'tls') => {
		it.fleet.pass(ms)
		const at = it.fleet.clock.now()
		const more = { action, application, firstAt: at, lastAt: at }
		await agent.send(conversation({ workload: 'web', peerAddress: '10.0.0.3', ...more }))
		const { json } = await it.call('GET /v1/graph', { as: 'viewer' })
		return json.edges[0].action
	}
	const minute = 60_000
	expect(await actionAfter(0, 'learn', 'http')).toBe('learn')
	expect(await actionAfter(minute, 'allow', 'tls')).toBe('learn')
	expect(await actionAfter(minute, 'allow', 'http')).toBe('allow')
	expect(await actionAfter(minute, 'violate', 'tls')).toBe('violate')
	expect(await actionAfter(minute, 'allow', 'tls')).toBe('violate')
	expect(await actionAfter(60 * minute, 'allow', 'http')).toBe('allow')
})

test('events are listed newest first and filtered', async () => {
	await agent.send(violation({ workload: 'web', peerAddress: '192.0.2.9' }))
	await agent.send({
		kind: 'agent',
		name: 'ring-lost',
		severity: 'low',
		message: 'frames lost',
		count: 3,
		at: it.fleet.clock.now(),
	})
	const listed = async (query: string) =>
		(await it.call(`GET /v1/events?${query}`, { as: 'viewer' })).json.items.map(
			({ kind }: { kind: string }) => kind,
		)
	expect(await listed('')).toEqual(['agent', 'violation'])
	expect(await listed('kind=violation')).toEqual(['violation'])
	expect(await listed('severity=medium')).toEqual(['violation'])
	expect(await listed('group=rf.web.shop')).toEqual(['violation'])
	expect(await listed('node=n1')).toHaveLength(2)
	expect(await listed(`since=${it.fleet.clock.now() + 1}`)).toEqual([])
	const { json } = await it.call('GET /v1/events?limit=1', { as: 'viewer' })
	const [event] = json.items
	expect((await it.call(`GET /v1/events/${event.id}`, { as: 'viewer' })).json).toEqual(event)
	expect(await listed(`limit=1&cursor=${json.next}`)).toEqual(['violation'])
})

async function idsOf(list: string): Promise<string[]> {
	const { json } = await it.call(`GET /v1/${list}`, { as: 'viewer' })
	return json.items.map(({ id }: { id: string }) => id)
}
