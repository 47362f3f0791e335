import { eq } from 'drizzle-orm'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
	conversations,
	edges,
	enrolTokens,
	events,
	groups,
	heldRecords,
	ingestCursors,
	rules,
	workloads,
} from '../db/schema.ts'
import { ageOut } from './aging.ts'
import { readGeneration } from './desired/documents.ts'
import { createEnrolToken } from './nodes/enrol.ts'
import {
	conversation,
	joinAgent,
	openTestFleet,
	START_MS,
	type TestAgent,
	type TestFleet,
	violation,
	workload,
} from './test-fleet.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

let fleet: TestFleet
let agent: TestAgent

const web = workload('web', ['10.0.0.2/24'])
const api = workload('api', ['10.0.0.3/24'])
const webToApi = conversation({ workload: 'web', peerAddress: '10.0.0.3', application: 'http' })

beforeEach(async () => {
	fleet = await openTestFleet()
	agent = await joinAgent(fleet, 'n-1')
	await agent.report([web, api])
	await agent.send(webToApi)
})

afterEach(() => fleet.store.close())

const learnedNames = async () =>
	(await fleet.store.db.select().from(groups).where(eq(groups.kind, 'learned')))
		.map(({ name }) => name)
		.sort()

test('a group that was empty for long goes with its learned rules, and the policy is a new one', async () => {
	await agent.report([web])
	const generation = await readGeneration(fleet.store.db, 'policy')
	fleet.time.now += 24 * HOUR_MS
	await ageOut(fleet)
	expect(await learnedNames()).toEqual(['rf.api.shop', 'rf.web.shop'])
	fleet.time.now += 1
	const published = fleet.counts.documents
	expect(await ageOut(fleet)).toMatchObject({ groups: 1 })
	expect(await learnedNames()).toEqual(['rf.web.shop'])
	expect(await fleet.store.db.select().from(rules)).toEqual([])
	expect(await readGeneration(fleet.store.db, 'policy')).toBe(generation + 1)
	expect(fleet.counts.documents).toBe(published + 1)
})

test('a group that a rule of a user names stays, with its mode, until the rule is gone', async () => {
	const manual = { position: 1000, ports: ['any'], applications: ['any'], action: 'allow' as const }
	const at = { createdAt: START_MS, updatedAt: START_MS }
	await fleet.store.write(async (tx) => {
		const ends = { fromGroup: 'external', toGroup: 'rf.api.shop' }
		await tx.insert(rules).values({ ...manual, ...ends, ...at, isLearned: false })
		await tx.update(groups).set({ mode: 'protect' }).where(eq(groups.name, 'rf.api.shop'))
	})
	await agent.report([web])
	fleet.time.now += 25 * HOUR_MS
	expect(await ageOut(fleet)).toMatchObject({ groups: 0 })
	await agent.report([web, api])
	const [group] = await fleet.store.db.select().from(groups).where(eq(groups.name, 'rf.api.shop'))
	expect(group).toMatchObject({ mode: 'protect', emptySince: null })
	await agent.report([web])
	await fleet.store.write((tx) => tx.delete(rules).where(eq(rules.isLearned, false)))
	fleet.time.now += 25 * HOUR_MS
	expect(await ageOut(fleet)).toMatchObject({ groups: 1 })
})

test('a group that is in use, or filled again in time, stays', async () => {
	await agent.report([web])
	fleet.time.now += 23 * HOUR_MS
	await agent.report([web, api])
	fleet.time.now += 23 * HOUR_MS
	await ageOut(fleet)
	expect(await learnedNames()).toEqual(['rf.api.shop', 'rf.web.shop'])
})

test('conversations, edges and events go after their retention, in chunks', async () => {
	const many = Array.from({ length: 500 }, (_, i) => ({
		...webToApi,
		action: 'allow' as const,
		serverPort: 1000 + i,
	}))
	for (let i = 0; i < 5; i++)
		await agent.send(...many.map((one) => ({ ...one, serverPort: one.serverPort + 500 * i })))
	await agent.send(violation({ workload: 'web', peerAddress: '10.0.0.3' }))
	fleet.time.now += 30 * DAY_MS - 1000
	await agent.send({ ...webToApi, serverPort: 81, lastAt: fleet.time.now })
	expect(await ageOut(fleet)).toMatchObject({ conversations: 0, events: 0 })
	fleet.time.now += 2000
	expect(await ageOut(fleet)).toMatchObject({ conversations: 2501, events: 1 })
	expect(await fleet.store.db.select().from(conversations)).toMatchObject([{ serverPort: 81 }])
	expect(await fleet.store.db.$count(events)).toBe(0)
	expect(await fleet.store.db.$count(edges)).toBe(1)
})

test('the oldest rows go when there are too many, whatever their age', async () => {
	for (let i = 1; i <= 6; i++) {
		fleet.time.now += 61_000
		const at = fleet.time.now
		await agent.send(
			{ ...webToApi, serverPort: i, lastAt: at },
			violation({ workload: 'web', peerAddress: '10.0.0.3', serverPort: i, at }),
		)
	}
	const aged = await ageOut(fleet, { events: 2, conversations: 4 })
	expect(aged).toMatchObject({ events: 4, conversations: 3 })
	const left = await fleet.store.db.select().from(conversations).orderBy(conversations.id)
	expect(left.map(({ serverPort }) => serverPort)).toEqual([3, 4, 5, 6])
	expect(await ageOut(fleet, { events: 2, conversations: 4 })).toMatchObject({ events: 0 })
})

test('a workload that is gone stays while a conversation names it', async () => {
	await agent.report([])
	fleet.time.now += 8 * DAY_MS
	await ageOut(fleet)
	expect(await fleet.store.db.$count(workloads)).toBe(2)
	fleet.time.now += 30 * DAY_MS
	await ageOut(fleet)
	expect(await fleet.store.db.$count(workloads)).toBe(0)
})

test('cursors of runs that are long over go, those in use stay', async () => {
	agent.boot = 'n-1-boot2'
	await agent.hello()
	fleet.time.now += 91 * DAY_MS
	await agent.sendAs(1, [])
	await ageOut(fleet)
	expect(await fleet.store.db.select().from(ingestCursors)).toMatchObject([{ boot: 'n-1-boot2' }])
})

test('records that nobody asks for any more are given up without another batch', async () => {
	await agent.send(conversation({ workload: 'web', peerAddress: '10.0.0.77' }))
	fleet.time.now += 30_000
	expect(await ageOut(fleet)).toMatchObject({ heldRecords: 1 })
	expect(await fleet.store.db.$count(heldRecords)).toBe(0)
	expect(await fleet.store.db.$count(conversations)).toBe(2)
})

test('tokens go when they have expired', async () => {
	await createEnrolToken(fleet, { ttlMs: 1000, uses: 1 })
	await createEnrolToken(fleet, { ttlMs: 5000, uses: 1 })
	fleet.time.now += 2000
	await ageOut(fleet)
	expect(await fleet.store.db.$count(enrolTokens)).toBe(1)
})
