import { gzipSync } from 'node:zlib'
import { decodeMessage } from '@ringfence/shared/contract/codec'
import { commandSchema, telemetryAckSchema } from '@ringfence/shared/contract/messages'
import { agentTopics, controllerTopics } from '@ringfence/shared/contract/topics'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Bus } from '../fleet/fleet.ts'
import type { Intake } from '../fleet/intake/intake.ts'
import { createRouter, type Router } from './router.ts'
import { quiet } from './test-clients.ts'

const CLUSTER = 'c1'
const A = agentTopics(CLUSTER, 'n-a')
const B = agentTopics(CLUSTER, 'n-b')
const V = { v: 1, boot: 'b1', at: 1 }
const PRESENCE = { ...V, isUp: true }
const BATCH = { ...V, seq: 7, floor: 1, records: [] }
const STATUS = { ...V, document: 'policy', epoch: 1, generation: 2, state: 'applied' }
const REPORT = { ...V, revision: 1, workloads: [] }
const RESULT = { v: 1, id: 'c-1', ok: true, at: 1 }
const FACTS = {
	hostname: 'h',
	os: 'o',
	kernel: 'k',
	arch: 'a',
	agentVersion: '1',
	interfaces: [],
	canCapture: true,
}
const HELLO = { v: 1, boot: 'b1', startedAt: 1, facts: FACTS, applied: [] }

let calls: unknown[][]
let published: { topic: string; payload: Uint8Array; isRetained: boolean }[]
let failures: number
let router: Router

beforeEach(() => {
	calls = []
	published = []
	failures = 0
	router = createRouter({
		cluster: CLUSTER,
		intake: recordingIntake(),
		bus: recordingBus(),
		isKnownNode: async (node) => node !== 'n-removed',
		clock: { now: () => 0 },
		log: quiet,
	})
})
afterEach(() => void vi.useRealTimers())

describe('messages that are well', () => {
	it('reach the domain by their topic, plain or compressed', async () => {
		deliver(A.presence, PRESENCE)
		deliver(A.hello, HELLO)
		accept(A.workloads, gzipSync(JSON.stringify(REPORT)))
		deliver(A.status('policy'), STATUS)
		deliver(A.result, RESULT)
		deliver(A.telemetry, BATCH)
		await router.idle()
		expect(calls).toEqual([
			['presence', 'n-a', PRESENCE],
			['hello', 'n-a', HELLO],
			['workloads', 'n-a', REPORT],
			['status', 'n-a', STATUS],
			['result', 'n-a', RESULT],
			['telemetry', 'n-a', BATCH],
		])
		expect(router.counters()).toEqual({})
	})

	it('of telemetry are acknowledged to their node when the domain has them', async () => {
		deliver(B.telemetry, BATCH)
		await router.idle()
		expect(await acks()).toEqual([[B.ack, { v: 1, boot: 'b1', seq: 7 }]])
	})
})

describe('messages that are not', () => {
	it('are told to the domain with channel and reason', async () => {
		deliver(A.hello, { ...HELLO, v: 2 })
		deliver(A.status('addresses'), STATUS)
		accept(A.workloads, Buffer.from('no json'))
		deliver(A.presence, { ...PRESENCE, extra: 1 })
		await router.idle()
		expect(calls).toEqual([
			['rejected', 'n-a', 'hello', 'v: contract version 2 is not 1'],
			['rejected', 'n-a', 'status/addresses', expect.stringMatching(/^document: /)],
			['rejected', 'n-a', 'workloads', expect.stringMatching(/JSON/)],
			['rejected', 'n-a', 'presence', expect.stringMatching(/extra/)],
		])
		expect(router.counters()).toEqual({ unreadable: 4 })
		expect(published).toEqual([])
	})

	it('of telemetry are rejected by number, so that the agent drops them', async () => {
		deliver(A.telemetry, { ...BATCH, seq: 9, records: [{ kind: 'nonsense' }] })
		accept(A.telemetry, gzipSync(JSON.stringify({ ...BATCH, v: 2 })))
		await router.idle()
		expect(await acks()).toEqual([
			[
				A.ack,
				{ v: 1, boot: 'b1', seq: 0, rejected: { seq: 9, why: expect.stringMatching(/records/) } },
			],
			[
				A.ack,
				{ v: 1, boot: 'b1', seq: 0, rejected: { seq: 7, why: expect.stringMatching(/version 2/) } },
			],
		])
		expect(calls.map(([name]) => name)).toEqual(['rejected', 'rejected'])
	})

	it('of telemetry without a readable number are told to the domain only', async () => {
		deliver(A.telemetry, { ...BATCH, boot: '../x' })
		accept(A.telemetry, gzipSync(Buffer.alloc(5 * 1024 * 1024)))
		await router.idle()
		expect(published).toEqual([])
		expect(calls).toEqual([
			['rejected', 'n-a', 'telemetry', expect.stringMatching(/boot/)],
			['rejected', 'n-a', 'telemetry', 'message too large'],
		])
	})

	it('never trouble the domain when their topic is none of an agent', async () => {
		const topics = [
			A.ack,
			A.command,
			'rf/v1/c1/agent/n-a/up/other',
			'x',
			controllerTopics('c2').state,
		]
		for (const topic of topics) deliver(topic, PRESENCE)
		await router.idle()
		expect(calls).toEqual([])
		expect(router.counters()).toEqual({ 'unknown-topic': topics.length })
	})

	it('never throw, whatever the bytes and topics', async () => {
		const topic = fc.oneof(fc.constantFrom(A.hello, A.telemetry, A.presence), fc.string())
		const bytes = fc.oneof(
			fc.uint8Array({ maxLength: 200 }),
			fc.json().map((text) => new TextEncoder().encode(text)),
			fc.uint8Array({ maxLength: 100 }).map((tail) => Uint8Array.of(0x1f, 0x8b, ...tail)),
		)
		let accepted = 0
		await fc.assert(
			fc.asyncProperty(topic, bytes, async (name, payload) => {
				if (payload.length > 0) accepted += 1
				accept(name, payload)
				await router.idle()
			}),
		)
		const counted = Object.values(router.counters()).reduce((sum, count) => sum + count, 0)
		expect(counted).toBeGreaterThan(accepted * 0.9)
	})
})

