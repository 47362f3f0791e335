import type { Context, MiddlewareHandler } from 'hono'
import type { ApiOptions } from './api.ts'
import { isKnownToClient } from './preconditions.ts'
import { isSecure } from './session-cookie.ts'

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD'])

/** For answers that are no page: nothing in them may load or run anything. */
const CSP_DATA = "default-src 'none'; frame-ancestors 'none'"

/** For the console: its own files only, nothing inline. */
const CSP_CONSOLE = [
	"default-src 'none'",
	"script-src 'self'",
	"style-src 'self'",
	"img-src 'self'",
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
].join('; ')

/** Sets what every answer carries, and answers 304 to who has a file already. */
export function answerHeaders(options: ApiOptions): MiddlewareHandler {
	return async (c, next) => {
		await next()
		// A 304 renews the headers of what the client has (RFC 9111 §3.2): the policy must be that of the page.
		const isPage = c.res.headers.get('content-type')?.startsWith('text/html') === true
		// A resource's tag is its revision, for writes: some of what it shows (members, last seen) changes without one.
		const known = isResource(c) ? undefined : c.req.header('if-none-match')
		if (SAFE_METHODS.has(c.req.method) && isKnownToClient(known, c.res.headers.get('etag'))) {
			c.res.headers.delete('content-type')
			c.res = new Response(null, { status: 304, headers: c.res.headers })
		}
		const { headers } = c.res
		headers.set('content-security-policy', isPage ? CSP_CONSOLE : CSP_DATA)
		headers.set('x-content-type-options', 'nosniff')
		headers.set('referrer-policy', 'no-referrer')
		headers.set('cross-origin-opener-policy', 'same-origin')
		headers.set('cross-origin-resource-policy', 'same-origin')
		if (isResource(c)) headers.set('cache-control', 'no-store')
		if (isSecure(c, options)) headers.set('strict-transport-security', 'max-age=31536000')
	}
}

function isResource(c: Context): boolean {
	return c.req.path.startsWith('/v1/')
}
