import type { ApplicationName } from '@ringfence/shared/contract/application'
import { dropKept, type KeptBytes, keepBytes, releaseKept } from './kept-bytes.ts'
import type { Facts, Opening, Parser, Segment, Span, Transport } from './parser.ts'
import { candidatesOf } from './registry.ts'

/** Most bytes of one direction that a probe sees, and that are kept while nothing is decided. */
export const OPENING_BYTES_MAX = 8192
/** An undecided session is given up when one direction has brought more segments than this. */
export const OPENING_SEGMENTS_MAX = 32
/** The same for datagrams: each is a message of its own, so the first ones tell. */
export const OPENING_DATAGRAMS_MAX = 8
/** An undecided session is given up when one direction has brought more bytes than this. */
export const OPENING_SEEN_BYTES_MAX = 131_072
/** Longest message that is put together from several segments of a named session. */
export const MESSAGE_BYTES_MAX = 32_768
/** A named session is read for at most this many segments, so that a long one costs nothing. */
export const READ_SEGMENTS_MAX = 64

/** Recognition of one session: what is known, and what it still wants. Owned by the session. */
export interface Detection {
	/** Undefined until named; stays undefined when nothing matched. */
	readonly application: ApplicationName | undefined
	/** Nothing that follows can change `application`. */
	readonly isFinal: boolean
	/** The engine need not assemble or feed any more bytes. */
	readonly isDone: boolean
	readonly facts: Readonly<Facts>
	/** Messages that did not parse, after the application was named. */
	readonly malformedMessages: number
	/** Why the last of them did not. */
	readonly malformedWhy: string | undefined
}

export interface SessionOpening {
	readonly transport: Transport
	readonly serverPort: number
	readonly isMidstream: boolean
}

/** What `openDetection` really makes: nobody else makes a `Detection`. */
interface Recognition extends Detection {
	application: ApplicationName | undefined
	isFinal: boolean
	isDone: boolean
	readonly facts: Facts
	malformedMessages: number
	malformedWhy: string | undefined
	readonly transport: Transport
	/** Also set when the first bytes of a direction are lost. */
	isMidstream: boolean
	readonly candidates: readonly Parser[]
	/** One bit for each candidate that has not said `no`. */
	undecided: number
	parser: Parser | undefined
	parserState: unknown
	readSegments: number
	readonly client: Wing
	readonly server: Wing
}

/** One direction of a session. Kept bytes are its opening at first, later the message that is not complete. */
interface Wing extends KeptBytes {
	readonly fromClient: boolean
	segments: number
	seenBytes: number
	/** Bytes are missing behind the kept ones: nothing can be added to them. */
	isBroken: boolean
	/** Nothing more is read in this direction. */
	isEnded: boolean
	/** Bytes still to pass over unseen. */
	skipBytes: number
}

const EMPTY_VIEW = new DataView(new ArrayBuffer(0))

/** Shared by all sessions of the thread: filled for one call of a probe or a parser, empty between calls. */
const probed = { client: emptySpan(), server: emptySpan(), transport: 'tcp', isMidstream: false }
const readSpan: Segment = { ...emptySpan(), fromClient: true }

/** Starts recognition of a session. */
export function openDetection(opening: SessionOpening): Detection {
	const candidates = candidatesOf(opening.transport, opening.serverPort)
	const recognition: Recognition = {
		application: undefined,
		isFinal: false,
		isDone: false,
		facts: {},
		malformedMessages: 0,
		malformedWhy: undefined,
		transport: opening.transport,
		isMidstream: opening.isMidstream,
		candidates,
		undecided: allOf(candidates),
		parser: undefined,
		parserState: undefined,
		readSegments: 0,
		client: openWing(true),
		server: openWing(false),
	}
	return recognition
}

/** Gives the next in-order bytes of one direction (TCP) or one datagram (UDP); copies what it must keep, under a limit. */
export function feed(detection: Detection, segment: Readonly<Segment>): void {
	const session = detection as Recognition
	if (session.isDone || segment.at >= segment.end) return
	if (session.parser === undefined) recognise(session, segment)
	else readSegment(session, segment)
}

/** Tells that bytes of one direction are missing for good: recognition goes on with what it has, parsing ends. */
export function feedGap(detection: Detection, fromClient: boolean): void {
	const session = detection as Recognition
	if (session.isDone) return
	if (session.parser !== undefined) {
		finish(session)
		return
	}
	const wing = fromClient ? session.client : session.server
	if (wing.sizeBytes === 0) session.isMidstream = true
	else wing.isBroken = true
}

/** Ends recognition: what is not named stays unknown; buffers are released. */
export function closeDetection(detection: Detection): void {
	finish(detection as Recognition)
}

function recognise(session: Recognition, segment: Readonly<Segment>): void {
	const wing = segment.fromClient ? session.client : session.server
	wing.segments++
	wing.seenBytes += segment.end - segment.at
	const isStart = wing.sizeBytes === 0 || session.transport === 'udp'
	if (isStart) recogniseStart(session, wing, segment)
	else recogniseMore(session, wing, segment)
	if (session.parser === undefined && !session.isDone && isSpent(session, wing)) finish(session)
}

/** The segment alone is the opening of its direction: probed where it lies, copied only when it did not decide. */
function recogniseStart(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	releaseKept(wing)
	if (!session.isMidstream) session.undecided |= session.transport === 'udp' ? allOf(session.candidates) : 0
	if (probeAll(session, segment)) {
		readOther(session, wing)
		readSegment(session, segment)
		return
	}
	if (session.undecided === 0) {
		startOver(session, wing, segment)
		return
	}
	keepOpening(session, wing, segment)
}

/** The segment continues what is kept of its direction. */
function recogniseMore(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	const keptUntil = keepOpening(session, wing, segment)
	if (session.isDone) return
	if (probeAll(session, undefined)) {
		readOther(session, wing)
		readKept(session, wing)
		readRest(session, segment, keptUntil)
		return
	}
	if (session.undecided === 0) startOver(session, wing, segment)
}

/** Everybody said no. Where a segment can be a beginning, the next one gets its chance; elsewhere that is the end. */
function startOver(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	const wasAlone = session.client.sizeBytes === 0 && session.server.sizeBytes === 0
	releaseKept(session.client)
	releaseKept(session.server)
	if (session.transport === 'tcp' && !session.isMidstream) {
		finish(session)
		return
	}
	session.undecided = allOf(session.candidates)
	wing.isBroken = false
	if (!wasAlone) recogniseStart(session, wing, segment)
}
