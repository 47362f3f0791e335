import type { WhatIfAnswer, WhatIfQuestion } from '@ringfence/shared/contract/rest'
import { WHAT_IF_CONVERSATIONS_MAX, whatIfQuestionSchema } from '@ringfence/shared/contract/rest'
import { eq, sql } from 'drizzle-orm'
import { beforeEach, describe, expect, test } from 'vitest'
import { groups, rules, workloads } from '../../db/schema.ts'
import {
	conversation,
	joinAgent,
	openTestFleet,
	START_MS,
	type TestAgent,
	type TestFleet,
	workload,
} from '../test-fleet.ts'
import { createGroup } from './groups.ts'
import { createRule } from './rules.ts'
import { askWhatIf } from './what-if.ts'

const ACT = { actor: 'system', now: START_MS }
const RULE = {
	from: 'rf.web.shop',
	to: 'external',
	ports: ['any'],
	applications: ['any' as const],
	action: 'allow' as const,
	comment: '',
	isEnabled: true,
}

let fleet: TestFleet
let agent: TestAgent
/** Web has talked HTTP and SSH to its database, which was learned, and to an address outside. */
beforeEach(async () => {
	fleet = await openTestFleet()
	agent = await joinAgent(fleet, 'n1', ['192.0.2.1/24'])
	await agent.report([workload('web', ['10.0.0.2/24']), workload('db', ['10.0.0.3/24'])])
	const toDb = { workload: 'web', peerAddress: '10.0.0.3' }
	await agent.send(
		conversation({ ...toDb, application: 'http', sessions: 3 }),
		conversation({ ...toDb, application: 'ssh', serverPort: 22 }),
		conversation({ workload: 'web', peerAddress: '203.0.113.9', application: 'tls' }),
	)
})

describe('a mode', () => {
	test('of what was learned changes nothing but its name', async () => {
		const answer = await ask({ modes: { 'rf.web.shop': 'protect', 'rf.db.shop': 'protect' } })
		expect(answer.all).toEqual({ conversations: 3, sessions: 5, bytes: 13_500 })
		expect(answer.changed.conversations).toBe(0)
		expect(answer.pairs).toHaveLength(2)
		expect(answer.truncated).toBeNull()
	})

	test('denies at its own port what no rule allows, the other end keeps its own', async () => {
		await fleet.store.write((tx) => tx.delete(rules).where(eq(rules.toGroup, 'rf.db.shop')))
		const answer = await ask({ modes: { 'rf.db.shop': 'protect' } })
		expect(answer.changed).toEqual({ conversations: 2, sessions: 4, bytes: 9000 })
		expect(answer.newlyDenied).toMatchObject({ conversations: 2, sessions: 4 })
		const http = answer.newlyDenied.items.find(({ application }) => application === 'http')
		const learn = { action: 'learn', rule: null, why: 'no rule (discover)' }
		expect(http).toMatchObject({
			...{ client: 'workload:web', server: 'workload:db', sessions: 3, bytes: 4500 },
			atClient: { before: learn, after: learn },
			atServer: { before: learn, after: { action: 'deny', why: 'no rule (protect)' } },
		})
		expect(answer.pairs[0]).toMatchObject({
			...{ from: 'rf.web.shop', to: 'rf.db.shop', before: 'learn', after: 'deny' },
			newlyDenied: { conversations: 2 },
		})
		const monitored = await ask({ modes: { 'rf.db.shop': 'monitor' } })
		expect(monitored.newlyViolating.conversations).toBe(2)
		expect(monitored.newlyDenied.conversations).toBe(0)
	})

	test('is refused for a group that is not there or has none', async () => {
		await expect(ask({ modes: { nobody: 'protect' } })).rejects.toMatchObject({
			...{ code: 'invalid', pointer: '/modes/nobody' },
		})
		await expect(ask({ modes: { external: 'protect' } })).rejects.toMatchObject({
			message: expect.stringContaining('has no mode'),
		})
	})
})