describe('what brokers keep of removed nodes', () => {
	it('is cleared, and does not reach the domain', async () => {
		const removed = agentTopics(CLUSTER, 'n-removed')
		accept(removed.presence, encode(PRESENCE))
		accept(removed.status('policy'), encode(STATUS), true)
		accept(A.status('policy'), encode(STATUS), true)
		await router.idle()
		expect(calls).toEqual([['status', 'n-a', STATUS]])
		expect(
			published.map(({ topic, payload, isRetained }) => [topic, payload.length, isRetained]),
		).toEqual([
			[removed.presence, 0, true],
			[removed.status('policy'), 0, true],
		])
	})

	it('comes back to us as an empty message, which is none', async () => {
		accept(A.presence, new Uint8Array())
		await router.idle()
		expect(calls).toEqual([])
	})
})

describe('a domain that fails', () => {
	it('is asked again for what nobody sends again', async () => {
		vi.useFakeTimers({ toFake: ['setTimeout'] })
		failures = 2
		deliver(A.hello, HELLO)
		const idle = router.idle()
		for (let i = 0; i < 50; i++) {
			await new Promise(setImmediate)
			vi.advanceTimersByTime(1000)
		}
		await idle
		expect(calls).toEqual([['hello', 'n-a', HELLO]])
		expect(router.counters()).toEqual({})
	})

	it('leaves telemetry without acknowledgement, for the agent to send again', async () => {
		failures = 1
		deliver(A.telemetry, BATCH)
		deliver(A.telemetry, BATCH)
		await router.idle()
		expect(router.counters()).toEqual({ failed: 1 })
		expect(await acks()).toHaveLength(1)
	})
})

describe('what an agent says only once and the controller lost', () => {
	beforeEach(() => void vi.useFakeTimers())

	it('is asked for again, once for all that was lost', async () => {
		failures = 6
		deliver(A.workloads, REPORT)
		deliver(A.hello, HELLO)
		deliver(A.telemetry, BATCH)
		await vi.advanceTimersByTimeAsync(30_000)
		expect(router.counters()).toEqual({ failed: 2 })
		const commands = published.filter(({ topic }) => topic === A.command)
		expect(commands).toMatchObject([{ isRetained: false }])
		expect(await decodeMessage(commandSchema, commands[0]?.payload ?? new Uint8Array())).toEqual({
			ok: true,
			value: expect.objectContaining({ command: { kind: 'resync' } }),
		})
	})

	it('is asked for when there were too many messages to keep', async () => {
		for (let i = 0; i < 80; i++) deliver(A.workloads, REPORT)
		await vi.advanceTimersByTimeAsync(30_000)
		expect(router.counters()['dropped']).toBeGreaterThan(0)
		expect(published.map(({ topic }) => topic)).toEqual([A.command])
	})

	it('is not asked for when the agent sends it again by itself, or nobody needs it', async () => {
		failures = 4
		deliver(A.telemetry, BATCH)
		deliver(A.result, RESULT)
		await vi.advanceTimersByTimeAsync(30_000)
		expect(router.counters()).toEqual({ failed: 2 })
		expect(published).toEqual([])
	})
})

function deliver(topic: string, message: unknown): void {
	accept(topic, encode(message))
}

function accept(topic: string, payload: Uint8Array, isRetained = false): void {
	router.accept({ topic, payload, isRetained })
}

function encode(message: unknown): Uint8Array {
	return new TextEncoder().encode(JSON.stringify(message))
}

async function acks() {
	return Promise.all(
		published.map(async ({ topic, payload }) => {
			const decoded = await decodeMessage(telemetryAckSchema, payload)
			return [topic, decoded.ok ? decoded.value : decoded.why]
		}),
	)
}

function recordingBus(): Bus {
	return {
		publish: async (topic, payload, { isRetained }) => {
			published.push({ topic, payload, isRetained })
		},
	}
}

/** Stands for the domain: notes what it is told, and fails as often as a test says. */
function recordingIntake(): Intake {
	const note =
		(name: string) =>
		async (...args: unknown[]) => {
			if (failures > 0) {
				failures -= 1
				throw new Error('no database')
			}
			calls.push([name, ...args])
		}
	return {
		presence: note('presence'),
		hello: note('hello'),
		workloads: note('workloads'),
		status: note('status'),
		result: note('result'),
		rejected: note('rejected'),
		async telemetry(node, batch) {
			await note('telemetry')(node, batch)
			return { v: 1, boot: batch.boot, seq: batch.seq }
		},
	}
}
