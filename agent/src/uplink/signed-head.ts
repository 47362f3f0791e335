import { verify } from 'node:crypto'
import { describeIssues } from '@ringfence/shared/contract/codec'
import { type Head, headSchema, type SignedHead } from '@ringfence/shared/contract/messages'
import type { DocumentName } from '@ringfence/shared/contract/topics'
import type { RejectReason } from './counters.ts'
import type { Identity } from './identity.ts'

/** A head whose signature and addressee are right, with the text that was signed. */
export interface VerifiedHead {
	readonly head: Head
	readonly signed: SignedHead
}

export type HeadCheck =
	| ({ readonly ok: true } & VerifiedHead)
	| {
			readonly ok: false
			readonly reason: RejectReason
			readonly why: string
			/** What it claims to be; only to answer with. */
			readonly claimed: DocumentVersion
	  }

/** Moment in a document's life: epochs first, generations within one. */
export interface DocumentVersion {
	readonly epoch: number
	readonly generation: number
}

/** RFC 8032 §5.1.6 */
const SIGNATURE_BYTES = 64

/** Checks who signed a head, before anything of it is believed, and that it is meant for this node's document. */
export function verifyHead(
	identity: Identity,
	document: DocumentName,
	signed: SignedHead,
): HeadCheck {
	const claimed = claimedVersion(signed.body)
	if (signed.keyId !== identity.keyId) {
		const why = `signed with key ${signed.keyId}, not with ${identity.keyId} of the enrolment`
		return { ok: false, reason: 'badSignature', why, claimed }
	}
	const signature = Buffer.from(signed.signature, 'base64')
	const body = Buffer.from(signed.body, 'utf8')
	const isGenuine =
		signature.length === SIGNATURE_BYTES && verify(null, body, identity.controllerKey, signature)
	if (!isGenuine) {
		return { ok: false, reason: 'badSignature', why: 'the signature is wrong', claimed }
	}
	const head = parseBody(signed.body)
	if (typeof head === 'string') return { ok: false, reason: 'malformed', why: head, claimed }
	const stranger = strangerIn(identity, document, head)
	return stranger
		? { ok: false, reason: 'wrongAddressee', why: stranger, claimed }
		: { ok: true, head, signed }
}

/** Negative when `a` is older than `b`. */
export function compareVersions(a: DocumentVersion, b: DocumentVersion): number {
	return a.epoch - b.epoch || a.generation - b.generation
}

/** For people: `epoch 2, generation 17`. */
export function describeVersion(version: DocumentVersion): string {
	return `epoch ${version.epoch}, generation ${version.generation}`
}

function parseBody(body: string): Head | string {
	try {
		const parsed = headSchema.safeParse(JSON.parse(body))
		return parsed.success ? parsed.data : describeIssues(parsed.error)
	} catch {
		return 'the head is no JSON'
	}
}

function strangerIn(identity: Identity, document: DocumentName, head: Head): string | undefined {
	if (head.cluster !== identity.cluster) return `for cluster ${head.cluster}`
	if (head.node !== identity.node) return `for node ${head.node}`
	return head.document === document ? undefined : `for document ${head.document}`
}

function claimedVersion(body: string): DocumentVersion {
	try {
		const parsed = headSchema.safeParse(JSON.parse(body))
		if (parsed.success) return parsed.data
	} catch {
		// What it says of itself is no use; the caller says why it is refused.
	}
	return { epoch: 0, generation: 0 }
}
