import { setTimeout as delay } from 'node:timers/promises'
import type { EnrolRequest, EnrolResponse } from '@ringfence/shared/contract/enrol'
import { type Backoff, jitteredDelayMs } from './backoff.ts'
import { parseIdentity } from './identity.ts'
import type { Log } from './log.ts'
import { messageOf, UplinkError } from './uplink-error.ts'

export interface EnrolmentOptions {
	readonly controllerUrl: string
	readonly request: EnrolRequest
	readonly backoff: Backoff
	readonly log: Log
	readonly signal?: AbortSignal | undefined
}

/** Statuses that the same request will always get: the token or the request is wrong. All others are tried again. */
const FINAL_STATUSES = [400, 401, 403, 409, 410, 413, 415, 422]
const REQUEST_TIMEOUT_MS = 10_000
const RESPONSE_BYTES_MAX = 64 * 1024

type Attempt =
	| { readonly kind: 'enrolled'; readonly response: EnrolResponse }
	| { readonly kind: 'again'; readonly why: string }

/** Trades the token for credentials; tries until the controller answers. Throws when it refuses. */
export async function enrol(options: EnrolmentOptions): Promise<EnrolResponse> {
	const url = enrolUrl(options.controllerUrl)
	for (let failures = 0; ; failures++) {
		const attempt = await attemptEnrolment(url, options)
		if (attempt.kind === 'enrolled') return attempt.response
		const waitMs = jitteredDelayMs(options.backoff, failures)
		options.log('warn', 'enrolment did not reach the controller; it is tried again', {
			controllerUrl: options.controllerUrl,
			why: attempt.why,
			waitMs: Math.round(waitMs),
		})
		await delay(waitMs, undefined, options.signal ? { signal: options.signal } : {}).catch(
			(cause) => {
				throw new UplinkError('enrolment was given up', { code: 'aborted', cause })
			},
		)
	}
}

async function attemptEnrolment(url: string, options: EnrolmentOptions): Promise<Attempt> {
	let answer: { status: number; text: string }
	try {
		answer = await post(url, options)
	} catch (error) {
		if (options.signal?.aborted) {
			throw new UplinkError('enrolment was given up', { code: 'aborted', cause: error })
		}
		return { kind: 'again', why: describeFetchError(error) }
	}
	if (answer.status >= 200 && answer.status < 300) {
		return { kind: 'enrolled', response: readResponse(answer.text) }
	}
	const why = `${answer.status} ${describeProblem(answer.text)}`.trim()
	if (!FINAL_STATUSES.includes(answer.status)) return { kind: 'again', why }
	const advice = 'A token works once and for a limited time: make a new one.'
	throw new UplinkError(`the controller refuses to enrol this node: ${why}. ${advice}`, {
		code: 'enrol',
	})
}

async function post(
	url: string,
	options: EnrolmentOptions,
): Promise<{ status: number; text: string }> {
	const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS)
	const response = await fetch(url, {
		method: 'POST',
		headers: { 'content-type': 'application/json', accept: 'application/json' },
		body: JSON.stringify(options.request),
		// A redirect would carry the token to somebody else.
		redirect: 'error',
		signal: options.signal ? AbortSignal.any([timeout, options.signal]) : timeout,
	})
	return { status: response.status, text: await boundedText(response) }
}

function enrolUrl(controllerUrl: string): string {
	const base = controllerUrl.endsWith('/') ? controllerUrl : `${controllerUrl}/`
	if (!URL.canParse(base)) {
		throw new UplinkError(`the controller's URL ${controllerUrl} is not a URL`, { code: 'enrol' })
	}
	return new URL('v1/enroll', base).href
}

async function boundedText(response: Response): Promise<string> {
	const chunks: Uint8Array[] = []
	let bytes = 0
	for await (const chunk of response.body ?? []) {
		bytes += chunk.length
		if (bytes > RESPONSE_BYTES_MAX) throw new RangeError('the answer is too large')
		chunks.push(chunk)
	}
	return Buffer.concat(chunks).toString('utf8')
}

function readResponse(text: string): EnrolResponse {
	try {
		const value: unknown = JSON.parse(text)
		parseIdentity(value)
		return value as EnrolResponse
	} catch (error) {
		const why = messageOf(error)
		throw new UplinkError(`the answer to the enrolment cannot be used: ${why}`, {
			code: 'enrol',
			cause: error,
		})
	}
}

/** Title and detail of a problem (RFC 9457 §3.1); the beginning of any other text. */
function describeProblem(text: string): string {
	try {
		const problem: unknown = JSON.parse(text)
		if (typeof problem !== 'object' || problem === null) return text.slice(0, 200)
		const { title, detail } = problem as { title?: unknown; detail?: unknown }
		const parts = [title, detail].filter((part) => typeof part === 'string')
		return parts.join(': ').slice(0, 500)
	} catch {
		return text.replaceAll(/\s+/g, ' ').slice(0, 200)
	}
}

/** `fetch` says only `fetch failed`; its cause tells what happened. */
function describeFetchError(error: unknown): string {
	const cause = error instanceof Error && error.cause ? error.cause : error
	return messageOf(cause)
}
