import { ProblemError } from './problem.ts'

/** Clients remembered; the one not seen for the longest time is forgotten. */
const CLIENTS_MAX = 10_000

interface Bucket {
	tokens: number
	at: number
}

/** Token buckets by client, in memory: each controller counts for itself. */
export interface RateLimit {
	/** @throws ProblemError 429 with Retry-After */
	take(client: string, now: number): void
}

/** Allows `burst` requests at once, and one more every `everyMs`. */
export function createRateLimit({ burst, everyMs }: { burst: number; everyMs: number }): RateLimit {
	const buckets = new Map<string, Bucket>()
	return {
		take(client, now) {
			const known = buckets.get(client) ?? { tokens: burst, at: now }
			const tokens = Math.min(burst, known.tokens + Math.max(now - known.at, 0) / everyMs)
			buckets.delete(client)
			buckets.set(client, { tokens: Math.max(tokens - 1, 0), at: now })
			forgetOldest(buckets)
			if (tokens >= 1) return
			const headers = { 'retry-after': String(Math.ceil(((1 - tokens) * everyMs) / 1000)) }
			throw new ProblemError(429, 'too-many', 'Slow down.', { headers })
		},
	}
}

function forgetOldest(buckets: Map<string, Bucket>): void {
	if (buckets.size <= CLIENTS_MAX) return
	const [oldest] = buckets.keys()
	if (oldest !== undefined) buckets.delete(oldest)
}
