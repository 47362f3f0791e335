import type { ApplicationName } from '@ringfence/shared/contract/application'
import { dropKept, type KeptBytes, keepBytes, releaseKept } from './kept-bytes.ts'
import {
	type Facts,
	type Opening,
	type Parser,
	REST_OF_DIRECTION,
	type Segment,
	type Span,
	type Transport,
} from './parser.ts'
import { candidatesOf } from './registry.ts'

/** Most bytes of one direction that a probe sees, and that are kept while nothing is decided. */
export const OPENING_BYTES_MAX = 8192
/** An undecided session is given up when one direction has brought this many segments. */
export const OPENING_SEGMENTS_MAX = 64
/** The same for datagrams: each is a message of its own, so the first ones tell. */
export const OPENING_DATAGRAMS_MAX = 8
/** An undecided session is given up when one direction has brought this many bytes. */
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

/** Most records kept for later sessions. */
const IDLE_MAX = 1024
const idle: Recognition[] = []

/** Starts recognition of a session. */
export function openDetection({ transport, serverPort, isMidstream }: SessionOpening): Detection {
	const session = idle.pop() ?? newRecognition()
	session.transport = transport
	session.isMidstream = isMidstream
	session.candidates = candidatesOf(transport, serverPort)
	session.undecided = allOf(session.candidates)
	return session
}

/**
 * Ends recognition, and takes back its record for another session: the owner must not touch it again. Most sessions are
 * recognised within a few packets and live much longer, so that few records serve all (measured over 126,691 sessions
 * of HTTP and DNS, most of them still opening: 1.2 kB of heap each, with a record held to the end 1.5 kB).
 */
export function returnDetection(detection: Detection): void {
	const session = detection as Recognition
	if (!session.isDone) finish(session)
	if (idle.length === IDLE_MAX) return
	resetRecognition(session)
	idle.push(session)
}

/** Gives the next in-order bytes of one direction (TCP) or one datagram (UDP); copies what it must keep, under a limit. */
export function feed(detection: Detection, segment: Readonly<Segment>): void {
	const session = detection as Recognition
	if (session.isDone || segment.at >= segment.end) return
	const wing = segment.fromClient ? session.client : session.server
	if (session.parser === undefined) recognise(session, wing, segment)
	else readSegment(session, wing, segment)
}

/** Tells that bytes of one direction are missing for good: recognition goes on with what it has, parsing ends. */
export function feedGap(detection: Detection, fromClient: boolean): void {
	const session = detection as Recognition
	if (session.isDone) return
	const wing = fromClient ? session.client : session.server
	if (session.parser !== undefined) finish(session)
	else if (session.isMidstream) releaseKept(wing)
	else if (wing.sizeBytes > 0) wing.isBroken = true
	else startMidstream(session)
}

/** Ends recognition: what is not named stays unknown; buffers are released. */
export function closeDetection(detection: Detection): void {
	finish(detection as Recognition)
}

/** What `openDetection` really makes; nobody else makes a `Detection`. */
interface Recognition extends Detection {
	application: ApplicationName | undefined
	isFinal: boolean
	isDone: boolean
	readonly facts: Facts
	malformedMessages: number
	malformedWhy: string | undefined
	transport: Transport
	/** Also set when the first bytes of a direction are lost. */
	isMidstream: boolean
	candidates: readonly Parser[]
	/** One bit for each candidate that has not said `no`. */
	undecided: number
	parser: Parser | undefined
	parserState: unknown
	readSegments: number
	readonly client: Wing
	readonly server: Wing
}

/** One direction of a session. Kept bytes are its opening at first, then the message that is not complete. */
interface Wing extends KeptBytes {
	segments: number
	seenBytes: number
	/** Bytes are missing behind the kept ones: nothing can be added to them. */
	isBroken: boolean
	/** Nothing more is read in this direction. */
	isEnded: boolean
	/** Bytes still to pass over unseen. */
	skipBytes: number
}

interface ProbedOpening extends Opening {
	readonly client: Span
	readonly server: Span
	transport: Transport
	isMidstream: boolean
}

