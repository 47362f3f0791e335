import { isPrintable } from '../ascii.ts'
import {
	DONE,
	type Facts,
	MORE,
	type Opening,
	type ParseResult,
	type Parser,
	type Probe,
	type Segment,
	type Span,
	type Transport,
} from '../parser.ts'

/*
 * DNS message (RFC 1035 §4.1), over TCP behind its length in two bytes (§4.2.2):
 *   id | QR:1 opcode:4 AA TC RD RA Z AD CD rcode:4 | questions | answers | authorities | additionals   (16 bits each)
 *   question  name | type | class
 *   record    name | type | class | ttl:32 | length:16 | data
 * The name rests on one sound question, or on a message that is sound to its last byte when it has none:
 * servers answer a query with bytes behind it, so whoever hides behind such bytes is named all the same.
 */

const HEADER_BYTES = 12
/** The root, a type and a class. */
const QUESTION_BYTES_MIN = 5
/** Type, class, time to live and length of a record. */
const RECORD_FIXED_BYTES = 10
const LABEL_BYTES_MAX = 63
/** RFC 1035 §2.3.4: 255 bytes on the wire. */
const NAME_BYTES_MAX = 255
const POINTERS_MAX = 127
/** One in unicast; several in multicast (RFC 6762 §5.3). */
const QUESTIONS_MAX = 64
/** Records that are walked through; a message of 64 KiB has room for some 5,900. */
const RECORDS_MAX = 6000

const FLAG_RESPONSE = 0x8000
const FLAG_RESERVED = 0x0040
const FLAG_RECURSION_DESIRED = 0x0100
const FLAGS_AD_CD = 0x0030
const RCODE_MASK = 0x000f
const QUERY = 0
const NOTIFY = 4
const UPDATE = 5

const TYPE_NIMLOC = 32
const TYPE_SRV = 33
const TYPE_OPT = 41
/** First half-octet encoding of NetBIOS names: 32 letters from A to P (RFC 1001 §14.1). */
const NETBIOS_LABEL_BYTES = 32

interface State {
	readonly facts: Facts
	readonly transport: Transport
	hasQuestion: boolean
}

/** DNS over UDP and TCP; multicast DNS and LLMNR have the same messages. */
export const DNS: Parser<State> = {
	name: 'dns',
	transports: ['udp', 'tcp'],
	ports: [53, 5353, 5355],
	probe,
	open: (facts, transport) => ({ facts, transport, hasQuestion: false }),
	parse,
}

function probe({ client, server, transport, isMidstream }: Opening): Probe {
	const ofClient = probeDirection(client, transport)
	const ofServer = probeDirection(server, transport)
	if (isMidstream || transport === 'udp') return either(ofClient, ofServer)
	if (ofClient === 'no' || ofServer === 'no') return 'no'
	if (ofClient === 'match' || ofServer === 'match') return 'match'
	return 'more'
}

/** One direction is enough where the other may be met inside a message. */
function either(one: Probe | undefined, other: Probe | undefined): Probe {
	if (one === 'match' || other === 'match') return 'match'
	return one === 'more' || other === 'more' ? 'more' : 'no'
}

/** Undefined while the direction is empty. */
function probeDirection(
	{ view, at, end }: Readonly<Span>,
	transport: Transport,
): Probe | undefined {
	if (at === end) return undefined
	if (transport === 'udp') return isMessage(view, at, end) ? 'match' : 'no'
	if (at + 2 > end) return 'more'
	const messageAt = at + 2
	const messageBytes = view.getUint16(at)
	if (messageBytes < HEADER_BYTES + QUESTION_BYTES_MIN) return 'no'
	if (messageAt + HEADER_BYTES > end) return probeCutHeader(view, messageAt, end)
	if (findHeaderFault(view, messageAt, messageBytes) !== undefined) return 'no'
	if (messageAt + messageBytes > end) return 'more'
	return isMessage(view, messageAt, messageAt + messageBytes) ? 'match' : 'no'
}

/** Flags and the count of questions, as far as they are there: most of what is not DNS fails here. */
function probeCutHeader(view: DataView, at: number, end: number): Probe {
	if (at + 4 <= end && findFlagsFault(view, at) !== undefined) return 'no'
	return at + 6 <= end && view.getUint16(at + 4) > QUESTIONS_MAX ? 'no' : 'more'
}

function isMessage(view: DataView, at: number, end: number): boolean {
	if (findFault(view, at, end) === undefined) return true
	if (end - at < HEADER_BYTES + 1) return false
	return hasOneQuestion(view, at, end) || isPlainQuery(view, at)
}

/** The question is sound, whatever is wrong behind it. */
function hasOneQuestion(view: DataView, at: number, end: number): boolean {
	if (findFlagsFault(view, at) !== undefined || view.getUint16(at + 4) !== 1) return false
	const nameAt = at + HEADER_BYTES
	const nameEnd = findNameEnd(view, at, nameAt, end)
	return nameEnd !== -1 && nameEnd + 4 <= end && isQuestion(view, nameAt, nameEnd)
}

