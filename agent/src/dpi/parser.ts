import type { ApplicationName } from '@ringfence/shared/contract/application'

/** Bytes inside a larger view; borrowed: valid only until the call they are passed to returns. */
export interface Span {
	view: DataView
	at: number
	end: number
}

/** A piece of one direction of a session: in order and without holes (TCP), or one datagram (UDP). */
export interface Segment extends Span {
	fromClient: boolean
}

/** What a probe may look at: the first bytes of both directions, as far as they came. An empty span has `at === end`. */
export interface Opening {
	readonly client: Readonly<Span>
	readonly server: Readonly<Span>
	readonly transport: Transport
	/** The session was picked up in the middle: the first bytes need not be a protocol's first bytes. */
	readonly isMidstream: boolean
}

export type Transport = 'tcp' | 'udp'

/** Whether the opening is this protocol, needs more bytes (of either direction) to tell, or is not. */
export type Probe = 'match' | 'more' | 'no'

/** What a protocol tells about a session, for policy and logs: bounded, never a credential. */
export interface Facts {
	/** Host the client asked for: HTTP Host, TLS SNI. Lower case, at most 255 characters. */
	host?: string | undefined
	/** Version the two agreed on or the client offered: `1.1`, `TLS1.3`, `SSH-2.0`. */
	version?: string | undefined
	/** One further word: DNS query name, HTTP method and path, TLS ALPN, Redis command. At most 255 characters. */
	detail?: string | undefined
}

/**
 * What a parser made of the bytes it was given. Hostile input is data: a parser never throws.
 * `consumedBytes` may exceed what was given: the stream then skips that many bytes unseen (a body of known length).
 */
export type ParseResult =
	| { readonly kind: 'message'; readonly consumedBytes: number }
	/** Too few bytes for a message; called again with these and at least one more. */
	| { readonly kind: 'more' }
	/** The parser has learned all it wants of this session; it is called no more. */
	| { readonly kind: 'done' }
	| { readonly kind: 'malformed'; readonly why: string }

/** As `consumedBytes`: the parser wants nothing more of this direction. */
export const REST_OF_DIRECTION = Number.POSITIVE_INFINITY

/** Shared answers: `parse` allocates none. */
export const DONE: ParseResult = { kind: 'done' }
export const MORE: ParseResult = { kind: 'more' }

/** One application protocol: a row of the registry. State of a session lives in `State`, never in the module. */
export interface Parser<State = unknown> {
	readonly name: ApplicationName
	readonly transports: readonly Transport[]
	/** Usual server ports: they order the candidates and decide nothing. */
	readonly ports: readonly number[]
	probe(opening: Opening): Probe
	/** State of a session that this parser matched. */
	open(facts: Facts, transport: Transport): State
	/** Reads one message at `segment.at`; fills the facts given to `open`. */
	parse(segment: Readonly<Segment>, state: State): ParseResult
}
