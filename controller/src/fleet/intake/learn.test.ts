import type { Mode } from '@ringfence/shared/contract/policy'
import type { ConversationRecord } from '@ringfence/shared/contract/telemetry'
import { asc, eq, sql } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { events, groups, rules } from '../../db/schema.ts'
import { readGeneration } from '../desired/documents.ts'
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
import { LEARNED_POSITION_MIN } from './learn.ts'

let fleet: TestFleet
let agent: TestAgent

beforeEach(async () => {
	fleet = await openTestFleet()
	agent = await joinAgent(fleet, 'n-1', ['192.168.1.5/24'])
	await agent.report([
		workload('web', ['10.0.0.2/24']),
		workload('api', ['10.0.0.3/24']),
		workload('redis', ['10.0.0.4/24']),
	])
})

afterEach(() => fleet.store.close())

const ADDRESSES: Record<string, string> = {
	web: '10.0.0.2',
	api: '10.0.0.3',
	redis: '10.0.0.4',
	node: '192.168.1.5',
	world: '8.8.8.8',
}

function session(
	client: string,
	server: string,
	more: Partial<ConversationRecord> = {},
): ConversationRecord {
	const [own, peer] = more.side === 'server' ? [server, client] : [client, server]
	return conversation({ workload: own, peerAddress: ADDRESSES[peer] ?? '', ...more })
}

/** All rules as `from > to ports applications`. */
async function learned(): Promise<string[]> {
	const rows = await fleet.store.db.select().from(rules).orderBy(asc(rules.position))
	return rows.map(
		({ fromGroup, toGroup, ports, applications }) =>
			`${fromGroup} > ${toGroup} ${ports.join(',')} ${applications.join(',')}`,
	)
}

async function addRule(
	more: Partial<typeof rules.$inferInsert> & { fromGroup: string; toGroup: string },
): Promise<void> {
	await fleet.store.write(async (tx) => {
		await tx.insert(rules).values({
			position: 1000,
			ports: ['any'],
			applications: ['any'],
			action: 'allow',
			isLearned: false,
			createdAt: START_MS,
			updatedAt: START_MS,
			...more,
		})
	})
}

async function setMode(name: string, mode: Mode): Promise<void> {
	await fleet.store.write(async (tx) => {
		await tx.update(groups).set({ mode }).where(eq(groups.name, name))
	})
}