/** A header that says recursive query, one question and nothing else: 80 fixed bits, whatever the question is. */
function isPlainQuery(view: DataView, at: number): boolean {
	return (
		(view.getUint16(at + 2) & ~FLAGS_AD_CD) === FLAG_RECURSION_DESIRED &&
		view.getUint16(at + 4) === 1 &&
		view.getUint32(at + 6) === 0 &&
		view.getUint16(at + 10) <= 1 &&
		view.getUint8(at + HEADER_BYTES) !== NETBIOS_LABEL_BYTES
	)
}

/** What keeps the bytes from being a DNS message; undefined when nothing does. Makes no objects. */
function findFault(view: DataView, at: number, end: number): string | undefined {
	if (end - at < HEADER_BYTES + QUESTION_BYTES_MIN) return 'message too short'
	const headerFault = findHeaderFault(view, at, end - at)
	if (headerFault !== undefined) return headerFault
	let offset = at + HEADER_BYTES
	const questions = view.getUint16(at + 4)
	for (let index = 0; index < questions; index++) {
		const nameEnd = findNameEnd(view, at, offset, end)
		if (nameEnd === -1 || nameEnd + 4 > end) return 'question name'
		if (!isQuestion(view, offset, nameEnd)) return 'question type or class'
		offset = nameEnd + 4
	}
	const records = countRecords(view, at)
	for (let index = 0; index < records; index++) {
		offset = findRecordEnd(view, at, offset, end)
		if (offset === -1) return 'record'
	}
	return offset === end ? undefined : 'bytes after the last record'
}

/** Looks at the 12 bytes of the header, which must be there. */
function findHeaderFault(view: DataView, at: number, messageBytes: number): string | undefined {
	const flagsFault = findFlagsFault(view, at)
	if (flagsFault !== undefined) return flagsFault
	const isResponse = (view.getUint16(at + 2) & FLAG_RESPONSE) !== 0
	const questions = view.getUint16(at + 4)
	const records = countRecords(view, at)
	if (questions > QUESTIONS_MAX || records > RECORDS_MAX) return 'too many records'
	if (questions === 0 && (!isResponse || records === 0)) return 'no question'
	const bytesMin = questions * QUESTION_BYTES_MIN + records * (1 + RECORD_FIXED_BYTES)
	return HEADER_BYTES + bytesMin > messageBytes ? 'more records than bytes' : undefined
}

function findFlagsFault(view: DataView, at: number): string | undefined {
	const flags = view.getUint16(at + 2)
	const opcode = (flags >> 11) & 0xf
	const isResponse = (flags & FLAG_RESPONSE) !== 0
	if (opcode !== QUERY && opcode !== NOTIFY && opcode !== UPDATE) return 'opcode'
	if ((flags & FLAG_RESERVED) !== 0) return 'reserved bit'
	return !isResponse && (flags & RCODE_MASK) !== 0 ? 'response code in a query' : undefined
}

function countRecords(view: DataView, at: number): number {
	return view.getUint16(at + 6) + view.getUint16(at + 8) + view.getUint16(at + 10)
}

/** Type and class must be assigned, the name printable and not a NetBIOS one. */
function isQuestion(view: DataView, nameAt: number, nameEnd: number): boolean {
	const type = view.getUint16(nameEnd)
	if (!isAssignedType(type) || !isAssignedClass(view.getUint16(nameEnd + 2))) return false
	if (type === TYPE_NIMLOC || (type === TYPE_SRV && isNetbiosLabel(view, nameAt, nameEnd))) {
		return false
	}
	return isPrintableName(view, nameAt, nameEnd)
}

/** Types in use, and the private ones (IANA DNS Resource Record TYPEs). */
function isAssignedType(type: number): boolean {
	if (type < 249) return (type >= 1 && type <= 66) || (type >= 99 && type <= 109) || type === 128
	return type <= 264 || (type >= 32_768 && type <= 32_770) || type >= 65_280
}

/** IN, CH, HS, NONE, ANY; the top bit is of multicast DNS (RFC 6762 §5.4, §10.2). */
function isAssignedClass(value: number): boolean {
	const unflagged = value & 0x7fff
	return (
		unflagged === 1 || unflagged === 3 || unflagged === 4 || unflagged === 254 || unflagged === 255
	)
}

function isNetbiosLabel(view: DataView, nameAt: number, nameEnd: number): boolean {
	if (view.getUint8(nameAt) !== NETBIOS_LABEL_BYTES) return false
	if (nameAt + 1 + NETBIOS_LABEL_BYTES > nameEnd) return false
	for (let offset = nameAt + 1; offset <= nameAt + NETBIOS_LABEL_BYTES; offset++) {
		if (view.getUint8(offset) < 0x41 || view.getUint8(offset) > 0x50) return false
	}
	return true
}

