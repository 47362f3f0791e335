import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PEER_UNKNOWN } from '@ringfence/shared/contract/reasons'
import type { ConversationRecord } from '@ringfence/shared/contract/telemetry'
import { eq } from 'drizzle-orm'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { conversations, edges, events, heldRecords, ingestCursors, nodes } from '../../db/schema.ts'
import { compareText } from '../nodes/addresses.ts'
import {
	conversation,
	joinAgent,
	openTestFleet,
	START_MS,
	type TestAgent,
	type TestFleet,
	violation,
	workload,
} from '../test-fleet.ts'
import { HELD_MAX, HOLD_MS_MAX } from './held.ts'

let folder: string
let fleet: TestFleet

beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), 'ringfence-telemetry-'))
	fleet = await openTestFleet()
})

afterEach(async () => {
	await fleet.store.close()
	await rm(folder, { recursive: true })
})

const web = workload('web', ['10.0.0.2/24'])
const api = workload('api', ['10.0.0.3/24', 'fd00::3/64'])
const webToApi = (more: Partial<ConversationRecord> = {}) =>
	conversation({ workload: 'web', peerAddress: '10.0.0.3', application: 'http', ...more })
const apiFromWeb = (more: Partial<ConversationRecord> = {}) =>
	webToApi({ workload: 'api', side: 'server', peerAddress: '10.0.0.2', ...more })

async function oneNode(): Promise<TestAgent> {
	const agent = await joinAgent(fleet, 'n-1', ['192.168.1.5/24'])
	await agent.report([web, api])
	return agent
}

const rows = () => fleet.store.db.select().from(conversations)
const cursor = async () => (await fleet.store.db.select().from(ingestCursors)).at(0)

