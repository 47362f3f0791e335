import type { Problem } from '@ringfence/shared/contract/rest'
import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { z } from 'zod'
import { StoreError } from '../db/errors.ts'
import type { Fleet } from '../fleet/fleet.ts'
import { Refusal, type RefusalCode } from '../fleet/refusal.ts'

/** Where in the request something is wrong (RFC 6901 pointer), and what. */
export type Fault = NonNullable<Problem['errors']>[number]

/** Faults that one answer lists. */
const FAULTS_MAX = 50

const TITLES: Readonly<Record<number, string>> = {
	400: 'The request cannot be read.',
	401: 'Sign in first.',
	403: 'This is not allowed.',
	404: 'There is nothing here.',
	405: 'This is not possible here.',
	408: 'The request took too long.',
	409: 'The request does not fit the state of things.',
	412: 'Somebody else was quicker.',
	413: 'The body is too large.',
	415: 'The body must be JSON.',
	422: 'The request says something impossible.',
	428: 'Say which revision you mean.',
	429: 'Too many requests.',
	431: 'The headers are too large.',
	500: 'Something broke.',
	503: 'Not possible at the moment.',
}

const STATUS_OF: Readonly<Record<RefusalCode, ContentfulStatusCode>> = {
	invalid: 422,
	'not-found': 404,
	conflict: 409,
	stale: 412,
	denied: 401,
	locked: 429,
	'too-many': 429,
}

/** An answer that is an error (RFC 9457). `code` is the end of its type, `urn:ringfence:problem:<code>`. */
export class ProblemError extends Error {
	readonly status: ContentfulStatusCode
	readonly code: string
	readonly faults: readonly Fault[]
	readonly headers: Readonly<Record<string, string>>

	constructor(
		status: ContentfulStatusCode,
		code: string,
		detail: string,
		more: {
			readonly faults?: readonly Fault[]
			readonly headers?: Readonly<Record<string, string>>
		} = {},
	) {
		super(detail)
		this.name = 'ProblemError'
		this.status = status
		this.code = code
		this.faults = more.faults ?? []
		this.headers = more.headers ?? {}
	}
}

/** Turns whatever a handler threw into an answer; what nobody expected is logged and shown only by a number. */
export function answerError(fleet: Fleet, error: unknown, c: Context): Response {
	const problem = toProblem(error)
	if (problem) return answerProblem(c, problem)
	const instance = `urn:uuid:${crypto.randomUUID()}`
	const stack = error instanceof Error ? error.stack : String(error)
	fleet.log('error', 'request failed', { method: c.req.method, path: c.req.path, instance, stack })
	const broken = new ProblemError(500, 'internal', 'The log of the controller says more.')
	return answerProblem(c, broken, instance)
}

export function answerProblem(c: Context, error: ProblemError, instance?: string): Response {
	return c.body(JSON.stringify(problemOf(error, instance)), error.status, {
		...error.headers,
		'content-type': 'application/problem+json',
	})
}

/** The body of such an answer. */
export function problemOf(error: ProblemError, instance?: string): Problem {
	return {
		type: `urn:ringfence:problem:${error.code}`,
		title: TITLES[error.status] ?? 'It did not work.',
		status: error.status,
		detail: error.message,
		...(instance !== undefined && { instance }),
		...(error.faults.length > 0 && { errors: [...error.faults] }),
	}
}

/** Answers a request whose body, path or query does not fit its schema: what hono calls when validation failed. */
export function refuseInvalid(
	result: { readonly target: string } & (
		| { readonly success: true }
		| { readonly success: false; readonly error: z.core.$ZodError }
	),
): void {
	if (result.success) return
	const prefix =
		{ json: '', query: '/query', param: '/path', header: '/header' }[result.target] ?? ''
	const faults = result.error.issues.flatMap((issue) => faultsOf(issue, prefix))
	throw new ProblemError(422, 'invalid', 'See `errors`.', { faults: faults.slice(0, FAULTS_MAX) })
}

function faultsOf(issue: z.core.$ZodIssue, prefix: string): Fault[] {
	const path = prefix + issue.path.map((key) => `/${escapeKey(key)}`).join('')
	if (issue.code !== 'unrecognized_keys') return [{ pointer: path, detail: issue.message }]
	return issue.keys.map((key) => ({ pointer: `${path}/${escapeKey(key)}`, detail: 'unknown key' }))
}

/** RFC 6901 §3. Keys of others may be long. */
function escapeKey(key: PropertyKey): string {
	return String(key).slice(0, 200).replaceAll('~', '~0').replaceAll('/', '~1')
}

function toProblem(error: unknown): ProblemError | undefined {
	if (error instanceof ProblemError) return error
	if (error instanceof Refusal) return fromRefusal(error)
	if (error instanceof HTTPException) {
		const code = { 400: 'unreadable', 415: 'not-json' }[error.status as number] ?? 'refused'
		return new ProblemError(error.status as ContentfulStatusCode, code, error.message)
	}
	if (isHangUp(error)) return new ProblemError(400, 'unreadable', 'The body ended before its end.')
	if (error instanceof StoreError && error.code !== 'newer') {
		const headers = { 'retry-after': '1' }
		return new ProblemError(503, 'database-busy', 'The database is busy.', { headers })
	}
	return undefined
}

/** The client went away in the middle of its body; what Node's streams say then. Nobody reads the answer. */
function isHangUp(error: unknown): boolean {
	return error instanceof Error && 'code' in error && error.code === 'ECONNRESET'
}

function fromRefusal({ code, message, pointer, retryAfterSeconds }: Refusal): ProblemError {
	return new ProblemError(STATUS_OF[code], code, message, {
		faults: pointer === undefined ? [] : [{ pointer, detail: message }],
		headers: retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) },
	})
}
