import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { outbox, webhooks } from '../../db/schema.ts'
import { ageOut } from '../aging.ts'
import { ATTEMPTS_MAX, nextAttemptAt } from '../attempt.ts'
import {
	joinAgent,
	openTestFleet,
	START_MS,
	type TestAgent,
	type TestFleet,
	violation,
	workload,
} from '../test-fleet.ts'
import type { EventRow } from '../work.ts'
import { DUE_MAX, deliverDue, enqueueDeliveries } from './outbox.ts'
import { createWebhook, patchWebhook, pingWebhook, replayDelivery } from './webhooks.ts'

const HOUR_MS = 3_600_000

let fleet: TestFleet
let receiver: Receiver

beforeEach(async () => {
	fleet = await openTestFleet()
	// Signatures hold for five minutes of the verifier's clock.
	fleet.time.now = Date.now()
	receiver = await openReceiver()
})
afterEach(() => receiver.close())

describe('a delivery', () => {
	test('carries the event, signed so that a public library accepts it', async () => {
		const { secret } = await hook()
		const agent = await join()
		await agent.send(violation({ workload: 'web', peerAddress: '192.0.2.9', why: 'no rule' }))
		expect(fleet.counts.outbox).toBe(1)
		expect(await deliverDue(fleet)).toBeUndefined()
		const [got] = receiver.requests
		const payload = new Webhook(secret).verify(got?.body ?? '', headersOf(got))
		const [told] = fleet.told
		expect(payload).toMatchObject({
			type: 'network.violation',
			timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
			data: { id: told?.id, kind: 'violation', clientGroup: 'rf.web.shop', why: 'no rule' },
		})
		expect(got?.headers).toMatchObject({
			'content-type': 'application/json',
			'user-agent': 'ringfence',
		})
		expect(await rows()).toMatchObject([{ state: 'delivered', attempts: 1, lastStatus: 200 }])
	})

	test('does not verify with another secret or another body', async () => {
		const { secret, id } = await hook()
		await pingWebhook(fleet, act(), id)
		await deliverDue(fleet)
		const [got] = receiver.requests
		const verify = (key: string, body: string) => () =>
			new Webhook(key).verify(body, headersOf(got))
		expect(verify(secret, got?.body ?? '')).not.toThrow()
		expect(verify(secret, `${got?.body} `)).toThrow()
		expect(verify((await hook()).secret, got?.body ?? '')).toThrow()
	})

	test('goes only to webhooks that want it', async () => {
		await hook({ name: 'all' })
		await hook({ name: 'violations', kinds: ['violation'] })
		await hook({ name: 'threats', kinds: ['threat'] })
		await hook({ name: 'grave', severityMin: 'critical' })
		await hook({ name: 'off', isEnabled: false })
		expect(await enqueue(event({ kind: 'violation', severity: 'medium' }))).toBe(2)
		expect(await enqueue(event({ kind: 'agent', severity: 'critical' }))).toBe(2)
	})

	test('of a large event leaves its detail out', async () => {
		await hook()
		await enqueue(event({ detail: { text: 'x'.repeat(50_000) } }))
		await deliverDue(fleet)
		const body = receiver.requests[0]?.body ?? ''
		expect(body.length).toBeLessThan(20_000)
		expect(JSON.parse(body).data).toMatchObject({ id: 'e1', isDetailOmitted: true })
	})
})