describe('exactly once', () => {
	test('a batch that comes twice counts once and is acknowledged twice', async () => {
		const agent = await oneNode()
		expect(await agent.sendAs(1, [webToApi()])).toEqual({ v: 1, boot: agent.boot, seq: 1 })
		expect(await agent.sendAs(1, [webToApi()])).toEqual({ v: 1, boot: agent.boot, seq: 1 })
		expect(await rows()).toMatchObject([{ cSessions: 1, cClientBytes: 500 }])
	})

	test('a batch after a gap is not taken: the agent is told where to go on', async () => {
		const agent = await oneNode()
		await agent.sendAs(1, [webToApi()])
		expect(await agent.sendAs(3, [webToApi()])).toMatchObject({ seq: 1 })
		expect(await agent.sendAs(2, [webToApi()])).toMatchObject({ seq: 2 })
		expect(await agent.sendAs(3, [webToApi()])).toMatchObject({ seq: 3 })
		expect(await rows()).toMatchObject([{ cSessions: 3 }])
	})

	test('batches that the agent gave up are counted, shown, and do not hold up the next', async () => {
		const agent = await oneNode()
		await agent.sendAs(1, [webToApi()])
		expect(await agent.sendAs(5, [webToApi()], 5)).toMatchObject({ seq: 5 })
		expect(await cursor()).toMatchObject({ seq: 5, lost: 3 })
		expect(await rows()).toMatchObject([{ cSessions: 2 }])
		const found = await fleet.store.db.select().from(events)
		expect(found).toMatchObject([{ kind: 'agent', name: 'telemetry lost', count: 3 }])
	})

	test('after a loss, what the agent still holds before this batch is asked for again', async () => {
		const agent = await oneNode()
		expect(await agent.sendAs(5, [webToApi()], 4)).toMatchObject({ seq: 3 })
		expect(await rows()).toEqual([])
		expect(await agent.sendAs(4, [webToApi()], 4)).toMatchObject({ seq: 4 })
		expect(await cursor()).toMatchObject({ seq: 4, lost: 3 })
	})

	test('a new run of the agent counts from one again beside the old one', async () => {
		const agent = await oneNode()
		await agent.sendAs(1, [webToApi()])
		agent.boot = 'n-1-boot2'
		await agent.sendAs(1, [webToApi()])
		agent.boot = 'n-1-boot1'
		await agent.sendAs(2, [webToApi()])
		expect(await rows()).toMatchObject([{ cSessions: 3 }])
	})

	test('duplicates, gaps and replays in any order add up to what was sent', async () => {
		const deliveries = fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 30 })
		let runs = 0
		await fc.assert(
			fc.asyncProperty(deliveries, async (order) => {
				runs++
				const agent = await joinAgent(fleet, `n-p${runs}`)
				const server = workload(`s${runs}`, [`10.9.${runs}.1/32`])
				const client = workload(`c${runs}`, [`10.9.${runs}.2/32`])
				await agent.report([client, server])
				const record = conversation({
					workload: client.id,
					peerAddress: `10.9.${runs}.1`,
					action: 'allow',
				})
				let taken = 0
				for (const seq of order) {
					const ack = await agent.sendAs(seq, [{ ...record, sessions: 2 ** seq }])
					taken = seq === taken + 1 ? seq : taken
					expect(ack.seq).toBe(taken)
				}
				const [row] = await fleet.store.db
					.select()
					.from(conversations)
					.where(eq(conversations.client, `workload:${client.id}`))
				expect(row?.cSessions ?? 0).toBe(2 ** (taken + 1) - 2)
			}),
			{ numRuns: 40 },
		)
		expect(runs).toBe(40)
	})

	test('a batch whose transaction fails leaves nothing behind and may come again', async () => {
		const agent = await oneNode()
		const broken = { ...webToApi(), firstAt: Number.NaN, lastAt: Number.NaN }
		await expect(agent.sendAs(1, [webToApi(), broken])).rejects.toThrow()
		expect(await rows()).toEqual([])
		expect(await cursor()).toBeUndefined()
		expect(await agent.sendAs(1, [webToApi()])).toMatchObject({ seq: 1 })
	})

	test('what is taken survives the process', async () => {
		const url = `file:${join(folder, 'a.db')}`
		const first = await openTestFleet(url)
		const agent = await joinAgent(first, 'n-1')
		await agent.report([web, api])
		await agent.sendAs(1, [webToApi()])
		await first.store.close()
		const second = await openTestFleet(url)
		const records = [webToApi()]
		const batch = { v: 1 as const, boot: agent.boot, seq: 1, floor: 1, at: 0, records }
		expect(await second.intake.telemetry('n-1', batch)).toMatchObject({ seq: 1 })
		expect(await second.store.db.select().from(conversations)).toMatchObject([{ cSessions: 1 }])
		await second.store.close()
	})
})

