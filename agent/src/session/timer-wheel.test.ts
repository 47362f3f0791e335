import fc from 'fast-check'
import { expect, it } from 'vitest'
import { TICK_US, TimerWheel } from './timer-wheel.ts'

const START_US = 1_700_000_000_000_000

it('fires each timer once, never early and at most a tick late', () => {
	const timers = fc.array(fc.integer({ min: 0, max: 1_600_000_000 }), { maxLength: 40 })
	const step = fc.integer({ min: 1_000_000, max: 300_000_000 })
	fc.assert(
		fc.property(timers, step, (delaysUs, stepUs) => {
			const wheel = new TimerWheel(delaysUs.length)
			for (const [i, delayUs] of delaysUs.entries()) wheel.arm(i, START_US + delayUs, START_US)
			const fired = new Map<number, number>()
			let nowUs = START_US
			while (fired.size < delaysUs.length) {
				const before = nowUs
				nowUs += stepUs
				wheel.advance(nowUs, (index) => {
					expect(fired.has(index)).toBe(false)
					fired.set(index, nowUs)
					const dueUs = START_US + (delaysUs[index] ?? 0)
					expect(dueUs).toBeLessThanOrEqual(nowUs)
					expect(dueUs).toBeGreaterThan(before - 2 * TICK_US)
				})
			}
			expect(wheel.nextUs()).toBeUndefined()
		}),
	)
})

it('fires all when the caller only follows nextUs', () => {
	const timers = fc.array(fc.integer({ min: 0, max: 5_000_000_000 }), { minLength: 1 })
	fc.assert(
		fc.property(timers, (delaysUs) => {
			const wheel = new TimerWheel(delaysUs.length)
			const dueUs = delaysUs.map((delayUs) => START_US + delayUs)
			for (const [i, atUs] of dueUs.entries()) wheel.arm(i, atUs, START_US)
			let fired = 0
			let rounds = 0
			for (let nowUs = wheel.nextUs(); nowUs !== undefined; nowUs = wheel.nextUs()) {
				const atUs = nowUs
				expect(++rounds).toBeLessThan(delaysUs.length * 8 + 8)
				wheel.advance(atUs, (index) => {
					const wantedUs = dueUs[index] ?? 0
					if (wantedUs > atUs) wheel.arm(index, wantedUs, atUs)
					else fired++
				})
			}
			expect(fired).toBe(delaysUs.length)
		}),
	)
})

it('keeps the earlier of two deadlines', () => {
	const wheel = new TimerWheel(1)
	wheel.arm(0, START_US + 5_000_000, START_US)
	wheel.arm(0, START_US + 9_000_000, START_US)
	expect(wheel.nextUs()).toBe(START_US + 5_000_000)
	wheel.arm(0, START_US + 2_000_000, START_US)
	expect(wheel.nextUs()).toBe(START_US + 2_000_000)
	wheel.disarm(0)
	expect(wheel.nextUs()).toBeUndefined()
})

it('takes out the right one of several in a slot', () => {
	const wheel = new TimerWheel(3)
	for (const index of [0, 1, 2]) wheel.arm(index, START_US + 1_000_000, START_US)
	wheel.disarm(1)
	const fired: number[] = []
	wheel.advance(START_US + 2_000_000, (index) => fired.push(index))
	expect(fired.sort()).toEqual([0, 2])
})

it('survives a jump of years', () => {
	const wheel = new TimerWheel(2)
	wheel.arm(0, START_US + 1_000_000, START_US)
	wheel.arm(1, START_US + 1_200_000_000, START_US)
	const fired: number[] = []
	const laterUs = START_US + 3e13
	wheel.advance(laterUs, (index) => {
		fired.push(index)
		if (index === 1 && fired.length < 3) wheel.arm(1, laterUs + 1_000_000, laterUs)
	})
	expect(fired.filter((index) => index === 0)).toEqual([0])
	wheel.advance(laterUs + 2_000_000, (index) => fired.push(index))
	expect(fired).toContain(1)
	expect(wheel.nextUs()).toBeUndefined()
})
