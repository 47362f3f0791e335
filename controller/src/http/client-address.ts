import { isV4, parseAddress } from '@ringfence/shared/net/address'
import { formatCidr, networkOf } from '@ringfence/shared/net/cidr'
import type { Context } from 'hono'
import type { ApiOptions } from './api.ts'

/** A site of IPv6 has at least that network to itself (RFC 6177): its addresses are one client. */
const SITE_BITS = 64

/** Who a rate limit counts; all whom the host cannot tell apart count as one. */
export function clientOf(c: Context, { clientAddress }: ApiOptions): string {
	const address = clientAddress?.(c.req.raw, c.env) ?? 'unknown'
	const words = parseAddress(address)
	if (!words || isV4(words)) return address
	return formatCidr({ words: networkOf(words, SITE_BITS), bits: SITE_BITS })
}
