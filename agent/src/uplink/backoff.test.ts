import fc from 'fast-check'
import { expect, it } from 'vitest'
import { jitteredDelayMs } from './backoff.ts'

const BACKOFF = { firstMs: 250, maxMs: 60_000 }

it('never waits longer than a ceiling that grows up to the maximum', () => {
	fc.assert(
		fc.property(fc.nat(10_000), fc.constantFrom(1.25, 2), (failures, growth) => {
			const delayMs = jitteredDelayMs({ ...BACKOFF, growth }, failures)
			expect(delayMs).toBeGreaterThanOrEqual(0)
			expect(delayMs).toBeLessThanOrEqual(Math.min(60_000, 250 * growth ** failures))
		}),
	)
})

it('spreads waits over the whole span, so that a fleet does not come back at one moment', () => {
	const delays = Array.from({ length: 1_000 }, () => jitteredDelayMs(BACKOFF, 20))
	for (const quarter of [0, 15_000, 30_000, 45_000]) {
		const inside = delays.filter((delay) => delay >= quarter && delay < quarter + 15_000)
		expect(inside.length).toBeGreaterThan(150)
	}
})
