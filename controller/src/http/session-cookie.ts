import type { Context } from 'hono'
import { deleteCookie, setCookie } from 'hono/cookie'
import { SESSION_MS_MAX } from '../fleet/access/sign-in.ts'
import type { ApiOptions } from './api.ts'

/** `__Host-` binds a cookie to this host and to TLS (RFC 6265bis §4.1.3.2); plain HTTP cannot have it. */
const SECURE_NAME = '__Host-ringfence'
const PLAIN_NAME = 'ringfence'

export const sessionCookieNames = [SECURE_NAME, PLAIN_NAME] as const

export function setSessionCookie(c: Context, options: ApiOptions, token: string): void {
	const secure = isSecure(c, options)
	setCookie(c, secure ? SECURE_NAME : PLAIN_NAME, token, {
		httpOnly: true,
		sameSite: 'Strict',
		path: '/',
		secure,
		maxAge: SESSION_MS_MAX / 1000,
	})
}

export function clearSessionCookie(c: Context, options: ApiOptions): void {
	const secure = isSecure(c, options)
	deleteCookie(c, secure ? SECURE_NAME : PLAIN_NAME, { path: '/', secure })
}

/** Whether people reach the controller by TLS, here or at a proxy. */
export function isSecure(c: Context, { publicUrl }: ApiOptions): boolean {
	return [publicUrl, c.req.url].some((url) => url?.startsWith('https:') === true)
}