describe('rules', () => {
	beforeEach(() => setMode('rf.web.shop', 'protect'))

	test('that are added decide by their place, and are named by the question', async () => {
		const deny = {
			...RULE,
			to: 'rf.db.shop',
			applications: ['http' as const],
			action: 'deny' as const,
		}
		const answer = await ask({ rules: { add: [deny] } })
		expect(answer.newlyDenied).toMatchObject({ conversations: 1, sessions: 3, bytes: 4500 })
		expect(answer.newlyDenied.items[0]?.atClient?.after).toEqual({
			...{ action: 'deny', rule: 'new:0', why: 'deny rule new:0 (protect)' },
		})
		expect(answer.newlyDenied.items[0]?.atServer?.after.action).toBe('open')
		const allow = { ...deny, action: 'allow' as const }
		const { newlyDenied, changed } = await ask({ rules: { add: [allow, deny] } })
		expect([newlyDenied.conversations, changed.conversations]).toEqual([0, 1])
		const first = await createRule(fleet, ACT, allow)
		const before = await ask({ rules: { add: [{ ...deny, before: first.id }] } })
		expect(before.newlyDenied.conversations).toBe(1)
		const after = await ask({ rules: { add: [{ ...deny, after: first.id }] } })
		expect(after.changed.conversations).toBe(0)
	})

	test('that are removed, switched off or patched decide no more', async () => {
		const [learned] = await fleet.store.db.select().from(rules).where(eq(rules.toGroup, 'external'))
		const id = learned?.id ?? 0
		const removed = await ask({ rules: { remove: [id] } })
		expect(removed.newlyDenied.items).toMatchObject([{ server: 'external:203.0.113.9' }])
		expect(removed.newlyDenied.items[0]?.atServer).toBeNull()
		const off = await ask({ rules: { patch: [{ id, isEnabled: false }] } })
		expect(off.newlyDenied.conversations).toBe(1)
		await expect(ask({ rules: { patch: [{ id, action: 'deny' }] } })).rejects.toMatchObject({
			pointer: '/rules/patch/0/action',
		})
		const own = await createRule(fleet, ACT, RULE)
		const denied = await ask({ rules: { patch: [{ id: own.id, action: 'deny' }] } })
		expect(denied.newlyDenied.items[0]?.atClient).toMatchObject({
			before: { action: 'allow', rule: String(own.id) },
			after: { action: 'deny', rule: String(own.id) },
		})
	})

	test('may be replaced in their place, and let through again what was denied', async () => {
		const deny = await createRule(fleet, ACT, { ...RULE, action: 'deny' })
		const question = { add: [{ ...RULE, before: deny.id }], remove: [deny.id] }
		const answer = await ask({ rules: question })
		expect(answer.newlyAllowed.items).toMatchObject([{ atClient: { after: { rule: 'new:0' } } }])
	})

	test.each<[object, string]>([
		[{ add: [{ ...RULE, from: 'nobody' }] }, '/rules/add/0/from'],
		[{ add: [RULE, { ...RULE, before: 4711 }] }, '/rules/add/1/before'],
		[{ add: [{ ...RULE, after: 1 }] }, '/rules/add/0/after'],
		[{ remove: [4711] }, '/rules/remove/0'],
		[{ patch: [{ id: 4711 }] }, '/rules/patch/0/id'],
	])('that could not be made are refused: %j', async (change, pointer) => {
		const question = whatIfQuestionSchema.parse({ rules: change })
		await expect(ask(question)).rejects.toMatchObject({ code: 'invalid', pointer })
	})
})

