import { decodeMessage, inflate } from '@ringfence/shared/contract/codec'
import { type Head, headSchema, signedHeadSchema } from '@ringfence/shared/contract/messages'
import {
	type AddressEntry,
	addressesShardSchema,
	type PolicyEntry,
	policyShardSchema,
	shardOf,
} from '@ringfence/shared/contract/policy'
import { agentTopics, type DocumentName } from '@ringfence/shared/contract/topics'
import { eq } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { groups, rules } from '../../db/schema.ts'
import { ensureCluster, raiseEpoch } from '../cluster.ts'
import { raiseGeneration } from '../revisions.ts'
import { fromBase64 } from '../secrets.ts'
import { joinAgent, openTestFleet, START_MS, type TestFleet, workload } from '../test-fleet.ts'
import { createPublisher, type Publisher } from './publisher.ts'

let fleet: TestFleet
let publisher: Publisher

beforeEach(async () => {
	fleet = await openTestFleet()
	publisher = createPublisher(fleet)
})

afterEach(async () => {
	await publisher.close()
	await fleet.store.close()
	vi.useRealTimers()
})

const web = workload('web', ['10.0.0.2/24', 'fd00::2/64'], { labels: { tier: 'front' } })
const api = workload('api', ['10.0.0.3/24'])

/** What a node of an agent sees at its topics: the last retained message of each. */
async function retained(node: string): Promise<ReadonlyMap<string, Uint8Array>> {
	const { id } = await ensureCluster(fleet)
	const prefix = agentTopics(id, node).downFilter.slice(0, -1)
	return new Map(
		fleet.published
			.filter(({ topic }) => topic.startsWith(prefix))
			.map(({ topic, payload }) => [topic.slice(prefix.length), payload]),
	)
}

async function sha256(bytes: Uint8Array): Promise<string> {
	const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)
	return Buffer.from(digest).toString('hex')
}

/** Puts a document together as an agent does: signature, identity, digests, schemas, place of each entry. */
async function receive<Name extends DocumentName>(
	node: string,
	document: Name,
): Promise<{
	head: Head
	entries: Map<string, Name extends 'policy' ? PolicyEntry : AddressEntry>
}> {
	const { controllerKey, keyId, id, epoch } = await ensureCluster(fleet)
	const messages = await retained(node)
	const signed = await decodeMessage(
		signedHeadSchema,
		messages.get(`${document}/head`) ?? new Uint8Array(),
	)
	if (!signed.ok) throw new Error(signed.why)
	const raw = fromBase64(controllerKey)
	const key = await crypto.subtle.importKey('raw', raw, 'Ed25519', false, ['verify'])
	const { body, signature } = signed.value
	const isGenuine = await crypto.subtle.verify(
		'Ed25519',
		key,
		fromBase64(signature),
		new TextEncoder().encode(body),
	)
	expect(isGenuine).toBe(true)
	expect(signed.value.keyId).toBe(keyId)
	const head = headSchema.parse(JSON.parse(body))
	expect(head).toMatchObject({ cluster: id, epoch, node, document })
	const entries = new Map()
	for (const [index, digest] of head.shards.entries()) {
		const bytes = messages.get(`${document}/${index}`) ?? new Uint8Array()
		expect(await sha256(bytes)).toBe(digest)
		const json: unknown = JSON.parse(new TextDecoder().decode(await inflate(bytes)))
		const schema = document === 'policy' ? policyShardSchema : addressesShardSchema
		for (const [entryKey, entry] of Object.entries(schema.parse(json))) {
			expect(shardOf(entryKey, head.shards.length)).toBe(index)
			entries.set(entryKey, entry)
		}
	}
	return { head, entries }
}

async function addRules(count: number): Promise<void> {
	await fleet.store.write(async (tx) => {
		for (let at = 0; at < count; at += 500) {
			await tx.insert(rules).values(
				Array.from({ length: Math.min(500, count - at) }, (_, i) => ({
					position: 1000 * (at + i + 1),
					fromGroup: 'rf.web.shop',
					toGroup: `rf.api${at + i}.shop`,
					ports: ['tcp/80', 'udp/1000-2000'],
					applications: ['any'],
					action: 'allow' as const,
					isLearned: false,
					createdAt: START_MS,
					updatedAt: START_MS,
				})),
			)
		}
		await raiseGeneration(tx, 'policy')
	})
}

