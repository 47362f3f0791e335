export type RefusalCode =
	| 'invalid'
	| 'not-found'
	| 'conflict'
	| 'stale'
	| 'denied'
	| 'locked'
	| 'too-many'

/** A request that the fleet does not carry out, and why, in words for the one who asked. */
export class Refusal extends Error {
	readonly code: RefusalCode
	/** The part of the request that is wrong (RFC 6901). */
	readonly pointer: string | undefined
	/** When to come back, for `locked` and `too-many`. */
	readonly retryAfterSeconds: number | undefined

	constructor(
		code: RefusalCode,
		message: string,
		more: { readonly pointer?: string; readonly retryAfterSeconds?: number } = {},
	) {
		super(message)
		this.name = 'Refusal'
		this.code = code
		this.pointer = more.pointer
		this.retryAfterSeconds = more.retryAfterSeconds
	}
}

/** Which revision a write is meant for: what its author saw, or `*` for whatever is there (RFC 9110 §13.1.1). */
export type Expected = number | '*'

/**
 * Checks that a row exists and is what the author of a write saw.
 * @throws Refusal `not-found` or `stale`
 */
export function requireRow<Row extends { readonly revision: number }>(
	row: Row | undefined,
	what: string,
	expected: Expected,
): Row {
	if (!row) throw new Refusal('not-found', `There is no such ${what}.`)
	if (expected !== '*' && expected !== row.revision) {
		throw new Refusal('stale', `The ${what} is at revision ${row.revision}, not ${expected}.`)
	}
	return row
}
