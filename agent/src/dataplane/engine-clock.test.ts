import { expect, test } from 'vitest'
import { EngineClock } from './engine-clock.ts'

const HOUR_US = 3_600_000_000
const START_US = 1_790_000_000_000_000

test('follows the wall clock as time passes, however long nobody asked', () => {
	const clock = new EngineClock()
	expect(clock.read(START_US, 7)).toBe(START_US)
	expect(clock.read(START_US + HOUR_US, 7 + HOUR_US)).toBe(START_US + HOUR_US)
	expect(clock.shiftUs).toBe(0)
})

test('a step forward ends no session: time goes on from where it was, and it says how far it is behind', () => {
	const clock = new EngineClock()
	clock.read(START_US, 0)
	expect(clock.read(START_US + HOUR_US + 5, 5)).toBe(START_US + 5)
	expect(clock.shiftUs).toBe(-HOUR_US)
	expect(clock.read(START_US + HOUR_US + 9, 9)).toBe(START_US + 9)
	expect(clock.ofFrame(START_US + HOUR_US + 8)).toBe(START_US + 8)
})

test('goes on from where it was after a step back, and says how far it is ahead', () => {
	const clock = new EngineClock()
	clock.read(START_US, 0)
	expect(clock.read(START_US - HOUR_US, 0)).toBe(START_US)
	expect(clock.shiftUs).toBe(HOUR_US)
	expect(clock.read(START_US - HOUR_US + 5, 0)).toBe(START_US + 5)
})

test('stands still over a wobble', () => {
	const clock = new EngineClock()
	clock.read(START_US, 0)
	expect(clock.read(START_US - 10, 0)).toBe(START_US)
	expect(clock.shiftUs).toBe(0)
	expect(clock.read(START_US + 1, 0)).toBe(START_US + 1)
})

test('a frame stamped before a step back does not pull time into the future', () => {
	const clock = new EngineClock()
	clock.read(START_US, 0)
	clock.read(START_US - HOUR_US, 0)
	expect(clock.ofFrame(START_US - 1000)).toBe(START_US)
	expect(clock.ofFrame(START_US - HOUR_US - 1000)).toBe(START_US - 1000)
})
