import { createRoute } from '@hono/zod-openapi'
import {
	passwordChangeSchema,
	selfSchema,
	signedInSchema,
	signInSchema,
} from '@ringfence/shared/contract/rest'
import { changePassword, createStrangers, signIn, signOut } from '../../fleet/access/sign-in.ts'
import type { Fleet } from '../../fleet/fleet.ts'
import { type Api, type ApiOptions, actOf, answer, body, noContent } from '../api.ts'
import { clientOf } from '../client-address.ts'
import { ProblemError } from '../problem.ts'
import { createRateLimit } from '../rate-limit.ts'
import { clearSessionCookie, setSessionCookie } from '../session-cookie.ts'

const tags = ['access']

/** Password guesses of one client: ten at once, then one every six seconds. */
const SIGN_IN_LIMIT = { burst: 10, everyMs: 6000 }

/** Signing in and out, and what people do about their own account. */
export function addAuth(api: Api, fleet: Fleet, options: ApiOptions): void {
	const limit = createRateLimit(SIGN_IN_LIMIT)
	const strangers = createStrangers()
	const { passwordIterations } = options

	api.openapi(signInRoute, async (c) => {
		limit.take(clientOf(c, options), fleet.clock.now())
		const { session, ...who } = c.req.valid('json')
		const { user, token, expiresAt } = await signIn(fleet, who, { strangers, passwordIterations })
		const { name, role } = user
		if (session === 'token') return c.json({ name, role, expiresAt, token }, 200)
		setSessionCookie(c, options, token)
		return c.json({ name, role, expiresAt }, 200)
	})

	api.openapi(signOutRoute, async (c) => {
		await signOut(fleet, c.var.credential)
		clearSessionCookie(c, options)
		return c.body(null, 204)
	})

	api.openapi(selfRoute, (c) => {
		const { kind, id, name, role, expiresAt } = c.var.principal
		return c.json({ kind, id, name, role, expiresAt }, 200)
	})

	api.openapi(passwordRoute, async (c) => {
		const { principal, credential } = c.var
		if (principal.kind !== 'user') {
			throw new ProblemError(409, 'conflict', 'An API key has no password.')
		}
		limit.take(clientOf(c, options), fleet.clock.now())
		const { current, next } = c.req.valid('json')
		await changePassword(fleet, actOf(principal, fleet), {
			userId: principal.id,
			current,
			next,
			token: credential,
			passwordIterations,
		})
		return c.body(null, 204)
	})
}

const signInRoute = createRoute({
	method: 'post',
	path: '/v1/auth/sign-in',
	tags,
	summary:
		'Opens a session: a cookie for a browser, a bearer token for a program that asks for one.',
	request: { body: body(signInSchema) },
	responses: { 200: answer(signedInSchema, 'Signed in.') },
})

const signOutRoute = createRoute({
	method: 'post',
	path: '/v1/auth/sign-out',
	tags,
	summary: 'Ends the session of this request.',
	responses: { 204: noContent },
})

const selfRoute = createRoute({
	method: 'get',
	path: '/v1/auth/self',
	tags,
	summary: 'Who the request comes from.',
	responses: { 200: answer(selfSchema, 'The caller.') },
})

const passwordRoute = createRoute({
	method: 'post',
	path: '/v1/auth/password',
	tags,
	summary: 'Changes the own password and ends all other own sessions.',
	request: { body: body(passwordChangeSchema) },
	responses: { 204: noContent },
})