describe('a conversation', () => {
	test('that both ends report appears once, with both ends named and the greater sums', async () => {
		const agent = await oneNode()
		await agent.send(webToApi({ sessions: 3, serverBytes: 900 }), apiFromWeb({ sessions: 2 }))
		expect(await rows()).toMatchObject([
			{
				client: 'workload:web',
				server: 'workload:api',
				clientGroup: 'rf.web.shop',
				serverGroup: 'rf.api.shop',
				application: 'http',
				cSessions: 3,
				sSessions: 2,
				cServerBytes: 900,
				sServerBytes: 4000,
			},
		])
		const [edge] = await fleet.store.db.select().from(edges)
		expect(edge).toMatchObject({ sessions: 3, bytes: 4500, serverPort: 0, application: 'http' })
	})

	test('between two nodes appears once, whichever agent reports first', async () => {
		const [first, second] = [await joinAgent(fleet, 'n-1'), await joinAgent(fleet, 'n-2')]
		await first.report([web])
		await second.report([api])
		await second.send(apiFromWeb())
		await first.send(webToApi())
		await first.send(webToApi())
		await second.send(apiFromWeb())
		expect(await rows()).toMatchObject([{ cSessions: 2, sSessions: 2 }])
		const [edge] = await fleet.store.db.select().from(edges)
		expect(edge).toMatchObject({ sessions: 2, bytes: 9000 })
	})

	test('names nodes and addresses outside', async () => {
		const agent = await oneNode()
		await agent.send(
			webToApi({ peerAddress: '192.168.1.5' }),
			webToApi({ peerAddress: '8.8.8.8', serverPort: 53, application: 'dns' }),
			webToApi({ side: 'server', peerAddress: '2001:DB8::1' }),
		)
		expect(await rows()).toMatchObject([
			{ client: 'workload:web', server: 'node:n-1', serverGroup: 'nodes' },
			{ client: 'workload:web', server: 'external:8.8.8.8', serverGroup: 'external' },
			{ client: 'external:2001:db8::1', server: 'workload:web', clientGroup: 'external' },
		])
	})

	test('prefers the workload of the same node where two nodes use one address', async () => {
		const [first, second] = [await joinAgent(fleet, 'n-1'), await joinAgent(fleet, 'n-2')]
		await first.report([web, workload('db1', ['172.17.0.2/16'])])
		await second.report([workload('db2', ['172.17.0.2/16'])])
		await first.send(webToApi({ peerAddress: '172.17.0.2', peerWorkload: 'db2' }))
		expect(await rows()).toMatchObject([{ server: 'workload:db1' }])
	})

	test('keeps the name of a workload that has gone, by the agent’s hint', async () => {
		const agent = await oneNode()
		await agent.report([web])
		await agent.send(webToApi({ peerWorkload: 'api' }))
		expect(await rows()).toMatchObject([{ server: 'workload:api' }])
	})

	test('shows the graver action of the two sides with its reason, and becomes better again', async () => {
		const agent = await oneNode()
		await agent.send(webToApi({ action: 'violate', why: 'no rule (monitor)' }))
		await agent.send(apiFromWeb({ action: 'allow', why: 'rule 1', rule: '1' }))
		expect(await rows()).toMatchObject([
			{ action: 'violate', why: 'no rule (monitor)', rule: null },
		])
		await agent.send(webToApi({ action: 'allow', why: 'rule 2', rule: '2' }))
		expect(await rows()).toMatchObject([{ action: 'allow', why: 'rule 2', rule: '2' }])
	})

	test('cannot be made to overflow by an agent that lies', async () => {
		const agent = await oneNode()
		const huge = webToApi({ clientBytes: Number.MAX_SAFE_INTEGER, lastAt: 8_640_000_000_000_000 })
		await agent.send(huge, huge)
		await agent.send(huge)
		const [row] = await rows()
		expect(row?.cClientBytes).toBe(Number.MAX_SAFE_INTEGER)
		expect(row?.lastAt).toBe(fleet.time.now)
		const [edge] = await fleet.store.db.select().from(edges)
		expect(edge?.bytes).toBe(Number.MAX_SAFE_INTEGER)
	})

	test('of a workload of another node is refused, counted and shown', async () => {
		await oneNode()
		const other = await joinAgent(fleet, 'n-2')
		await other.send(webToApi(), webToApi())
		expect(await rows()).toEqual([])
		const found = await fleet.store.db.select().from(events)
		expect(found).toMatchObject([{ name: 'records refused', count: 2, nodeId: 'n-2' }])
	})
})