describe('a failed attempt', () => {
	test('is made again under the same id, with a fresh timestamp', async () => {
		await hook()
		await enqueue()
		receiver.answers.push({ status: 500 }, { status: 204 })
		const next = (await deliverDue(fleet)) ?? 0
		expect(next - fleet.time.now).toBeGreaterThanOrEqual(5000)
		expect(next - fleet.time.now).toBeLessThanOrEqual(5500)
		expect(await rows()).toMatchObject([{ state: 'due', lastStatus: 500, lastError: 'status 500' }])
		expect(await deliverDue(fleet)).toBe(next)
		expect(receiver.requests).toHaveLength(1)
		fleet.time.now = next
		expect(await deliverDue(fleet)).toBeUndefined()
		const [first, second] = receiver.requests.map(({ headers }) => headers)
		expect(second?.['webhook-id']).toBe(first?.['webhook-id'])
		expect(second?.['webhook-timestamp']).not.toBe(first?.['webhook-timestamp'])
		expect(await rows()).toMatchObject([{ state: 'delivered', attempts: 2, lastStatus: 204 }])
	})

	test('waits as long as the receiver asks', async () => {
		await hook()
		await enqueue()
		receiver.answers.push({ status: 503, headers: { 'retry-after': '120' } })
		expect(await deliverDue(fleet)).toBe(fleet.time.now + 120_000)
		fleet.time.now += 120_000
		const date = new Date(fleet.time.now + 2 * HOUR_MS).toUTCString()
		receiver.answers.push({ status: 429, headers: { 'retry-after': date } })
		expect(await deliverDue(fleet)).toBe(Date.parse(date))
	})

	test.each([
		[
			'a redirect',
			{ status: 302, headers: { location: '/elsewhere' } },
			'redirects are not followed',
		],
		['a refusal', { status: 400 }, 'status 400'],
	])('is %s too', async (_, answer, lastError) => {
		await hook()
		await enqueue()
		receiver.answers.push(answer)
		await deliverDue(fleet)
		expect(receiver.requests).toHaveLength(1)
		expect(await rows()).toMatchObject([{ state: 'due', lastError, lastStatus: answer.status }])
	})

	test('is a receiver that is not there', async () => {
		await hook()
		await enqueue()
		await receiver.close()
		await deliverDue(fleet)
		expect(await rows()).toMatchObject([
			{ state: 'due', lastError: 'ECONNREFUSED', lastStatus: null },
		])
	})

	test('comes to an end after ten, and starts over when somebody says so', async () => {
		const { id } = await hook()
		await enqueue()
		receiver.status = 500
		let attempts = 0
		for (;;) {
			const next = await deliverDue(fleet)
			attempts++
			if (next === undefined) break
			fleet.time.now = next
		}
		expect(attempts).toBe(ATTEMPTS_MAX)
		const [row] = await rows()
		expect(row).toMatchObject({ state: 'dead', attempts: ATTEMPTS_MAX })
		receiver.status = 200
		await replayDelivery(fleet, act(), { webhookId: id, id: row?.id ?? '' })
		await deliverDue(fleet)
		expect(await rows()).toMatchObject([{ id: row?.id, state: 'delivered', attempts: 1 }])
	})
})

test('the pauses are those of Standard Webhooks, and a little more', () => {
	const pauses = Array.from({ length: ATTEMPTS_MAX - 1 }, (_, i) => nextAttemptAt(i + 1, 0) ?? 0)
	const wanted = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
	for (const [index, seconds] of wanted.entries()) {
		expect(pauses[index]).toBeGreaterThanOrEqual(seconds * 1000)
		expect(pauses[index]).toBeLessThanOrEqual(seconds * 1100)
	}
	expect(nextAttemptAt(ATTEMPTS_MAX, 0)).toBeUndefined()
})

