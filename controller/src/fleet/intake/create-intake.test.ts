import type { DocumentStatus } from '@ringfence/shared/contract/messages'
import { DOCUMENTS } from '@ringfence/shared/contract/topics'
import { asc, eq } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
	addresses,
	audits,
	events,
	groups,
	nodeDocuments,
	nodes,
	settings,
	workloads,
} from '../../db/schema.ts'
import { ageOut } from '../aging.ts'
import { ensureCluster } from '../cluster.ts'
import { readGeneration } from '../desired/documents.ts'
import { removeNode } from '../nodes/nodes.ts'
import type { Expected } from '../refusal.ts'
import { raiseGeneration } from '../revisions.ts'
import {
	conversation,
	joinAgent,
	openTestFleet,
	START_MS,
	TestAgent,
	type TestFleet,
	workload,
} from '../test-fleet.ts'
import { UNKNOWN_NODES_KEY } from './create-intake.ts'

let fleet: TestFleet

beforeEach(async () => {
	fleet = await openTestFleet()
})

afterEach(() => fleet.store.close())

const web = workload('web', ['10.0.0.2/24', 'fe80::2/64'])
const api = workload('api', ['10.0.0.3/24'])

const node = async (id = 'n-1') =>
	(await fleet.store.db.select().from(nodes).where(eq(nodes.id, id))).at(0)
const learnedGroups = () =>
	fleet.store.db.select().from(groups).where(eq(groups.kind, 'learned')).orderBy(asc(groups.name))
const generations = async () => [
	await readGeneration(fleet.store.db, 'policy'),
	await readGeneration(fleet.store.db, 'addresses'),
]
const presence = (boot: string, isUp: boolean) =>
	fleet.intake.presence('n-1', { v: 1, boot, isUp, at: START_MS })

describe('presence', () => {
	test('follows the agent’s present run', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		expect((await node())?.isUp).toBe(true)
		await presence(agent.boot, false)
		expect((await node())?.isUp).toBe(false)
		await presence(agent.boot, true)
		expect((await node())?.isUp).toBe(true)
	})

	test('an old run’s will does not bury a new run, before or after its hello', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		await presence('n-1-boot2', true)
		await presence(agent.boot, false)
		expect((await node())?.isUp).toBe(true)
		const old = agent.boot
		agent.boot = 'n-1-boot2'
		await agent.hello()
		await presence(old, false)
		expect((await node())?.isUp).toBe(true)
	})
})

describe('a message of a node that does not exist', () => {
	test('is refused and counted, whatever it says', async () => {
		const stranger = new TestAgent(fleet, 'n-x')
		const refused = { code: 'not-found' }
		await expect(stranger.hello()).rejects.toMatchObject(refused)
		await expect(stranger.report([web])).rejects.toMatchObject(refused)
		await expect(stranger.send()).rejects.toMatchObject(refused)
		await expect(fleet.intake.rejected('n-x', 'hello', 'why')).rejects.toMatchObject(refused)
		const [row] = await fleet.store.db
			.select()
			.from(settings)
			.where(eq(settings.key, UNKNOWN_NODES_KEY))
		expect(row?.value).toBe(4)
		expect(await fleet.store.db.$count(workloads)).toBe(0)
	})
})