describe('learning', () => {
	test('makes one rule for the applications between two groups, however many sessions', async () => {
		await agent.send(
			session('web', 'api', { application: 'http' }),
			session('web', 'api', { application: 'http', serverPort: 8080 }),
			session('web', 'api', { application: 'dns', protocol: 17, serverPort: 53 }),
			session('web', 'redis', { application: 'redis', serverPort: 6379 }),
		)
		await agent.send(session('web', 'api', { application: 'tls' }))
		expect(await learned()).toEqual([
			'rf.web.shop > rf.api.shop any dns,http,tls',
			'rf.web.shop > rf.redis.shop any redis',
		])
	})

	test('keeps ports only of applications that stayed unknown, in one rule', async () => {
		await agent.send(
			session('web', 'api', { application: 'http' }),
			session('web', 'api', { serverPort: 9000 }),
			session('web', 'api', { serverPort: 5432 }),
			session('web', 'api', { serverPort: 514, protocol: 17 }),
			session('web', 'api', { serverPort: 8, protocol: 1 }),
			session('web', 'api', { serverPort: 128, protocol: 58 }),
		)
		expect(await learned()).toEqual([
			'rf.web.shop > rf.api.shop any http',
			'rf.web.shop > rf.api.shop icmp,tcp/5432,tcp/9000,udp/514 any',
		])
	})

	test('lets a port go when its application is found, by the other end or by a later session', async () => {
		await agent.send(
			session('web', 'redis', { serverPort: 6379 }),
			session('web', 'redis', { serverPort: 6379, application: 'redis', side: 'server' }),
		)
		expect(await learned()).toEqual(['rf.web.shop > rf.redis.shop any redis'])
		await agent.send(
			session('web', 'api', { serverPort: 9000 }),
			session('web', 'api', { serverPort: 9001 }),
		)
		const [, rule] = await fleet.store.db.select().from(rules).orderBy(asc(rules.position))
		const allowed = { action: 'allow', rule: String(rule?.id), application: 'http' } as const
		await agent.send(session('web', 'api', { serverPort: 9000, ...allowed }))
		expect((await learned()).sort()).toEqual([
			'rf.web.shop > rf.api.shop any http',
			'rf.web.shop > rf.api.shop tcp/9001 any',
			'rf.web.shop > rf.redis.shop any redis',
		])
		await agent.send(session('web', 'api', { serverPort: 9001, ...allowed, application: 'tls' }))
		expect((await learned()).sort()).toEqual([
			'rf.web.shop > rf.api.shop any http,tls',
			'rf.web.shop > rf.redis.shop any redis',
		])
	})

	test('ends with the same rules in every order, when named and unnamed sessions go on', async () => {
		const named = session('web', 'api', { application: 'http' })
		const unnamed = session('web', 'api')
		await agent.send(unnamed, named, unnamed, named)
		await agent.send(
			...[
				session('web', 'redis', { application: 'http' }),
				session('web', 'redis'),
				session('web', 'redis', { application: 'http' }),
			],
		)
		const of = async (to: string) => (await learned()).filter((rule) => rule.includes(`> rf.${to}`))
		expect((await of('redis')).map((rule) => rule.replace('redis', 'api')).sort()).toEqual(
			(await of('api')).sort(),
		)
	})

	test.each([
		['a rule of a user', '1', { isLearned: false }],
		['a learned port that somebody switched off', '1', { isLearned: true, isEnabled: false }],
		['a rule that is gone', '99', { isLearned: true, ports: ['tcp/81'] }],
		['no rule of ours', 'x', { isLearned: true }],
	])('learns nothing from what %s allowed', async (_, id, fields) => {
		const ends = { fromGroup: 'rf.web.shop', toGroup: 'rf.api.shop' }
		await addRule({ ...ends, ports: ['tcp/80'], ...fields })
		const before = await learned()
		const allowed = { action: 'allow', rule: id, application: 'http' } as const
		await agent.send(session('web', 'api', allowed))
		expect(await learned()).toEqual(before)
	})

	test('gives the same rules from the server’s report, the client’s, and both', async () => {
		await agent.send(session('web', 'api', { application: 'http', side: 'server' }))
		expect(await learned()).toEqual(['rf.web.shop > rf.api.shop any http'])
		await agent.send(session('web', 'api', { application: 'http' }))
		expect(await learned()).toEqual(['rf.web.shop > rf.api.shop any http'])
	})

	test('tells the directions apart, and names nodes and the world by their groups', async () => {
		await agent.send(
			session('web', 'api', { application: 'http' }),
			session('api', 'web', { application: 'http' }),
			session('api', 'world', { application: 'tls' }),
			session('node', 'web', { application: 'ssh', side: 'server' }),
		)
		expect(await learned()).toEqual([
			'rf.web.shop > rf.api.shop any http',
			'rf.api.shop > rf.web.shop any http',
			'rf.api.shop > external any tls',
			'nodes > rf.web.shop any ssh',
		])
	})

	test('learns nothing while recognition goes on, nor from what was not let through to be learned', async () => {
		await agent.send(
			session('web', 'api', { isFinal: false }),
			session('web', 'api', { action: 'allow', application: 'http' }),
			session('web', 'api', { action: 'violate', application: 'http' }),
			session('web', 'api', { action: 'open', application: 'http' }),
		)
		expect(await learned()).toEqual([])
	})

	test.each(['monitor', 'protect'] as const)(
		'learns nothing when the other end is in %s',
		async (mode) => {
			await setMode('rf.api.shop', mode)
			await setMode('nodes', mode)
			await agent.send(
				session('web', 'api', { application: 'http' }),
				session('node', 'web', { application: 'http', side: 'server' }),
				session('web', 'redis', { application: 'redis' }),
			)
			expect(await learned()).toEqual(['rf.web.shop > rf.redis.shop any redis'])
		},
	)

	test('learns nothing late: the reporter’s own group has left discover meanwhile', async () => {
		await setMode('rf.web.shop', 'monitor')
		await agent.send(session('web', 'api', { application: 'http' }))
		expect(await learned()).toEqual([])
	})

	test.each([
		['of the same groups', { fromGroup: 'rf.web.shop', toGroup: 'rf.api.shop' }],
		['of all containers', { fromGroup: 'containers', toGroup: 'containers' }],
		['of a custom group', { fromGroup: 'front', toGroup: 'rf.api.shop' }],
		[
			'of a custom group of addresses',
			{ fromGroup: 'rf.web.shop', toGroup: 'lower', ports: ['tcp/1-100'] },
		],
		['that denies', { fromGroup: 'rf.web.shop', toGroup: 'rf.api.shop', action: 'deny' as const }],
	])('learns nothing that a rule %s decides', async (_, rule) => {
		await fleet.store.write(async (tx) => {
			const made = { kind: 'custom' as const, createdAt: START_MS }
			await tx.insert(groups).values([
				{ name: 'front', criteria: [{ key: 'service', op: '=', value: 'web' }], ...made },
				{ name: 'lower', criteria: [{ key: 'address', op: '=', value: '10.0.0.0/29' }], ...made },
			])
		})
		await addRule(rule)
		await agent.send(session('web', 'api', { application: 'http' }))
		expect(await learned()).toHaveLength(1)
	})

	test.each([
		['is switched off', { isEnabled: false }],
		['is for other ports', { ports: ['tcp/81', 'udp/80'] }],
		['is for other applications', { applications: ['ssh'] }],
		['is for the other direction', { fromGroup: 'rf.api.shop', toGroup: 'rf.web.shop' }],
	])('learns what a rule of users does not decide because it %s', async (_, rule) => {
		await addRule({ fromGroup: 'rf.web.shop', toGroup: 'rf.api.shop', ...rule })
		await agent.send(session('web', 'api', { application: 'http' }))
		expect(await learned()).toHaveLength(2)
	})

	test('does not learn again what somebody switched off', async () => {
		await agent.send(session('web', 'api', { application: 'http' }))
		await fleet.store.write((tx) => tx.update(rules).set({ isEnabled: false }))
		await agent.send(session('web', 'api', { application: 'http' }))
		expect(await fleet.store.db.select().from(rules)).toMatchObject([{ isEnabled: false }])
	})

	test('puts learned rules behind those of users, a gap apart', async () => {
		await addRule({ fromGroup: 'nodes', toGroup: 'external' })
		await agent.send(
			session('web', 'api', { application: 'http' }),
			session('web', 'redis', { application: 'redis' }),
		)
		const rows = await fleet.store.db.select().from(rules).orderBy(asc(rules.position))
		expect(rows.map(({ position }) => position)).toEqual([
			1000,
			LEARNED_POSITION_MIN,
			LEARNED_POSITION_MIN + 1000,
		])
	})

	test('raises the policy’s generation once for a batch that taught something, else not', async () => {
		const generation = () => readGeneration(fleet.store.db, 'policy')
		const before = await generation()
		const published = fleet.counts.documents
		await agent.send(
			session('web', 'api', { application: 'http' }),
			session('web', 'redis', { application: 'redis' }),
		)
		expect(await generation()).toBe(before + 1)
		expect(fleet.counts.documents).toBe(published + 1)
		await agent.send(session('web', 'api', { application: 'http' }))
		expect(await generation()).toBe(before + 1)
		expect(fleet.counts.documents).toBe(published + 1)
	})

	test('stops at the contract’s bound of ports, and says so', async () => {
		const scan = Array.from({ length: 70 }, (_, port) =>
			session('web', 'api', { serverPort: port + 1 }),
		)
		await agent.send(...scan)
		const [rule] = await fleet.store.db.select().from(rules)
		expect(rule?.ports).toHaveLength(64)
		expect(await fleet.store.db.select().from(events)).toMatchObject([
			{ kind: 'agent', name: 'not learned', count: 6 },
		])
	})

	test('is undone with the rest when the batch fails', async () => {
		await fleet.store.write((tx) =>
			tx.run(
				sql`create trigger no_events before insert on events begin select raise(abort, 'no'); end`,
			),
		)
		const lesson = session('web', 'api', { application: 'http' })
		const threat = violation({ workload: 'web', peerAddress: '10.0.0.3' })
		await expect(agent.send(lesson, threat)).rejects.toThrow()
		expect(await learned()).toEqual([])
	})
})