describe('the documents', () => {
	test('hold settings, modes and enabled rules, and pass the contract’s schemas', async () => {
		const agent = await joinAgent(fleet, 'n-1', ['192.168.1.5/24'])
		await agent.report([web, api])
		await addRules(2)
		await fleet.store.write(async (tx) => {
			await tx.update(rules).set({ isEnabled: false }).where(eq(rules.position, 2000))
			await tx.update(groups).set({ mode: 'protect' }).where(eq(groups.name, 'rf.web.shop'))
		})
		await publisher.publishAll()
		const { entries } = await receive('n-1', 'policy')
		expect(Object.fromEntries(entries)).toEqual({
			settings: {
				kind: 'settings',
				newServiceMode: 'discover',
				fleetNetworks: ['10.0.0.0/24', 'fd00::/64'],
			},
			'group:nodes': { kind: 'group', name: 'nodes', mode: 'discover' },
			'group:rf.api.shop': { kind: 'group', name: 'rf.api.shop', mode: 'discover' },
			'group:rf.web.shop': { kind: 'group', name: 'rf.web.shop', mode: 'protect' },
			'rule:1': {
				kind: 'rule',
				id: '1',
				order: 1000,
				from: 'rf.web.shop',
				to: 'rf.api0.shop',
				ports: ['tcp/80', 'udp/1000-2000'],
				applications: ['any'],
				action: 'allow',
			},
		})
	})

	test('say who is behind every address, with learned, reserved and custom groups', async () => {
		const agent = await joinAgent(fleet, 'n-1', ['192.168.1.5/24'])
		await agent.report([web, api])
		await agent.report([web, api, workload('old', ['10.0.0.4/24'])])
		await agent.report([web, api])
		await fleet.store.write(async (tx) => {
			const made = { kind: 'custom' as const, createdAt: START_MS }
			await tx.insert(groups).values([
				{ name: 'front', criteria: [{ key: 'label:tier', op: '=', value: 'front' }], ...made },
				{
					name: 'office',
					criteria: [
						{ key: 'address', op: '=', value: '203.0.113.0/24' },
						{ key: 'address', op: '=', value: '10.0.0.3/32' },
					],
					...made,
				},
			])
			await raiseGeneration(tx, 'addresses')
		})
		await publisher.publishAll()
		const { entries } = await receive('n-1', 'addresses')
		const front = ['rf.web.shop', 'containers', 'front']
		expect(Object.fromEntries(entries)).toEqual({
			'10.0.0.2/32': { network: '10.0.0.2/32', kind: 'workload', id: 'web', groups: front },
			'fd00::2/128': { network: 'fd00::2/128', kind: 'workload', id: 'web', groups: front },
			'10.0.0.3/32': {
				network: '10.0.0.3/32',
				kind: 'workload',
				id: 'api',
				groups: ['rf.api.shop', 'containers', 'office'],
			},
			'192.168.1.5/32': { network: '192.168.1.5/32', kind: 'node', id: 'n-1', groups: ['nodes'] },
			'203.0.113.0/24': {
				network: '203.0.113.0/24',
				kind: 'custom',
				id: 'office',
				groups: ['office'],
			},
		})
	})

	test('are spread over shards by size, equal on every node', async () => {
		await joinAgent(fleet, 'n-1')
		await joinAgent(fleet, 'n-2')
		await addRules(2500)
		await publisher.publishAll()
		const [first, second] = [await receive('n-1', 'policy'), await receive('n-2', 'policy')]
		expect(first.head.shards).toHaveLength(16)
		expect(first.entries.size).toBe(2502)
		expect(second.head.shards).toEqual(first.head.shards)
	})

	test('come out the same from another controller on the same database', async () => {
		await joinAgent(fleet, 'n-1')
		await addRules(200)
		await publisher.publishAll()
		const { head } = await receive('n-1', 'policy')
		fleet.published.length = 0
		const other = createPublisher(fleet)
		await other.publishAll()
		expect((await receive('n-1', 'policy')).head.shards).toEqual(head.shards)
		await other.close()
	})
})

