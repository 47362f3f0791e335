import { describe, expect, it } from 'vitest'
import { createInbox } from './inbox.ts'

describe('inbox', () => {
	it('works on the messages of one sender one after the other, in order', async () => {
		const seen: number[] = []
		let running = 0
		const inbox = createInbox<Message>(async (_sender, { number }) => {
			running += 1
			expect(running).toBe(1)
			await turns(number % 3)
			seen.push(number)
			running -= 1
		}, ignore)
		for (let i = 0; i < 20; i++) inbox.put('a', message(i))
		await inbox.idle()
		expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => i))
	})

	it('works for four senders at a time and lets a flood of one not starve the others', async () => {
		const order: string[] = []
		let running = 0
		let most = 0
		const inbox = createInbox<Message>(async (sender) => {
			running += 1
			most = Math.max(most, running)
			await turns(2)
			order.push(sender)
			running -= 1
		}, ignore)
		for (let i = 0; i < 50; i++) inbox.put('flood', message(i))
		for (const sender of ['b', 'c', 'd', 'e', 'f']) inbox.put(sender, message(0))
		await inbox.idle()
		expect(most).toBe(4)
		expect(order.indexOf('f')).toBeLessThan(12)
	})

	it('drops the oldest of a sender over its bound, and says so', async () => {
		const seen: number[] = []
		const dropped: string[] = []
		const inbox = createInbox<Message>(
			async (_sender, { number }) => void seen.push(number),
			(sender) => dropped.push(sender),
		)
		for (let i = 0; i < 100; i++) inbox.put('a', message(i))
		await inbox.idle()
		expect(dropped).toEqual(Array.from({ length: 100 - seen.length }, () => 'a'))
		expect(seen.length).toBeGreaterThanOrEqual(64)
		expect(seen.at(-1)).toBe(99)
	})

	it('bounds the bytes of all senders together', async () => {
		let held = 0
		let taken = 0
		const inbox = createInbox<Message>(
			async () => {
				await turns(1)
				taken += 1
			},
			() => {
				held += 1
			},
		)
		const big = { number: 0, payload: new Uint8Array(1024 * 1024) }
		for (let i = 0; i < 200; i++) inbox.put(`s${i}`, big)
		await inbox.idle()
		expect(taken + held).toBe(200)
		expect(taken).toBeLessThanOrEqual(64 + 4)
	})

	it('forgets what waits when it is stopped, and ends what has begun', async () => {
		const seen: number[] = []
		const inbox = createInbox<Message>(async (_sender, { number }) => {
			await turns(3)
			seen.push(number)
		}, ignore)
		for (let i = 0; i < 10; i++) inbox.put('a', message(i))
		await inbox.stop()
		expect(seen).toEqual([0])
	})
})

interface Message {
	readonly number: number
	readonly payload: Uint8Array
}

function message(number: number): Message {
	return { number, payload: new Uint8Array(8) }
}

function ignore(): void {}

async function turns(count: number): Promise<void> {
	for (let i = 0; i < count; i++) await Promise.resolve()
}