describe('a webhook', () => {
	test('is switched off by 410, and what waits for it waits', async () => {
		const { id } = await hook()
		await enqueue(event({ id: 'e1' }))
		receiver.status = 410
		expect(await deliverDue(fleet)).toBeUndefined()
		const [row] = await fleet.store.db.select().from(webhooks)
		expect(row).toMatchObject({ isEnabled: false, disabledWhy: 'The receiver answered 410 Gone.' })
		expect(await rows()).toMatchObject([{ state: 'dead', attempts: 1 }])
		expect(await enqueue(event({ id: 'e2' }))).toBe(0)
		const expected = row?.revision ?? 0
		await patchWebhook(fleet, act(), { id, expected }, { isEnabled: true })
		expect(await enqueue(event({ id: 'e3' }))).toBe(1)
	})

	test('is switched off after five days of nothing but failures', async () => {
		await hook()
		receiver.status = 500
		for (let hours = 0; hours <= 120; hours += 24) {
			await enqueue(event({ id: `e${hours}` }))
			await deliverDue(fleet)
			fleet.time.now += 24 * HOUR_MS
		}
		const [row] = await fleet.store.db.select().from(webhooks)
		expect(row).toMatchObject({ isEnabled: false, disabledWhy: 'It failed for five days.' })
	})

	test('that answers once in a while stays on', async () => {
		await hook()
		for (let hours = 0; hours <= 240; hours += 24) {
			receiver.status = hours === 120 ? 200 : 500
			await enqueue(event({ id: `e${hours}` }))
			await deliverDue(fleet)
			fleet.time.now += 23 * HOUR_MS
		}
		const [row] = await fleet.store.db.select().from(webhooks)
		expect(row?.isEnabled).toBe(true)
	})

	test('has at most four attempts at a time, whoever makes them', async () => {
		await hook()
		for (let i = 0; i < 20; i++) await enqueue(event({ id: `e${i}` }))
		receiver.hold()
		const calls = [deliverDue(fleet), deliverDue(fleet), deliverDue(fleet)]
		await receiver.arrived(4)
		expect(receiver.openMax).toBe(4)
		receiver.release()
		await Promise.all(calls)
		expect(receiver.openMax).toBe(4)
		const ids = receiver.requests.map(({ headers }) => headers['webhook-id'])
		expect([ids.length, new Set(ids).size]).toEqual([20, 20])
		expect((await rows()).every(({ state }) => state === 'delivered')).toBe(true)
	})

	test('that is slow holds up no other', async () => {
		const slow = await openReceiver()
		await hook({ url: slow.url })
		await enqueue(event({ id: 'e1' }))
		slow.hold()
		const call = deliverDue(fleet)
		await slow.arrived(1)
		await hook()
		await enqueue(event({ id: 'e2' }))
		const second = deliverDue(fleet)
		await receiver.arrived(1)
		slow.release()
		await Promise.all([call, second])
		await slow.close()
	})

	test('has a queue with an end, and counts what did not fit', async () => {
		const { id } = await hook()
		const due = { webhookId: id, eventId: '', body: '', state: 'due' as const }
		const at = { nextAt: START_MS, createdAt: START_MS }
		await fleet.store.write(async (tx) => {
			for (let from = 0; from < DUE_MAX; from += 1000) {
				const made = Array.from({ length: 1000 }, (_, i) => ({ id: `m${from + i}`, ...due, ...at }))
				await tx.insert(outbox).values(made)
			}
		})
		expect(await enqueue()).toBe(0)
		const [row] = await fleet.store.db.select().from(webhooks)
		expect(row?.dropped).toBe(1)
	})
})

test('a delivery whose controller died is made by another after its lease', async () => {
	await hook()
	await enqueue()
	const { now } = fleet.time
	await fleet.store.write((tx) => tx.update(outbox).set({ leasedUntil: now + 60_000 }))
	expect(await deliverDue(fleet)).toBe(now + 60_000)
	expect(receiver.requests).toHaveLength(0)
	fleet.time.now = now + 60_000
	expect(await deliverDue(fleet)).toBeUndefined()
	expect(receiver.requests).toHaveLength(1)
})

test('a long queue costs an attempt no more than a short one', async () => {
	const hooks = [await hook(), await hook({ name: 'other' })]
	const due = { eventId: '', body: '{}', state: 'due' as const }
	const at = { nextAt: START_MS, createdAt: START_MS }
	await fleet.store.write(async (tx) => {
		for (let i = 0; i < DUE_MAX; i += 500) {
			const made = Array.from({ length: 500 }, (_, n) => `m${String(i + n).padStart(5, '0')}`)
			for (const { id: webhookId } of hooks)
				await tx
					.insert(outbox)
					.values(made.map((id) => ({ id: `${id}-${webhookId}`, webhookId, ...due, ...at })))
		}
	})
	receiver.hold()
	const began = performance.now()
	const call = deliverDue(fleet)
	await receiver.arrived(8)
	// Looking at the queue once for each of its rows takes a minute.
	expect(performance.now() - began).toBeLessThan(2000)
	const ids = receiver.requests.map(({ headers }) => String(headers['webhook-id']).slice(0, 6))
	expect(ids.sort()).toEqual(['m00000', 'm00001', 'm00002', 'm00003'].flatMap((id) => [id, id]))
	await fleet.store.write((tx) => tx.update(webhooks).set({ isEnabled: false }))
	receiver.release()
	await call
})