describe('hello', () => {
	test('keeps facts and the node’s global addresses in canonical form, none that are local', async () => {
		const agent = await joinAgent(fleet, 'n-1', [
			'192.168.1.5/24',
			'127.0.0.1/8',
			'169.254.0.9/16',
			'::1/128',
			'fe80::1/64',
			'2001:DB8:0::5/64',
			'10.0.0.1/0',
		])
		expect(await node()).toMatchObject({ boot: agent.boot, isUp: true, facts: { hostname: 'n-1' } })
		const rows = await fleet.store.db.select().from(addresses).orderBy(asc(addresses.address))
		expect(rows.map(({ address, network }) => `${address} ${network}`)).toEqual([
			'10.0.0.1 10.0.0.1/32',
			'192.168.1.5 192.168.1.0/24',
			'2001:db8::5 2001:db8::/64',
		])
	})

	test('raises the address map’s generation only when addresses change, and no policy’s', async () => {
		const agent = await joinAgent(fleet, 'n-1', ['192.168.1.5/24'])
		const [policy = 0, map = 0] = await generations()
		await agent.hello(['192.168.1.5/24'])
		expect(await generations()).toEqual([policy, map])
		await agent.hello(['192.168.1.6/24'])
		expect(await generations()).toEqual([policy, map + 1])
		await agent.hello(['192.168.2.6/24'])
		expect(await generations()).toEqual([policy, map + 2])
	})

	test('tells what is in force, without undoing the news of a later refusal', async () => {
		await fleet.store.write(async (tx) => {
			for (let i = 0; i < 10; i++) for (const name of DOCUMENTS) await raiseGeneration(tx, name)
		})
		const agent = await joinAgent(fleet, 'n-1')
		const status: DocumentStatus = {
			v: 1,
			boot: agent.boot,
			document: 'policy',
			epoch: START_MS,
			generation: 7,
			state: 'rejected',
			why: 'rule 3 does not parse',
			at: START_MS,
		}
		await fleet.intake.status('n-1', status)
		const applied = [
			{ document: 'policy' as const, epoch: START_MS, generation: 6 },
			{ document: 'addresses' as const, epoch: START_MS, generation: 9 },
		]
		await agent.hello([], { applied })
		const rows = await fleet.store.db.select().from(nodeDocuments).orderBy(nodeDocuments.document)
		expect(rows).toMatchObject([
			{ document: 'addresses', generation: 9, state: 'applied' },
			{ document: 'policy', generation: 7, state: 'rejected', why: 'rule 3 does not parse' },
		])
		const why = 'policy 7: rule 3 does not parse'
		expect(await fleet.store.db.select().from(events)).toMatchObject([{ severity: 'high', why }])
	})
})