const EMPTY_VIEW = new DataView(new ArrayBuffer(0))

/** Shared by all sessions of the thread: filled for one round of probes, empty between calls. */
const probed: ProbedOpening = {
	client: { view: EMPTY_VIEW, at: 0, end: 0 },
	server: { view: EMPTY_VIEW, at: 0, end: 0 },
	transport: 'tcp',
	isMidstream: false,
}

/** The same for one round of messages: what the parser has not consumed. */
const unread: Segment = { view: EMPTY_VIEW, at: 0, end: 0, fromClient: true }

function newRecognition(): Recognition {
	return {
		application: undefined,
		isFinal: false,
		isDone: false,
		facts: { host: undefined, version: undefined, detail: undefined },
		malformedMessages: 0,
		malformedWhy: undefined,
		transport: 'tcp',
		isMidstream: false,
		candidates: [],
		undecided: 0,
		parser: undefined,
		parserState: undefined,
		readSegments: 0,
		client: openWing(),
		server: openWing(),
	}
}

/** Makes a finished record as a new one: its buffers are given back already. */
function resetRecognition(session: Recognition): void {
	session.application = undefined
	session.isFinal = false
	session.isDone = false
	session.facts.host = undefined
	session.facts.version = undefined
	session.facts.detail = undefined
	session.malformedMessages = 0
	session.malformedWhy = undefined
	session.parser = undefined
	session.readSegments = 0
	resetWing(session.client)
	resetWing(session.server)
}

function resetWing(wing: Wing): void {
	wing.segments = 0
	wing.seenBytes = 0
	wing.isBroken = false
	wing.isEnded = false
	wing.skipBytes = 0
}

function openWing(): Wing {
	return {
		buffer: undefined,
		sizeBytes: 0,
		segments: 0,
		seenBytes: 0,
		isBroken: false,
		isEnded: false,
		skipBytes: 0,
	}
}

function allOf(candidates: readonly Parser[]): number {
	return (1 << candidates.length) - 1
}

/** The first bytes of a direction are lost: what comes may start anywhere, and everybody is asked again. */
function startMidstream(session: Recognition): void {
	session.isMidstream = true
	session.undecided = allOf(session.candidates)
}

function recognise(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	wing.segments++
	wing.seenBytes += segment.end - segment.at
	if (!wing.isBroken) probeSegment(session, wing, segment)
	if (session.parser === undefined && isSpent(session, wing)) finish(session)
}

function isSpent(session: Recognition, wing: Wing): boolean {
	const segmentsMax = session.transport === 'udp' ? OPENING_DATAGRAMS_MAX : OPENING_SEGMENTS_MAX
	return wing.segments >= segmentsMax || wing.seenBytes >= OPENING_SEEN_BYTES_MAX
}

/** Adds the segment to the opening and asks; one that decides alone is never copied. */
function probeSegment(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	if (session.transport === 'udp') {
		releaseKept(wing)
		session.undecided = allOf(session.candidates)
	}
	const isCopied = wing.sizeBytes > 0
	const keptBytes = isCopied ? keepOpening(session, wing, segment) : 0
	if (session.isDone) return
	if (askCandidates(session, segment)) {
		readOpening(session, wing, segment, keptBytes)
		return
	}
	if (session.undecided === 0) startOver(session, wing, segment)
	else if (!isCopied) keepOpening(session, wing, segment)
}

/** Copies what fits of the segment; returns how many bytes that is. */
function keepOpening(session: Recognition, wing: Wing, segment: Readonly<Segment>): number {
	const roomBytes = OPENING_BYTES_MAX - wing.sizeBytes
	const sizeBytes = Math.min(roomBytes, segment.end - segment.at)
	if (!keepBytes(wing, segment.view, segment.at, segment.at + sizeBytes)) finish(session)
	else if (sizeBytes < segment.end - segment.at) wing.isBroken = true
	return sizeBytes
}

