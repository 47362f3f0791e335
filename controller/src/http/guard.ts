import type { Context, MiddlewareHandler } from 'hono'
import { getCookie } from 'hono/cookie'
import { matchedRoutes } from 'hono/route'
import { authenticate, isAllowed } from '../fleet/access/access.ts'
import type { Fleet } from '../fleet/fleet.ts'
import { accessOf } from './access-table.ts'
import type { ApiEnv, ApiOptions } from './api.ts'
import { ProblemError } from './problem.ts'
import { sessionCookieNames } from './session-cookie.ts'

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

/** Lets a request through to its handler when who sends it may do that; see `access-table.ts`. */
export function guard(fleet: Fleet, options: ApiOptions): MiddlewareHandler<ApiEnv> {
	return async (c, next) => {
		const route = matchedRoutes(c).findLast(({ method }) => method !== 'ALL')
		if (!route) return next()
		const access = accessOf(`${route.method} ${route.path}`)
		if (access === undefined) throw new Error(`no access declared: ${route.method} ${route.path}`)
		if (access === 'public') return next()
		const { credential, isCookie } = readCredential(c)
		const principal = await authenticate(fleet, credential)
		if (!principal) {
			const headers = { 'www-authenticate': 'Bearer' }
			throw new ProblemError(401, 'unauthenticated', 'No valid session or API key.', { headers })
		}
		if (isCookie && !SAFE_METHODS.has(c.req.method)) requireSameOrigin(c, options)
		if (!isAllowed(principal.role, access)) {
			throw new ProblemError(403, 'forbidden', `This needs role ${access}.`)
		}
		c.set('principal', principal)
		c.set('credential', credential)
		return next()
	}
}

/** A header of the caller's own making comes before a cookie, which the browser sends by itself. */
function readCredential(c: Context): { credential: string; isCookie: boolean } {
	const header = c.req.header('authorization')
	if (header !== undefined) {
		const credential = /^Bearer +(\S+)$/i.exec(header)?.[1] ?? ''
		return { credential, isCookie: false }
	}
	const cookie = sessionCookieNames.map((name) => getCookie(c, name)).find((value) => value)
	return { credential: cookie ?? '', isCookie: true }
}

/**
 * A browser sends cookies along with what other sites make it send, but it says where that came from: by `Sec-Fetch-Site`
 * (W3C Fetch Metadata), by `Origin` before that existed. A write that says neither is refused.
 */
function requireSameOrigin(c: Context, { publicUrl }: ApiOptions): void {
	const site = c.req.header('sec-fetch-site')
	if (site !== undefined ? site === 'same-origin' : isOwnOrigin(c, publicUrl)) return
	throw new ProblemError(403, 'cross-site', 'The request comes from another site.')
}

function isOwnOrigin(c: Context, publicUrl: string | undefined): boolean {
	const host = hostOf(c.req.header('origin'))
	return host !== undefined && (host === hostOf(c.req.url) || host === hostOf(publicUrl))
}

function hostOf(url: string | undefined): string | undefined {
	return url !== undefined && URL.canParse(url) ? new URL(url).host || undefined : undefined
}
