import type { Context } from 'hono'
import type { Expected } from '../fleet/refusal.ts'
import { ProblemError } from './problem.ts'

/** Names the revision of the resource in the answer (RFC 9110 §8.8.3). */
export function setEtag(c: Context, { revision }: { readonly revision: number }): void {
	c.header('etag', etagOf(revision))
}

/**
 * Reads `If-Match`, which every change of something that exists must carry: nobody overwrites what they have not seen.
 * @throws ProblemError 428 when it is absent, 412 when it names no revision of ours
 */
export function expectedRevision(c: Context): Expected {
	const header = c.req.header('if-match')
	if (header === undefined) {
		throw new ProblemError(428, 'precondition-required', 'If-Match is missing.')
	}
	if (header.trim() === '*') return '*'
	const revision = /^"(\d{1,15})"$/.exec(header.trim())?.[1]
	if (revision === undefined) {
		throw new ProblemError(412, 'stale', 'If-Match names no revision of this resource.')
	}
	return Number(revision)
}

/** Whether the client has this revision already (`If-None-Match`, compared weakly: RFC 9110 §13.1.2). */
export function isKnownToClient(ifNoneMatch: string | undefined, etag: string | null): boolean {
	if (ifNoneMatch === undefined || etag === null) return false
	return ifNoneMatch
		.split(',')
		.map((tag) => tag.trim().replace(/^W\//, ''))
		.some((tag) => tag === '*' || tag === etag)
}

function etagOf(revision: number): string {
	return `"${revision}"`
}