/** Asks every undecided candidate in order; the first that matches names the session. */
function askCandidates(session: Recognition, segment: Readonly<Segment>): boolean {
	fillSpan(probed.client, session.client, segment.fromClient ? segment : undefined)
	fillSpan(probed.server, session.server, segment.fromClient ? undefined : segment)
	probed.transport = session.transport
	probed.isMidstream = session.isMidstream
	for (let index = 0; index < session.candidates.length; index++) {
		const parser = session.candidates[index]
		const bit = 1 << index
		if (parser === undefined || (session.undecided & bit) === 0) continue
		const probe = parser.probe(probed)
		if (probe === 'match') {
			nameSession(session, parser)
			break
		}
		if (probe === 'no') session.undecided &= ~bit
	}
	emptySpan(probed.client)
	emptySpan(probed.server)
	return session.parser !== undefined
}

/** What a probe sees of one direction: the bytes kept, else the segment where it lies. */
function fillSpan(span: Span, wing: Wing, segment: Readonly<Segment> | undefined): void {
	if (wing.buffer !== undefined) {
		span.view = wing.buffer.view
		span.at = 0
		span.end = wing.sizeBytes
	} else if (segment !== undefined) {
		span.view = segment.view
		span.at = segment.at
		span.end = Math.min(segment.end, segment.at + OPENING_BYTES_MAX)
	}
}

function emptySpan(span: Span): void {
	span.view = EMPTY_VIEW
	span.at = 0
	span.end = 0
}

function nameSession(session: Recognition, parser: Parser): void {
	session.application = parser.name
	session.isFinal = true
	session.parser = parser
	session.parserState = parser.open(session.facts, session.transport)
}

/**
 * Everybody said no. That is the end of a TCP session seen from its start; a datagram, and a segment
 * met in the middle, can begin something of its own: it is asked about alone, then the next one.
 */
function startOver(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	if (session.transport === 'tcp' && !session.isMidstream) {
		finish(session)
		return
	}
	const wasAlone = session.client.sizeBytes === 0 && session.server.sizeBytes === 0
	releaseOpening(session.client)
	releaseOpening(session.server)
	session.undecided = allOf(session.candidates)
	if (wasAlone) return
	if (askCandidates(session, segment)) readOpening(session, wing, segment, 0)
	else if (session.undecided > 0) keepOpening(session, wing, segment)
	else session.undecided = allOf(session.candidates)
}

function releaseOpening(wing: Wing): void {
	releaseKept(wing)
	wing.isBroken = false
}

/** Reads what came before the session had a name: the other direction first, which spoke before. */
function readOpening(
	session: Recognition,
	wing: Wing,
	segment: Readonly<Segment>,
	keptBytes: number,
): void {
	const other = wing === session.client ? session.server : session.client
	readKept(session, other)
	if (other.isBroken) endWing(session, other)
	readKept(session, wing)
	if (keptBytes === 0) readSegment(session, wing, segment)
	else if (segment.at + keptBytes < segment.end) {
		readSegment(session, wing, { ...segment, at: segment.at + keptBytes })
	}
}

/** Reads the next bytes of a named session. */
function readSegment(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	session.readSegments++
	if (session.transport === 'udp') readDatagram(session, segment)
	else readStream(session, wing, segment)
	if (session.readSegments >= READ_SEGMENTS_MAX) finish(session)
}

/** A datagram holds a message of its own; what does not parse spoils only itself. */
function readDatagram(session: Recognition, segment: Readonly<Segment>): void {
	const result = session.parser?.parse(segment, session.parserState)
	if (result?.kind === 'done') finish(session)
	else if (result?.kind === 'malformed') countMalformed(session, result.why)
	else if (result?.kind === 'more') countMalformed(session, 'datagram ends inside a message')
}

function readStream(session: Recognition, wing: Wing, segment: Readonly<Segment>): void {
	let at = segment.at
	while (!session.isDone && !wing.isEnded) {
		const skippedBytes = Math.min(wing.skipBytes, segment.end - at)
		wing.skipBytes -= skippedBytes
		at += skippedBytes
		if (at >= segment.end) return
		if (wing.sizeBytes === 0) at = readBorrowed(session, wing, segment, at)
		else at = readCarried(session, wing, segment, at)
	}
}

