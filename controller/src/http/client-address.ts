import type { Context } from 'hono'
import type { ApiOptions } from './api.ts'

/** Who a rate limit counts; all whom the host cannot tell apart count as one. */
export function clientOf(c: Context, { clientAddress }: ApiOptions): string {
	return clientAddress?.(c.req.raw, c.env) ?? 'unknown'
}