describe('a workloads report', () => {
	test('makes workloads, their addresses and their learned groups in the mode of new services', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		const [policy = 0, map = 0] = await generations()
		await agent.report([web, api, workload('web2', [], { service: 'web' })])
		const rows = await fleet.store.db.select().from(workloads).orderBy(workloads.id)
		expect(rows.map(({ id, groupName }) => `${id} ${groupName}`)).toEqual([
			'api rf.api.shop',
			'web rf.web.shop',
			'web2 rf.web.shop',
		])
		expect(await learnedGroups()).toMatchObject([
			{ name: 'rf.api.shop', mode: 'discover', emptySince: null },
			{ name: 'rf.web.shop', mode: 'discover', emptySince: null },
		])
		expect(await fleet.store.db.$count(addresses)).toBe(2)
		const [policyAfter = 0, mapAfter = 0] = await generations()
		expect(policyAfter).toBeGreaterThan(policy)
		expect(mapAfter).toBe(map + 1)
	})

	test('replaces the set: what is missing is gone, and its group empty since then', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		await agent.report([web, api])
		fleet.time.now += 5000
		await agent.report([web])
		const rows = await fleet.store.db.select().from(workloads).orderBy(workloads.id)
		expect(rows).toMatchObject([
			{ id: 'api', goneAt: fleet.time.now },
			{ id: 'web', goneAt: null },
		])
		expect(await learnedGroups()).toMatchObject([
			{ name: 'rf.api.shop', emptySince: fleet.time.now },
			{ name: 'rf.web.shop', emptySince: null },
		])
		expect((await fleet.store.db.select().from(addresses)).map((row) => row.ownerId)).toEqual([
			'web',
		])
		await agent.report([web, api])
		expect(await learnedGroups()).toMatchObject([{ emptySince: null }, { emptySince: null }])
		const [back] = await fleet.store.db.select().from(workloads).where(eq(workloads.id, 'api'))
		expect(back).toMatchObject({ goneAt: null, firstSeenAt: START_MS })
	})

	test('that is older, repeated or of another run changes nothing', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		await agent.report([web, api], { revision: 5 })
		const before = await generations()
		await agent.report([], { revision: 5 })
		await agent.report([], { revision: 4 })
		await agent.report([], { boot: 'n-1-boot0', revision: 9 })
		expect(await fleet.store.db.$count(addresses)).toBe(2)
		expect(await generations()).toEqual(before)
		agent.boot = 'n-1-boot2'
		await agent.hello()
		await agent.report([web], { revision: 1 })
		expect(await fleet.store.db.$count(addresses)).toBe(1)
	})

	test('that says the same again raises no generation', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		const labelled = workload('web', ['10.0.0.2/24'], { labels: { a: '1', b: '2' } })
		await agent.report([labelled])
		const before = await generations()
		await agent.report([{ ...labelled, labels: { b: '2', a: '1' } }])
		expect(await generations()).toEqual(before)
		await agent.report([{ ...labelled, labels: { b: '3', a: '1' } }])
		expect(await generations()).toEqual([before[0], (before[1] ?? 0) + 1])
	})

	test('moves a workload to the group of its new service', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		await agent.report([web])
		await agent.report([{ ...web, service: 'shopfront' }])
		expect(await learnedGroups()).toMatchObject([
			{ name: 'rf.shopfront.shop', emptySince: null },
			{ name: 'rf.web.shop', emptySince: START_MS },
		])
	})

	test('cannot take over a workload that runs on another node', async () => {
		const [first, second] = [await joinAgent(fleet, 'n-1'), await joinAgent(fleet, 'n-2')]
		await first.report([web])
		await second.report([{ ...web, service: 'evil' }])
		const rows = () => fleet.store.db.select().from(workloads)
		expect(await rows()).toMatchObject([{ id: 'web', nodeId: 'n-1', service: 'web' }])
		expect(await fleet.store.db.select().from(events)).toMatchObject([
			{ name: 'workloads refused', nodeId: 'n-2', count: 1 },
		])
		await first.report([])
		await second.report([web])
		expect(await rows()).toMatchObject([{ id: 'web', nodeId: 'n-2', goneAt: null }])
	})

	test('of hostile names makes groups with names that the contract takes', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		const names = [
			'a b',
			'a/b',
			'a_b',
			'\ud800',
			'\u0000',
			'x'.repeat(256),
			'../..',
			'💥'.repeat(128),
		]
		await agent.report(names.map((service, i) => workload(`w${i}`, [], { service })))
		const made = (await learnedGroups()).map(({ name }) => name)
		expect(new Set(made).size).toBe(names.length)
		for (const name of made) {
			expect(name).toMatch(/^rf\.[^\s/]+$/)
			expect(name.length).toBeLessThanOrEqual(256)
		}
		const rows = await fleet.store.db.select().from(workloads)
		expect(rows.every(({ groupName }) => made.includes(groupName))).toBe(true)
	})

	test('takes the largest number of workloads that a message can hold', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		const many = Array.from({ length: 4096 }, (_, i) =>
			workload(`w${i}`, [`10.1.${i >> 8}.${i & 255}/16`], { service: `s${i % 300}` }),
		)
		await agent.report(many)
		expect(await fleet.store.db.$count(addresses)).toBe(4096)
		await agent.report([])
		expect(await fleet.store.db.$count(addresses)).toBe(0)
		expect((await learnedGroups()).every(({ emptySince }) => emptySince === START_MS)).toBe(true)
	})
})

describe('a message that could not be read', () => {
	test('is counted for its node, and a storm of them is one event', async () => {
		await joinAgent(fleet, 'n-1')
		for (let i = 0; i < 3; i++) {
			await fleet.intake.rejected('n-1', 'telemetry', 'contract version 2 is not 1')
		}
		await fleet.intake.rejected('n-1', 'hello', 'not JSON')
		expect(await node()).toMatchObject({ rejected: 4 })
		expect(await fleet.store.db.select().from(events).orderBy(events.count)).toMatchObject([
			{ count: 1, why: 'hello: not JSON' },
			{ count: 3, why: 'telemetry: contract version 2 is not 1', severity: 'medium' },
		])
	})
})