/** Reads messages where they lie and copies the tail of the last one; returns where the reading got to. */
function readBorrowed(
	session: Recognition,
	wing: Wing,
	segment: Readonly<Segment>,
	at: number,
): number {
	unread.view = segment.view
	unread.at = at
	unread.end = segment.end
	readMessages(session, wing)
	const tailAt = unread.at
	unread.view = EMPTY_VIEW
	if (session.isDone || wing.isEnded || tailAt === segment.end) return segment.end
	if (segment.end - tailAt > MESSAGE_BYTES_MAX) endTooLong(session, wing)
	else carryBytes(session, wing, segment, tailAt)
	return segment.end
}

/** Continues the message that is not complete; returns where the reading got to. */
function readCarried(
	session: Recognition,
	wing: Wing,
	segment: Readonly<Segment>,
	at: number,
): number {
	const copiedBytes = carryBytes(session, wing, segment, at)
	readKept(session, wing)
	return at + copiedBytes
}

function carryBytes(
	session: Recognition,
	wing: Wing,
	segment: Readonly<Segment>,
	at: number,
): number {
	const sizeBytes = Math.min(MESSAGE_BYTES_MAX - wing.sizeBytes, segment.end - at)
	if (!keepBytes(wing, segment.view, at, at + sizeBytes)) finish(session)
	return sizeBytes
}

function readKept(session: Recognition, wing: Wing): void {
	if (wing.buffer === undefined || session.isDone || wing.isEnded) return
	unread.view = wing.buffer.view
	unread.at = 0
	unread.end = wing.sizeBytes
	if (session.transport === 'udp') {
		unread.fromClient = wing === session.client
		readDatagram(session, unread)
		unread.at = unread.end
	} else {
		readMessages(session, wing)
	}
	const consumedBytes = unread.at
	unread.view = EMPTY_VIEW
	if (session.isDone || wing.isEnded) return
	dropKept(wing, consumedBytes)
	if (wing.sizeBytes >= MESSAGE_BYTES_MAX) endTooLong(session, wing)
}

/** Lets the parser read messages until it needs more bytes; `unread.at` stops where it does. */
function readMessages(session: Recognition, wing: Wing): void {
	const { parser } = session
	if (parser === undefined) return
	unread.fromClient = wing === session.client
	while (unread.at < unread.end) {
		const result = parser.parse(unread, session.parserState)
		switch (result.kind) {
			case 'message':
				passMessage(session, wing, result.consumedBytes)
				if (wing.isEnded) return
				break
			case 'more':
				return
			case 'done':
				finish(session)
				return
			case 'malformed':
				countMalformed(session, result.why)
				endWing(session, wing)
				return
		}
	}
}

/** A message may be longer than what is there: the stream then passes over the rest unseen. */
function passMessage(session: Recognition, wing: Wing, consumedBytes: number): void {
	if (consumedBytes === REST_OF_DIRECTION) {
		endWing(session, wing)
		return
	}
	const presentBytes = unread.end - unread.at
	unread.at += Math.min(consumedBytes, presentBytes)
	wing.skipBytes = Math.max(0, consumedBytes - presentBytes)
}

function endTooLong(session: Recognition, wing: Wing): void {
	countMalformed(session, 'message longer than the limit')
	endWing(session, wing)
}

/** A session met in the middle starts inside a message: what does not parse there is not malformed. */
function countMalformed(session: Recognition, why: string): void {
	if (session.isMidstream) return
	session.malformedMessages++
	session.malformedWhy = why
}

function endWing(session: Recognition, wing: Wing): void {
	wing.isEnded = true
	releaseKept(wing)
	if (session.client.isEnded && session.server.isEnded) finish(session)
}

function finish(session: Recognition): void {
	session.isFinal = true
	session.isDone = true
	session.parserState = undefined
	releaseKept(session.client)
	releaseKept(session.server)
}