describe('records whose ends nobody knows yet', () => {
	test('wait for the workload’s report and are taken then', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		await agent.send(webToApi())
		expect(await rows()).toEqual([])
		expect(await fleet.store.db.$count(heldRecords)).toBe(1)
		await agent.report([web, api])
		expect(await rows()).toMatchObject([{ client: 'workload:web', server: 'workload:api' }])
		expect(await fleet.store.db.$count(heldRecords)).toBe(0)
	})

	test('wait for the peer of another node, and learn from it', async () => {
		const [first, second] = [await joinAgent(fleet, 'n-1'), await joinAgent(fleet, 'n-2')]
		await first.report([web])
		await first.send(webToApi())
		expect(await rows()).toEqual([])
		await second.report([api])
		expect(await rows()).toMatchObject([{ client: 'workload:web', server: 'workload:api' }])
	})

	test('wait for a node’s hello', async () => {
		const agent = await joinAgent(fleet, 'n-1')
		await agent.report([web])
		await agent.send(webToApi({ peerAddress: '10.0.0.9' }))
		expect(await rows()).toEqual([])
		await joinAgent(fleet, 'n-2', ['10.0.0.9/24'])
		expect(await rows()).toMatchObject([{ server: 'node:n-2' }])
	})

	test('are given up after half a minute: the peer is an address, nothing is learned, and it is counted', async () => {
		const agent = await oneNode()
		await agent.send(webToApi({ peerAddress: '10.0.0.77' }))
		fleet.time.now += HOLD_MS_MAX
		await agent.send()
		expect(await rows()).toMatchObject([{ server: 'external:10.0.0.77', action: 'learn' }])
		expect(await fleet.store.db.query.rules.findMany()).toEqual([])
		expect(await fleet.store.db.select().from(nodes)).toMatchObject([{ givenUp: 1 }])
	})

	test('in monitor, a peer that nobody names in that time is a violation', async () => {
		const agent = await oneNode()
		const stranger = { peerAddress: '10.0.0.77', action: 'open', why: PEER_UNKNOWN } as const
		await agent.send(webToApi(stranger), webToApi({ ...stranger, sessions: 0 }))
		expect(await fleet.store.db.select().from(events)).toEqual([])
		fleet.time.now += HOLD_MS_MAX
		await agent.send()
		expect(await fleet.store.db.select().from(events)).toMatchObject([
			{ kind: 'violation', count: 1, client: 'workload:web', server: 'external:10.0.0.77' },
		])
	})

	test('of a workload that is never reported are counted and shown', async () => {
		const agent = await oneNode()
		await agent.send(webToApi({ workload: 'ghost' }), webToApi({ workload: 'ghost' }))
		fleet.time.now += HOLD_MS_MAX
		await agent.send()
		const found = await fleet.store.db.select().from(events)
		expect(found).toMatchObject([{ name: 'records refused', count: 2 }])
		expect(await fleet.store.db.select().from(nodes)).toMatchObject([{ givenUp: 2 }])
	})

	test('beyond the bound are given up at once', async () => {
		const agent = await oneNode()
		const strangers = Array.from({ length: 500 }, () => webToApi({ peerAddress: '10.0.0.77' }))
		for (let sent = 0; sent < HELD_MAX; sent += 500) await agent.send(...strangers)
		await agent.send(webToApi({ peerAddress: '10.0.0.77' }))
		expect(await fleet.store.db.$count(heldRecords)).toBe(HELD_MAX)
		expect(await rows()).toMatchObject([{ server: 'external:10.0.0.77', cSessions: 1 }])
	})
})

describe('sessions without a name', () => {
	const nameless = { application: undefined, isFinal: false, action: 'pending' } as const

	test('are counted with what the same ends last spoke, and change nothing else of it', async () => {
		const agent = await oneNode()
		await agent.send(webToApi({ action: 'allow' }))
		const [before] = await rows()
		await agent.send(webToApi(nameless))
		const [after, ...more] = await rows()
		expect(more).toEqual([])
		expect(after).toMatchObject({ application: before?.application, action: 'allow', cSessions: 2 })
	})

	test('stand alone where the ends are new, where recognition has ended, and where nobody allowed them', async () => {
		const agent = await oneNode()
		await agent.send(webToApi(nameless))
		expect(await rows()).toMatchObject([{ application: '', isFinal: false }])
		await agent.send(webToApi({ action: 'allow' }))
		await agent.send(
			webToApi({ ...nameless, isFinal: true }),
			webToApi({ ...nameless, action: 'deny' }),
		)
		const found = await rows()
		expect(found.map(({ application, cSessions }) => `${application} ${cSessions}`).sort()).toEqual(
			[' 3', 'http 1'],
		)
	})
})