describe('removing a node', () => {
	test('takes its account, workloads and addresses, and leaves its conversations', async () => {
		const agent = await joinAgent(fleet, 'n-1', ['192.168.1.5/24'])
		fleet.accounts.set('n-1', 'secret')
		await agent.report([web, api])
		await agent.send(
			conversation({ workload: 'web', peerAddress: '10.0.0.3', application: 'http' }),
		)
		const [policy = 0, map = 0] = await generations()
		await remove()
		expect(fleet.accounts.size).toBe(0)
		expect(await fleet.store.db.$count(workloads)).toBe(0)
		expect(await fleet.store.db.$count(addresses)).toBe(0)
		expect(await fleet.store.db.query.conversations.findMany()).toHaveLength(1)
		expect(await learnedGroups()).toMatchObject([
			{ emptySince: START_MS },
			{ emptySince: START_MS },
		])
		expect(await generations()).toEqual([policy + 1, map + 1])
		await expect(agent.send()).rejects.toMatchObject({ code: 'not-found' })
		await expect(remove()).rejects.toMatchObject({ code: 'not-found' })
	})

	test('with a broker that is away is finished when the broker is back', async () => {
		await joinAgent(fleet, 'n-1')
		fleet.accounts.set('n-1', 'secret')
		fleet.broker.refuses = true
		await remove()
		expect(await node()).toBeUndefined()
		expect(await fleet.store.db.select().from(audits)).toMatchObject([{ action: 'node.delete' }])
		expect(fleet.accounts.size).toBe(1)
		fleet.broker.refuses = false
		await ageOut(fleet)
		expect(fleet.accounts.size).toBe(0)
		fleet.accounts.set('n-1', 'another')
		await ageOut(fleet)
		expect(fleet.accounts.size).toBe(1)
	})

	test('that has changed since it was looked at removes nothing', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		const seen = (await node())?.revision ?? 0
		await agent.hello()
		await expect(remove(seen)).rejects.toMatchObject({ code: 'stale' })
		expect(await node()).toBeDefined()
	})

	const remove = (expected: Expected = '*') =>
		removeNode(fleet, { actor: 'system', now: fleet.time.now }, { id: 'n-1', expected })
})

describe('a status', () => {
	const status = (more: Partial<DocumentStatus>) =>
		fleet.intake.status('n-1', {
			...{ v: 1, boot: 'n-1-boot1', document: 'policy', epoch: START_MS, generation: 1 },
			...{ state: 'applied', at: START_MS - 1 },
			...more,
		})
	const raised = async () => (await fleet.store.db.select().from(events)).map(({ name }) => name)
	const epoch = async () => (await ensureCluster(fleet)).epoch

	beforeEach(async () => {
		await joinAgent(fleet, 'n-1')
	})

	test('that the broker retained raises no second event, however late it comes again', async () => {
		const refusal = { state: 'rejected', why: 'no such application' } as const
		await status(refusal)
		fleet.time.now += 3_600_000
		await status(refusal)
		expect(await raised()).toEqual(['document rejected'])
		await status({ ...refusal, at: START_MS + 1 })
		expect(await raised()).toEqual(['document rejected', 'document rejected'])
	})

	test.each([
		['of the present epoch', { generation: 50 }],
		['of a later epoch', { epoch: START_MS + 2000 }],
	])('of a document %s that was never made begins a new epoch, once', async (_, version) => {
		fleet.time.now += 5000
		const published = fleet.counts.documents
		await status(version)
		expect(await epoch()).toBe(START_MS + 5000)
		expect(await raised()).toEqual(['database older than the fleet'])
		expect(fleet.counts.documents).toBe(published + 1)
		await status({ ...version, at: START_MS })
		expect(await epoch()).toBe(START_MS + 5000)
	})

	test('is found in the hello too', async () => {
		fleet.time.now += 5000
		const agent = new TestAgent(fleet, 'n-1')
		const applied = [{ document: 'addresses', epoch: START_MS, generation: 50 }] as const
		await agent.hello([], { applied: [...applied] })
		expect(await epoch()).toBe(START_MS + 5000)
	})

	test.each([
		['that is as old as ours', {}],
		['of an epoch before ours', { epoch: START_MS - 1, generation: 50 }],
		['of a time to come', { epoch: START_MS + 25 * 3_600_000 }],
		['that was refused', { generation: 50, state: 'rejected' }],
	] as const)('of a document %s begins none', async (_, version) => {
		await fleet.store.write((tx) => raiseGeneration(tx, 'policy'))
		await status(version)
		expect(await epoch()).toBe(START_MS)
	})

	test('of a node that lies again and again begins few', async () => {
		for (const epochAfter of [1, 2, 3]) await status({ epoch: START_MS + epochAfter })
		expect(await epoch()).toBe(START_MS + 2)
	})
})
