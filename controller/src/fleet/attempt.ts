import type { outbox, webhooks } from '../db/schema.ts'
import { fromBase64, toBase64 } from './secrets.ts'

/** Standard Webhooks 1.0: "a timeout of 15-30 s". */
const TIMEOUT_MS = 15_000

/** Pauses before the attempts (Standard Webhooks 1.0, "retry schedule"): after the last one a delivery is dead. */
const PAUSES_SECONDS = [
	0,
	5,
	5 * 60,
	30 * 60,
	2 * 3600,
	5 * 3600,
	10 * 3600,
	14 * 3600,
	20 * 3600,
	24 * 3600,
] as const

export const ATTEMPTS_MAX = PAUSES_SECONDS.length

/** Retries spread over this share of their pause, so that what failed together does not come back together. */
const JITTER = 0.1

/** No receiver may put a delivery off for longer. */
const RETRY_AFTER_MS_MAX = 24 * 3_600_000

/** What came of an attempt. `gone`: the receiver wants no more (410). */
export interface Outcome {
	readonly kind: 'delivered' | 'failed' | 'gone'
	readonly status?: number
	readonly error?: string
	/** What the receiver asked for. */
	readonly retryAfterMs?: number | undefined
}

/** Posts a delivery once, signed as in Standard Webhooks 1.0. Never throws: a failure is an outcome. */
export async function attempt(
	webhook: typeof webhooks.$inferSelect,
	delivery: typeof outbox.$inferSelect,
	now: number,
): Promise<Outcome> {
	const { id, body } = delivery
	const timestamp = String(Math.floor(now / 1000))
	try {
		const response = await fetch(webhook.url, {
			method: 'POST',
			headers: {
				'content-type': 'application/json',
				'user-agent': 'ringfence',
				'webhook-id': id,
				'webhook-timestamp': timestamp,
				'webhook-signature': await sign(webhook.secret, `${id}.${timestamp}.${body}`),
			},
			body,
			redirect: 'manual',
			signal: AbortSignal.timeout(TIMEOUT_MS),
		})
		await response.body?.cancel()
		return outcomeOf(response, now)
	} catch (error) {
		return { kind: 'failed', error: describe(error) }
	}
}

/**
 * When the next attempt is due after so many.
 * @returns undefined when that was the last one
 */
export function nextAttemptAt(
	attempts: number,
	now: number,
	{ retryAfterMs = 0 }: Pick<Outcome, 'retryAfterMs'> = {},
): number | undefined {
	const pause = PAUSES_SECONDS[attempts]
	if (pause === undefined) return undefined
	const spread = 1 + JITTER * Math.random()
	return now + Math.round(Math.max(pause * 1000 * spread, retryAfterMs))
}

/** `v1,<base64 of HMAC-SHA256>` over `id.timestamp.body`, with the bytes behind `whsec_`. */
async function sign(secret: string, content: string): Promise<string> {
	const bytes = fromBase64(secret.slice('whsec_'.length))
	const algorithm = { name: 'HMAC', hash: 'SHA-256' }
	const key = await crypto.subtle.importKey('raw', bytes, algorithm, false, ['sign'])
	const mac = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(content))
	return `v1,${toBase64(new Uint8Array(mac))}`
}

function outcomeOf(response: Response, now: number): Outcome {
	const { status } = response
	if (status >= 200 && status < 300) return { kind: 'delivered', status }
	if (status === 410) return { kind: 'gone', status, error: 'gone' }
	const retryAfterMs = readRetryAfter(response.headers.get('retry-after'), now)
	const isRedirect = status >= 300 && status < 400
	const error = isRedirect ? 'redirects are not followed' : `status ${status}`
	return { kind: 'failed', status, error, retryAfterMs }
}

/** Seconds or a date (RFC 9110 §10.2.3). */
function readRetryAfter(header: string | null, now: number): number | undefined {
	if (header === null) return undefined
	const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now
	return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX) : undefined
}

/** The name of the fault (`ECONNREFUSED`, `TimeoutError`), not its words: they may repeat what the receiver sent. */
function describe(error: unknown): string {
	if (!(error instanceof Error)) return 'failed'
	const { cause } = error
	const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
	return typeof code === 'string' ? code : error.name
}