describe('events', () => {
	const found = () => fleet.store.db.select().from(events).orderBy(events.id)

	test('a violation that both ends report is one event with all a person needs', async () => {
		const agent = await oneNode()
		await agent.send(
			violation({ workload: 'web', peerAddress: '10.0.0.3', application: 'http', count: 2 }),
			violation({
				workload: 'api',
				side: 'server',
				peerAddress: '10.0.0.2',
				application: 'http',
				host: 'api.shop',
			}),
		)
		expect(await found()).toMatchObject([
			{
				kind: 'violation',
				severity: 'medium',
				count: 2,
				client: 'workload:web',
				server: 'workload:api',
				clientGroup: 'rf.web.shop',
				serverGroup: 'rf.api.shop',
				application: 'http',
				serverPort: 80,
				why: 'no rule (monitor)',
				detail: {
					sums: { client: 2, server: 1 },
					clientPort: 40000,
					host: 'api.shop',
					client: { name: 'web', service: 'web', domain: 'shop', address: '10.0.0.2' },
					server: { name: 'api', address: '10.0.0.3', node: { id: 'n-1', name: 'n-1.example' } },
				},
			},
		])
		expect(fleet.told).toMatchObject([{ kind: 'event', event: { kind: 'violation' } }])
	})

	test('a storm within a minute is one event, and the next minute another', async () => {
		const agent = await oneNode()
		const storm = violation({ workload: 'web', peerAddress: '10.0.0.3' })
		for (const at of [0, 30_000, 59_999, 60_000, 90_000]) {
			fleet.time.now = START_MS + at
			await agent.send({ ...storm, at: fleet.time.now })
		}
		expect((await found()).map(({ count, lastAt }) => [count, lastAt - START_MS])).toEqual([
			[3, 59_999],
			[2, 90_000],
		])
		expect(fleet.told).toHaveLength(2)
	})

	test('an event that waited in the spool of one agent still meets the other side’s', async () => {
		const [first, second] = [await joinAgent(fleet, 'n-1'), await joinAgent(fleet, 'n-2')]
		await first.report([web])
		await second.report([api])
		await first.send(violation({ workload: 'web', peerAddress: '10.0.0.3' }))
		fleet.time.now += 3_600_000
		await second.send(violation({ workload: 'api', side: 'server', peerAddress: '10.0.0.2' }))
		expect(await found()).toMatchObject([{ detail: { nodes: [{ id: 'n-1' }, { id: 'n-2' }] } }])
	})

	test('what differs in port, application or action is another event', async () => {
		const agent = await oneNode()
		const one = violation({ workload: 'web', peerAddress: '10.0.0.3' })
		await agent.send(
			one,
			{ ...one, serverPort: 81 },
			{ ...one, application: 'ssh' },
			{ ...one, action: 'deny' },
		)
		expect((await found()).map(({ severity }) => severity).sort()).toEqual([
			'high',
			'medium',
			'medium',
			'medium',
		])
	})

	test('threats and the agent’s own troubles keep their names and severities', async () => {
		const agent = await oneNode()
		const { kind: _, action: __, ...ends } = violation({ workload: 'web', peerAddress: '8.8.8.8' })
		await agent.send(
			{ ...ends, kind: 'threat', name: 'DNS.Loop.Pointer', severity: 'critical' },
			{
				kind: 'agent',
				name: 'ring lost packets',
				severity: 'low',
				message: '7 frames',
				count: 7,
				at: START_MS,
			},
		)
		expect((await found()).sort((a, b) => compareText(b.kind, a.kind))).toMatchObject([
			{ kind: 'threat', name: 'DNS.Loop.Pointer', severity: 'critical' },
			{ kind: 'agent', name: 'ring lost packets', severity: 'low', count: 7, why: '7 frames' },
		])
	})

	test('counters replace the older ones', async () => {
		const agent = await oneNode()
		await agent.send(
			{ kind: 'counters', at: 1, counters: { frames: 1 } },
			{ kind: 'counters', at: 2, counters: { frames: 5, losses: 0 } },
		)
		expect(await fleet.store.db.select().from(nodes)).toMatchObject([
			{ counters: { frames: 5, losses: 0 } },
		])
	})
})
