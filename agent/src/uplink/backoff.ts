/** Bounds of a back-off, in milliseconds. */
export interface Backoff {
	readonly firstMs: number
	readonly maxMs: number
	/** Factor by which each failure raises the ceiling; 2 unless said otherwise. */
	readonly growth?: number
}

/**
 * How long to wait before a try: anywhere between 0 and a ceiling that grows with each failure. The full jitter keeps
 * a fleet from coming back at one moment.
 * @param failures tries that failed in a row, from 0
 */
export function jitteredDelayMs(backoff: Backoff, failures: number): number {
	const { firstMs, maxMs, growth = 2 } = backoff
	return Math.random() * Math.min(maxMs, firstMs * growth ** failures)
}