/** Questions are asked in text, UTF-8 in multicast; control bytes are no name that anyone asks for. */
function isPrintableName(view: DataView, nameAt: number, nameEnd: number): boolean {
	let labelAt = nameAt
	while (labelAt < nameEnd) {
		const labelBytes = view.getUint8(labelAt)
		if (labelBytes > LABEL_BYTES_MAX) return true
		for (let offset = labelAt + 1; offset <= labelAt + labelBytes; offset++) {
			const byte = view.getUint8(offset)
			if (!isPrintable(byte) && byte < 0x80) return false
		}
		labelAt += 1 + labelBytes
	}
	return true
}

/** Offset behind a record; -1 when it is not one. */
function findRecordEnd(view: DataView, messageAt: number, at: number, end: number): number {
	const nameEnd = findNameEnd(view, messageAt, at, end)
	if (nameEnd === -1 || nameEnd + RECORD_FIXED_BYTES > end) return -1
	const type = view.getUint16(nameEnd)
	if (type === TYPE_NIMLOC) return -1
	if (type !== TYPE_OPT && !isAssignedClass(view.getUint16(nameEnd + 2))) return -1
	const recordEnd = nameEnd + RECORD_FIXED_BYTES + view.getUint16(nameEnd + 8)
	return recordEnd <= end ? recordEnd : -1
}

/**
 * Offset behind the name at `at`, which ends at the root or at a compression pointer (RFC 1035 §4.1.4).
 * A pointer must lead backward, but its target is not followed: nothing here needs the name.
 */
function findNameEnd(view: DataView, messageAt: number, at: number, end: number): number {
	let offset = at
	while (offset < end && offset - at < NAME_BYTES_MAX) {
		const labelBytes = view.getUint8(offset)
		if (labelBytes === 0) return offset + 1
		if (labelBytes >= 0xc0) {
			if (offset + 2 > end) return -1
			const target = messageAt + (view.getUint16(offset) & 0x3fff)
			return target >= messageAt + HEADER_BYTES && target < offset ? offset + 2 : -1
		}
		if (labelBytes > LABEL_BYTES_MAX) return -1
		offset += 1 + labelBytes
	}
	return -1
}

function parse(segment: Readonly<Segment>, state: State): ParseResult {
	return state.transport === 'udp' ? parseMessage(segment, state, 0) : parseFramed(segment, state)
}

function parseFramed(segment: Readonly<Segment>, state: State): ParseResult {
	const { view, at, end, fromClient } = segment
	if (at + 2 > end) return MORE
	const messageAt = at + 2
	const messageBytes = view.getUint16(at)
	if (messageBytes < HEADER_BYTES) return { kind: 'malformed', why: 'message too short' }
	if (messageAt + messageBytes > end) return MORE
	return parseMessage({ view, at: messageAt, end: messageAt + messageBytes, fromClient }, state, 2)
}

function parseMessage(
	{ view, at, end }: Readonly<Segment>,
	state: State,
	prefixBytes: number,
): ParseResult {
	const why = findFault(view, at, end)
	if (why !== undefined) return { kind: 'malformed', why }
	if (view.getUint16(at + 4) > 0 && !state.hasQuestion) {
		state.hasQuestion = true
		state.facts.detail = readName(view, at, at + HEADER_BYTES, end)
	}
	if ((view.getUint16(at + 2) & FLAG_RESPONSE) !== 0) return DONE
	return { kind: 'message', consumedBytes: prefixBytes + end - at }
}

/**
 * Reads the name at `at` as text in lower case, following compression pointers (RFC 1035 §4.1.4).
 * Follows at most `POINTERS_MAX` of them, each backward, so it ends on any input; `.` is the root.
 */
function readName(view: DataView, messageAt: number, at: number, end: number): string {
	let text = ''
	let offset = at
	let pointers = 0
	while (offset < end && text.length < NAME_BYTES_MAX) {
		const labelBytes = view.getUint8(offset)
		if (labelBytes === 0) break
		if (labelBytes > LABEL_BYTES_MAX) {
			const target = offset + 1 < end ? messageAt + (view.getUint16(offset) & 0x3fff) : end
			if (target >= offset || ++pointers > POINTERS_MAX) break
			offset = target
			continue
		}
		const labelEnd = Math.min(end, offset + 1 + labelBytes)
		text += `${text === '' ? '' : '.'}${readLabel(view, offset + 1, labelEnd)}`
		offset += 1 + labelBytes
	}
	return text === '' ? '.' : text.slice(0, NAME_BYTES_MAX)
}

/** A dot, a backslash or a byte that is not printable is written as in a zone file (RFC 1035 §5.1): `\DDD`. */
function readLabel(view: DataView, at: number, end: number): string {
	let text = ''
	for (let offset = at; offset < end; offset++) {
		const byte = view.getUint8(offset)
		const isPlain = isPrintable(byte) && byte !== 0x2e && byte !== 0x5c
		text += isPlain ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, '0')}`
	}
	return text.toLowerCase()
}