test('old deliveries are forgotten, but none that is still due', async () => {
	await hook()
	await enqueue(event({ id: 'e1' }))
	await deliverDue(fleet)
	receiver.status = 500
	await enqueue(event({ id: 'e2' }))
	await deliverDue(fleet)
	fleet.time.now += 14 * 24 * HOUR_MS
	expect(await ageOut(fleet)).toMatchObject({ outbox: 1 })
	expect(await rows()).toMatchObject([{ eventId: 'e2', state: 'due' }])
	await fleet.store.write((tx) => tx.update(webhooks).set({ isEnabled: false }))
	expect(await ageOut(fleet)).toMatchObject({ outbox: 1 })
})

function act() {
	return { actor: 'system', now: fleet.time.now }
}

function hook(more: Partial<Parameters<typeof createWebhook>[2]> = {}) {
	const wanted = { name: 'hook', kinds: [], severityMin: 'info' as const, isEnabled: true }
	return createWebhook(fleet, act(), { ...wanted, url: receiver.url, ...more })
}

async function join(): Promise<TestAgent> {
	const agent = await joinAgent(fleet, 'n1', ['10.0.0.1/24'])
	await agent.report([workload('web', ['10.0.0.2/24'])])
	return agent
}

function enqueue(row: EventRow = event()): Promise<number> {
	return fleet.store.write((tx) => enqueueDeliveries(tx, [row], fleet.time.now))
}

function event(more: Partial<EventRow> = {}): EventRow {
	const none = { nodeId: null, client: null, server: null, clientGroup: null, serverGroup: null }
	const noPort = { protocol: null, serverPort: null, application: null }
	const { now } = fleet.time
	return {
		id: 'e1',
		kind: 'violation',
		name: 'connection not allowed',
		severity: 'medium',
		at: now,
		lastAt: now,
		count: 1,
		...none,
		...noPort,
		why: 'no rule',
		dedupeKey: 'key',
		detail: {},
		...more,
	}
}

function rows() {
	return fleet.store.db.select().from(outbox).orderBy(outbox.id)
}

interface Got {
	readonly headers: IncomingHttpHeaders
	readonly body: string
}

function headersOf(got: Got | undefined): Record<string, string> {
	const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature']
	return Object.fromEntries(names.map((name) => [name, String(got?.headers[name])]))
}

interface Receiver {
	readonly url: string
	readonly requests: Got[]
	/** Answers to the next requests; then `status`. */
	readonly answers: { status: number; headers?: Record<string, string> }[]
	status: number
	readonly openMax: number
	/** Lets requests wait. */
	hold(): void
	release(): void
	/** Resolves when so many requests have come. */
	arrived(count: number): Promise<void>
	close(): Promise<void>
}

/** A receiver on loopback. */
async function openReceiver(): Promise<Receiver> {
	const requests: Got[] = []
	const answers: Receiver['answers'] = []
	let gate = Promise.resolve()
	let open: () => void = () => {}
	let inside = 0
	let openMax = 0
	const server: Server = createServer(async (request, response) => {
		openMax = Math.max(openMax, ++inside)
		let body = ''
		for await (const chunk of request) body += chunk
		requests.push({ headers: request.headers, body })
		await gate
		inside--
		const { status, headers } = answers.shift() ?? { status: receiver.status, headers: {} }
		response.writeHead(status, headers).end(status === 204 ? undefined : 'answer')
	})
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
	const { port } = server.address() as AddressInfo
	const receiver: Receiver = {
		url: `http://127.0.0.1:${port}/hook`,
		requests,
		answers,
		status: 200,
		get openMax() {
			return openMax
		},
		hold() {
			gate = new Promise((resolve) => {
				open = resolve
			})
		},
		release: () => open(),
		arrived: (count) => expect.poll(() => requests.length, { interval: 5 }).toBe(count),
		close: async () => {
			server.closeAllConnections()
			await new Promise((resolve) => server.close(resolve))
		},
	}
	return receiver
}
