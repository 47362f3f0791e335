import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createOutgoing, type OutgoingMessage } from './outgoing.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('outgoing messages', () => {
	it('wait for a connection, then leave in order, sixteen unacknowledged at most', async () => {
		const outgoing = createOutgoing(ignore)
		const line = createLine()
		const done = Array.from({ length: 40 }, (_, i) => outgoing.push(message(i)))
		outgoing.attach(line.send)
		expect(line.sent).toHaveLength(16)
		while (line.waiting.length > 0) {
			line.acknowledge()
			await settle()
		}
		await Promise.all(done)
		expect(line.sent).toEqual(done.map((_, i) => `t/${i}`))
	})

	it('are sent again, first, over the next connection when one breaks', async () => {
		const outgoing = createOutgoing(ignore)
		const [first, second] = [createLine(), createLine()]
		const done = Array.from({ length: 20 }, (_, i) => outgoing.push(message(i)))
		outgoing.attach(first.send)
		first.acknowledge()
		await settle()
		first.breakAll()
		await settle()
		outgoing.detach()
		outgoing.attach(second.send)
		expect(second.sent[0]).toBe('t/1')
		while (second.waiting.length > 0) {
			second.acknowledge()
			await settle()
		}
		await Promise.all(done)
		expect(second.sent).toEqual(Array.from({ length: 19 }, (_, i) => `t/${i + 1}`))
	})

	it('are refused to their sender when the broker refuses them', async () => {
		const outgoing = createOutgoing(ignore)
		const line = createLine()
		outgoing.attach(line.send)
		const done = outgoing.push(message(1))
		line.refuse()
		await expect(done).rejects.toMatchObject({ code: 'refused' })
	})

	it('end after half a minute, and the connection that kept them is replaced', async () => {
		let stalls = 0
		const outgoing = createOutgoing(() => {
			stalls += 1
		})
		const waiting = expect(outgoing.push(message(1))).rejects.toMatchObject({ code: 'timeout' })
		vi.advanceTimersByTime(30_000)
		await waiting
		expect(stalls).toBe(0)
		outgoing.attach(createLine().send)
		const kept = expect(outgoing.push(message(2))).rejects.toMatchObject({ code: 'timeout' })
		vi.advanceTimersByTime(30_000)
		await kept
		expect(stalls).toBe(1)
	})

	it('give up a message over which every connection breaks', async () => {
		const outgoing = createOutgoing(ignore)
		const poison = expect(outgoing.push(message(1))).rejects.toMatchObject({ code: 'refused' })
		for (let i = 0; i < 4; i++) {
			outgoing.attach(createLine().send)
			outgoing.detach()
		}
		await poison
	})

	it('are refused at once beyond the bound', async () => {
		const outgoing = createOutgoing(ignore)
		const big = new Uint8Array(128 * 1024 * 1024)
		const kept = [1, 2].map((i) => outgoing.push({ ...message(i), payload: big }))
		await expect(outgoing.push(message(3))).rejects.toMatchObject({ code: 'full' })
		outgoing.stop()
		for (const one of kept) await expect(one).rejects.toMatchObject({ code: 'stopped' })
		await expect(outgoing.push(message(4))).rejects.toMatchObject({ code: 'stopped' })
	})
})

/** A connection under the test's hand: the oldest unacknowledged message is acknowledged or refused. */
function createLine() {
	const sent: string[] = []
	const waiting: {
		resolve: (outcome: 'taken' | 'ended') => void
		reject: (error: Error) => void
	}[] = []
	return {
		sent,
		waiting,
		send: ({ topic }: OutgoingMessage) =>
			new Promise<'taken' | 'ended'>((resolve, reject) => {
				sent.push(topic)
				waiting.push({ resolve, reject })
			}),
		acknowledge: () => waiting.shift()?.resolve('taken'),
		refuse: () => waiting.shift()?.reject(new Error('not authorized')),
		breakAll() {
			for (const { resolve } of waiting.splice(0)) resolve('ended')
		},
	}
}

function message(i: number): OutgoingMessage {
	return { topic: `t/${i}`, payload: Uint8Array.of(i), isRetained: false }
}

function ignore(): void {}

async function settle(): Promise<void> {
	for (let i = 0; i < 5; i++) await Promise.resolve()
}
