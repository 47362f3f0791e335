import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { startDueLoop, startPeriodicLoop } from './loops.ts'

const clock = { now: () => Date.now() }
const log = () => undefined

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('loop over what is due', () => {
	it('joins pokes, and comes back when the work says so', async () => {
		const rounds: number[] = []
		const start = Date.now()
		const next = [start + 5000, undefined]
		const loop = startDueLoop(
			async () => {
				rounds.push(Date.now() - start)
				return next[rounds.length - 1]
			},
			{ clock, log, name: 'x' },
		)
		for (let i = 0; i < 10; i++) loop.poke()
		await vi.advanceTimersByTimeAsync(60_000)
		expect(rounds).toEqual([20, 5000])
		await loop.stop()
	})

	it('starts another round for a change while one waits', async () => {
		let started = 0
		const loop = startDueLoop(
			() => {
				started += 1
				return new Promise(() => undefined)
			},
			{ clock, log, name: 'x' },
		)
		loop.poke()
		await vi.advanceTimersByTimeAsync(100)
		loop.poke()
		await vi.advanceTimersByTimeAsync(100)
		expect(started).toBe(2)
	})

	it('tries again after a failure, and not after its stop', async () => {
		let rounds = 0
		const loop = startDueLoop(
			async () => {
				rounds += 1
				throw new Error('no database')
			},
			{ clock, log, name: 'x' },
		)
		loop.poke()
		await vi.advanceTimersByTimeAsync(5_100)
		expect(rounds).toBe(2)
		await loop.stop()
		loop.poke()
		await vi.advanceTimersByTimeAsync(60_000)
		expect(rounds).toBe(2)
	})
})

describe('periodic loop', () => {
	it('pauses between runs, goes on after a failure, and waits for a run at its stop', async () => {
		let runs = 0
		let isRunning = false
		const work = async () => {
			runs += 1
			isRunning = true
			await new Promise((resolve) => setTimeout(resolve, 100))
			isRunning = false
			throw new Error('x')
		}
		const loop = startPeriodicLoop(work, { everyMs: 1000, log, name: 'x' })
		await vi.advanceTimersByTimeAsync(2150)
		expect(runs).toBe(2)
		expect(isRunning).toBe(true)
		const stopped = loop.stop()
		await vi.advanceTimersByTimeAsync(5000)
		await stopped
		expect([runs, isRunning]).toEqual([2, false])
	})
})
