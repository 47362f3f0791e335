/** Ceiling of the first delay; it doubles with each attempt. */
const FIRST_MS = 200
/** Delays never grow beyond this. */
export const DELAY_MAX_MS = 10_000

/**
 * How long to wait before attempt `attempt` (0 is the first retry): anywhere up to a doubling ceiling (full jitter), so that
 * peers who lost the same broker don't come back in step.
 * @param random in [0, 1)
 */
export function retryDelayMs(attempt: number, random: number): number {
	return Math.round(random * Math.min(DELAY_MAX_MS, FIRST_MS * 2 ** Math.min(attempt, 20)))
}
