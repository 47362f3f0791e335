import { expect, it } from 'vitest'
import { ControllerWatch } from './controller-watch.ts'

const LIVE = false
const RETAINED = true

it('asks for a greeting when a controller begins to listen after the connection', () => {
	const watch = connected()
	expect(watch.observe(state('a', true), LIVE)).toBe(true)
})

it('asks for none when the controller was there before, and when it repeats itself', () => {
	const watch = connected()
	expect(watch.observe(state('a', true), RETAINED)).toBe(false)
	watch.answered()
	expect(watch.observe(state('a', true), LIVE)).toBe(false)
	expect(watch.observe(state('a', true), LIVE)).toBe(false)
})

it('asks for one when the controller starts anew or comes back', () => {
	const watch = connected()
	watch.observe(state('a', true), RETAINED)
	watch.answered()
	expect(watch.observe(state('b', true), LIVE)).toBe(true)
	expect(watch.observe(state('b', false), LIVE)).toBe(false)
	expect(watch.observe(state('b', true), LIVE)).toBe(true)
})

it('asks for one when only the broker was away, and its retained word is from before', () => {
	const watch = connected()
	watch.observe(state('a', true), RETAINED)
	watch.answered()
	watch.connected()
	expect(watch.observe(state('a', true), RETAINED)).toBe(false)
	expect(watch.observe(state('a', true), LIVE)).toBe(true)
	expect(watch.observe(state('a', true), LIVE)).toBe(false)
})

function connected(): ControllerWatch {
	const watch = new ControllerWatch()
	watch.connected()
	return watch
}

function state(boot: string, isUp: boolean) {
	return { v: 1, boot, isUp, at: 1 } as const
}
