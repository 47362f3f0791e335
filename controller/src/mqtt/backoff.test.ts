import { expect, it } from 'vitest'
import { DELAY_MAX_MS, retryDelayMs } from './backoff.ts'

it('tries again at once-ish first, and never later than the cap', () => {
	expect(retryDelayMs(0, 0.999)).toBeLessThanOrEqual(200)
	expect(retryDelayMs(3, 0.5)).toBe(800)
	expect(retryDelayMs(1000, 0.999999)).toBeLessThanOrEqual(DELAY_MAX_MS)
	expect(retryDelayMs(1000, 0)).toBe(0)
})