describe('ends', () => {
	test('are members of custom groups by criteria and by network', async () => {
		const make = (name: string, key: string, value: string) =>
			createGroup(fleet, ACT, { name, criteria: [{ key, op: '=', value }], comment: '' })
		await make('frontends', 'service', 'web')
		await make('partners', 'address', '203.0.113.0/24')
		await setMode('rf.web.shop', 'protect')
		const deny = { ...RULE, from: 'frontends', to: 'partners', action: 'deny' as const }
		const { newlyDenied } = await ask({ rules: { add: [deny] } })
		expect(newlyDenied.conversations).toBe(0)
		// Whom a network names is not external: the learned rule does not hold any more.
		const { newlyAllowed } = await ask({ rules: { add: [{ ...deny, action: 'allow' }] } })
		expect(newlyAllowed.items).toMatchObject([{ server: 'external:203.0.113.9' }])
	})

	test('that are gone are judged by the learned group they had, while it lasts', async () => {
		await fleet.store.write((tx) => tx.delete(workloads).where(eq(workloads.id, 'web')))
		await fleet.store.write((tx) => tx.run(sql`delete from addresses where owner_id = 'web'`))
		await fleet.store.write((tx) => tx.delete(rules))
		const answer = await ask({ modes: { 'rf.web.shop': 'protect' } })
		expect(answer.gone).toBe(3)
		expect(answer.newlyDenied.conversations).toBe(3)
		await fleet.store.write((tx) => tx.delete(groups).where(eq(groups.name, 'rf.web.shop')))
		const later = await ask({ modes: { 'rf.db.shop': 'protect' } })
		expect(later.newlyDenied.conversations).toBe(2)
		expect(later.newlyDenied.items[0]?.atClient).toBeNull()
	})

	test('of a session whose application has no name yet stay pending, and pass', async () => {
		await setMode('rf.web.shop', 'protect')
		const ends = { workload: 'web', peerAddress: '10.0.0.3', serverPort: 9000 }
		await agent.send(conversation({ ...ends, isFinal: false, action: 'open' }))
		const change = { add: [{ ...RULE, to: 'rf.db.shop', action: 'deny' as const }] }
		const { newlyDenied } = await ask({ rules: change })
		const item = newlyDenied.items.find(({ serverPort }) => serverPort === 9000)
		expect(item?.atClient?.before.action).toBe('pending')
		expect(item?.atClient?.after.rule).toBe('new:0')
	})
})

test('conversations of before are left out', async () => {
	expect((await ask({ since: START_MS })).all.conversations).toBe(0)
	fleet.time.now += 25 * 3_600_000
	expect((await ask({})).all.conversations).toBe(0)
	expect((await ask({ since: 0 })).all.conversations).toBe(3)
})

test('the conversations last seen are looked at, and others have their turns meanwhile', {
	timeout: 60_000,
}, async () => {
	const count = WHAT_IF_CONVERSATIONS_MAX + 10
	await fleet.store.write((tx) =>
		tx.run(sql`
			with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})
			insert into conversations (client, server, protocol, server_port, application, client_group,
				server_group, is_final, action, why, c_sessions, first_at, last_at)
			select 'workload:web', 'external:203.0.113.' || (i % 200), 6, i / 200, '', 'rf.web.shop',
				'external', 1, 'learn', '', 1, ${START_MS} + i, ${START_MS} + i from n`),
	)
	let turns = 0
	const timer = setInterval(() => turns++, 0)
	const answer = await ask({ modes: { 'rf.web.shop': 'protect' } })
	clearInterval(timer)
	expect(answer.truncated).toBe('conversations')
	expect(answer.newlyDenied.conversations).toBe(WHAT_IF_CONVERSATIONS_MAX)
	expect(answer.newlyDenied.items[0]?.lastAt).toBe(START_MS + count)
	expect(answer.newlyDenied).toMatchObject({ isTruncated: true, items: { length: 200 } })
	expect(turns).toBeGreaterThan(300)
})

test('nothing is written', async () => {
	const dump = async () => JSON.stringify(await fleet.store.db.select().from(rules))
	const [before, documents] = [await dump(), fleet.counts.documents]
	await ask({ modes: { nodes: 'protect' }, rules: { add: [RULE], remove: [1] } })
	expect(await dump()).toBe(before)
	expect(fleet.counts.documents).toBe(documents)
})

function ask(question: WhatIfQuestion): Promise<WhatIfAnswer> {
	return askWhatIf(fleet, question)
}

async function setMode(name: string, mode: 'discover' | 'monitor' | 'protect'): Promise<void> {
	await fleet.store.write((tx) => tx.update(groups).set({ mode }).where(eq(groups.name, name)))
}