describe('publishing', () => {
	const topics = () => fleet.published.map(({ topic }) => topic.split('/').slice(4).join('/'))

	test('puts all shards of a document before its head, all retained', async () => {
		await joinAgent(fleet, 'n-1')
		await addRules(2500)
		await publisher.publishAll()
		const order = topics().filter((topic) => topic.includes('policy'))
		expect(order).toHaveLength(17)
		expect(order.at(-1)).toBe('n-1/down/policy/head')
		expect(fleet.published.every(({ isRetained }) => isRetained)).toBe(true)
	})

	test('joins changes, and brings only the shards and heads that they touch', async () => {
		vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
		await joinAgent(fleet, 'n-1')
		await joinAgent(fleet, 'n-2')
		await addRules(2500)
		await publisher.publishAll()
		fleet.published.length = 0
		for (const position of [1000, 2000]) {
			await fleet.store.write(async (tx) => {
				await tx.update(rules).set({ action: 'deny' }).where(eq(rules.position, position))
				await raiseGeneration(tx, 'policy')
			})
			publisher.changed()
		}
		expect(topics()).toEqual([])
		vi.advanceTimersByTime(100)
		await publisher.settled()
		const ofFirst = topics().filter((topic) => topic.startsWith('n-1/'))
		const touched = new Set(['rule:1', 'rule:2'].map((key) => shardOf(key, 16)))
		expect(ofFirst).toHaveLength(touched.size + 1)
		expect(topics()).toHaveLength(2 * (touched.size + 1))
		expect(ofFirst.at(-1)).toBe('n-1/down/policy/head')
	})

	test('does nothing when nothing changed', async () => {
		await joinAgent(fleet, 'n-1')
		await publisher.publishAll()
		fleet.published.length = 0
		vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
		publisher.changed()
		vi.advanceTimersByTime(100)
		await publisher.settled()
		expect(topics()).toEqual([])
	})

	test('brings everything again to a node that says hello, and only to it', async () => {
		vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
		const agent = await joinAgent(fleet, 'n-1')
		await joinAgent(fleet, 'n-2')
		await publisher.publishAll()
		fleet.published.length = 0
		fleet.time.now++
		await agent.hello()
		publisher.changed()
		vi.advanceTimersByTime(100)
		await publisher.settled()
		expect(topics().sort()).toEqual([
			'n-1/down/addresses/0',
			'n-1/down/addresses/head',
			'n-1/down/policy/0',
			'n-1/down/policy/head',
		])
	})

	test('brings everything again on demand, and to a node that is new', async () => {
		await joinAgent(fleet, 'n-1')
		await publisher.publishAll()
		await joinAgent(fleet, 'n-2')
		await publisher.publishAll()
		expect(topics().filter((topic) => topic === 'n-1/down/policy/0')).toHaveLength(2)
		expect((await receive('n-2', 'policy')).entries.has('settings')).toBe(true)
	})

	test('tries again after the broker refused, and leaves nothing out', async () => {
		vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
		await joinAgent(fleet, 'n-1')
		await addRules(2500)
		fleet.broker.refuses = true
		await publisher.publishAll()
		expect(topics()).toEqual([])
		fleet.broker.refuses = false
		vi.advanceTimersByTime(1000)
		await publisher.settled()
		expect((await receive('n-1', 'policy')).entries.size).toBe(2502)
	})

	test('clears the shards that a document has no more, also those of an earlier run', async () => {
		await joinAgent(fleet, 'n-1')
		await addRules(2000)
		await publisher.publishAll()
		const { head } = await receive('n-1', 'policy')
		expect(head.shards.length).toBeGreaterThan(2)
		await fleet.store.write(async (tx) => {
			await tx.delete(rules)
			await raiseGeneration(tx, 'policy')
		})
		const restarted = createPublisher(fleet)
		await restarted.publishAll()
		const left = [...(await retained('n-1'))]
			.filter(([topic, payload]) => topic.startsWith('policy/') && payload.length > 0)
			.map(([topic]) => topic)
		expect(left.sort()).toEqual(['policy/0', 'policy/head'])
		const count = fleet.published.length
		await restarted.publishAll()
		const cleared = fleet.published.slice(count).filter(({ payload }) => payload.length === 0)
		expect(cleared).toHaveLength(head.shards.length - 1)
		await restarted.close()
	})

	test('brings every head again, and no shard, when a new epoch begins', async () => {
		await joinAgent(fleet, 'n-1')
		await publisher.publishAll()
		const before = fleet.published.length
		await fleet.store.write((tx) => raiseEpoch(tx, START_MS + 1, START_MS))
		publisher.changed()
		await vi.waitFor(() => expect(fleet.published).toHaveLength(before + 2))
		expect((await receive('n-1', 'policy')).head.epoch).toBe(START_MS + 1)
		expect((await receive('n-1', 'addresses')).head.epoch).toBe(START_MS + 1)
	})

	test('brings the others theirs when the broker refuses what is for one node', async () => {
		const ids = Array.from({ length: 40 }, (_, i) => `n-${i}`)
		for (const id of ids) await joinAgent(fleet, id)
		const refusing: TestFleet = {
			...fleet,
			bus: {
				publish: async (topic, payload, how) => {
					if (topic.includes('/n-0/')) throw Object.assign(new Error('no'), { code: 'refused' })
					await fleet.bus.publish(topic, payload, how)
				},
			},
		}
		const other = createPublisher(refusing)
		await other.publishAll()
		await other.close()
		const heads = fleet.published.filter(({ topic }) => topic.endsWith('policy/head'))
		expect(heads).toHaveLength(ids.length - 1)
	})

	test('trusts nothing that it remembers when another controller has published meanwhile', async () => {
		vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
		await joinAgent(fleet, 'n-1')
		await publisher.publishAll()
		const other = createPublisher(fleet)
		await other.publishAll()
		fleet.published.length = 0
		publisher.changed()
		vi.advanceTimersByTime(100)
		await publisher.settled()
		expect(topics()).toHaveLength(4)
		await other.close()
	})
})
