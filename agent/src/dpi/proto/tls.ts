import { isPrintable, readText, SPACE } from '../ascii.ts'
import {
	DONE,
	type Facts,
	MORE,
	type ParseResult,
	type Parser,
	type Probe,
	type Segment,
	type Span,
} from '../parser.ts'

/*
 * TLS 1.0 to 1.3 and SSL 3.0 (RFC 8446 §5.1, §4; RFC 5246 §6.2.1; RFC 6101):
 *   record     uint8 type | uint16 version | uint16 length | fragment
 *   handshake  uint8 msg_type | uint24 length | body
 *   hello      uint16 version | 32 bytes random | session_id<0..32> | cipher suites | compression | extensions
 * SSL 2.0 hello that offers more (RFC 5246 Appendix E.2):
 *   uint16 0x8000 + length | uint8 1 | uint16 version | uint16 ciphers | uint16 session id | uint16 challenge
 */

const RECORD_HEADER_BYTES = 5
const HANDSHAKE_HEADER_BYTES = 4
/** Most bytes of a record: 2^14 of text and 2048 of expansion (RFC 5246 §6.2.3). */
const RECORD_BYTES_MAX = 16_384 + 2048
/** A hello with no session id, one cipher suite and no extension; longest that is read. */
const HELLO_BYTES_MIN = 38
const HELLO_BYTES_MAX = 65_536
/** Longest hello that is put together from several records. */
const JOINED_BYTES_MAX = 32_768
const SESSION_ID_BYTES_MAX = 32
/** From a record's start to the length of the session id of its hello. */
const SESSION_ID_OFFSET = RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES + 2 + 32
const SSL2_HEADER_BYTES = 11
const FACT_CHARACTERS_MAX = 255

const CHANGE_CIPHER_SPEC = 20
const ALERT = 21
const HANDSHAKE = 22
const APPLICATION_DATA = 23
const HEARTBEAT = 24
const CLIENT_HELLO = 1
const SERVER_HELLO = 2
const FATAL = 2

/** Extensions (IANA TLS ExtensionType Values). */
const SERVER_NAME = 0
const ALPN = 16
const SUPPORTED_VERSIONS = 43

const VERSIONS: Readonly<Record<number, string>> = {
	2: 'SSL2.0',
	768: 'SSL3.0',
	769: 'TLS1.0',
	770: 'TLS1.1',
	771: 'TLS1.2',
	772: 'TLS1.3',
}
/** Drafts of TLS 1.3 have the version 0x7f00 and their number (draft-ietf-tls-tls13-21 §4.2.1.1), and another server hello. */
const DRAFT_MAJOR = 0x7f

interface State {
	readonly facts: Facts
	readonly client: HelloInParts
	readonly server: HelloInParts
}

/** The hello of one direction, when it is spread over several records. */
interface HelloInParts {
	view: DataView | undefined
	sizeBytes: number
}

/** TLS and SSL over TCP from their hello on; what turns to TLS later (STARTTLS) keeps its own name. */
export const TLS: Parser<State> = {
	name: 'tls',
	transports: ['tcp'],
	ports: [443, 8443, 6443, 853, 993, 995, 465, 636, 8883],
	probe: ({ client, server, isMidstream }) =>
		isMidstream ? probeMidstream(client, server) : probeStart(client, server),
	open: (facts) => ({
		facts,
		client: { view: undefined, sizeBytes: 0 },
		server: { view: undefined, sizeBytes: 0 },
	}),
	parse,
}

function probeStart(client: Readonly<Span>, server: Readonly<Span>): Probe {
	const ofClient = probeClient(client)
	const ofServer = probeHello(server, SERVER_HELLO)
	if (ofClient === 'no' || (ofServer === 'no' && !isAlert(server))) return 'no'
	return ofClient === 'match' || ofServer === 'match' ? 'match' : 'more'
}

function probeClient(client: Readonly<Span>): Probe {
	const hello = probeHello(client, CLIENT_HELLO)
	return hello === 'no' ? probeSsl2Hello(client) : hello
}

function probeHello({ view, at, end }: Readonly<Span>, type: number): Probe {
	if (at === end) return 'more'
	if (view.getUint8(at) !== HANDSHAKE) return 'no'
	if (at + 1 < end && view.getUint8(at + 1) !== 3) return 'no'
	if (at + 2 < end && view.getUint8(at + 2) > 4) return 'no'
	if (at + RECORD_HEADER_BYTES >= end) return 'more'
	const recordBytes = view.getUint16(at + 3)
	if (recordBytes === 0 || recordBytes > RECORD_BYTES_MAX) return 'no'
	if (view.getUint8(at + RECORD_HEADER_BYTES) !== type) return 'no'
	if (RECORD_HEADER_BYTES + recordBytes <= SESSION_ID_OFFSET) {
		return probeNextRecord(view, at + RECORD_HEADER_BYTES + recordBytes, end)
	}
	return probeHelloBody(view, at, end)
}

/** A hello cut into small records: the next record must be one of the handshake as well. */
function probeNextRecord(view: DataView, at: number, end: number): Probe {
	if (at + RECORD_HEADER_BYTES > end) return 'more'
	return view.getUint8(at) === HANDSHAKE && view.getUint8(at + 1) === 3 ? 'match' : 'no'
}

/** Length, version and session id of the hello, as far as they are there. */
function probeHelloBody(view: DataView, at: number, end: number): Probe {
	const bodyAt = at + RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES
	if (bodyAt + 2 > end) return 'more'
	const helloBytes = readUint24(view, at + RECORD_HEADER_BYTES + 1)
	if (helloBytes < HELLO_BYTES_MIN || helloBytes > HELLO_BYTES_MAX) return 'no'
	if (view.getUint8(bodyAt) !== 3 || view.getUint8(bodyAt + 1) > 4) return 'no'
	if (at + SESSION_ID_OFFSET >= end) return 'more'
	return view.getUint8(at + SESSION_ID_OFFSET) <= SESSION_ID_BYTES_MAX ? 'match' : 'no'
}

function probeSsl2Hello({ view, at, end }: Readonly<Span>): Probe {
	if ((view.getUint8(at) & 0x80) === 0) return 'no'
	if (at + SSL2_HEADER_BYTES > end)
		return at + 2 < end && view.getUint8(at + 2) !== 1 ? 'no' : 'more'
	return isSsl2Hello(view, at) ? 'match' : 'no'
}

/** `SSL2_HEADER_BYTES` bytes must be there. */
function isSsl2Hello(view: DataView, at: number): boolean {
	const version = view.getUint16(at + 3)
	const ciphersBytes = view.getUint16(at + 5)
	const sessionIdBytes = view.getUint16(at + 7)
	const challengeBytes = view.getUint16(at + 9)
	const bytes = SSL2_HEADER_BYTES - 2 + ciphersBytes + sessionIdBytes + challengeBytes
	return (
		view.getUint16(at) === (0x8000 | bytes) &&
		view.getUint8(at + 2) === CLIENT_HELLO &&
		VERSIONS[version] !== undefined &&
		ciphersBytes > 0 &&
		ciphersBytes % 3 === 0 &&
		(sessionIdBytes === 0 || sessionIdBytes === 16) &&
		challengeBytes >= 16 &&
		challengeBytes <= 32
	)
}

function isAlert({ view, at, end }: Readonly<Span>): boolean {
	return end - at >= RECORD_HEADER_BYTES && isRecordHeader(view, at) && view.getUint8(at) === ALERT
}

/** What one direction shows of records, there where no hello is. */
type Records = 'chain' | 'header' | 'more' | 'no'

function probeMidstream(client: Readonly<Span>, server: Readonly<Span>): Probe {
	const one = readRecords(client)
	const other = readRecords(server)
	if (one === 'chain' || other === 'chain') return 'match'
	if (one === 'header' && other === 'header') return 'match'
	return one === 'no' && other === 'no' ? 'no' : 'more'
}

/** A chain ends where the bytes end, or goes on with another header; a lone header is not enough. */
function readRecords({ view, at, end }: Readonly<Span>): Records {
	if (at === end) return 'no'
	let recordAt = at
	while (recordAt + RECORD_HEADER_BYTES <= end) {
		if (!isRecordHeader(view, recordAt)) return 'no'
		if (recordAt > at) return 'chain'
		recordAt += RECORD_HEADER_BYTES + view.getUint16(recordAt + 3)
	}
	if (recordAt === end) return 'chain'
	if (recordAt > at) return 'header'
	return isRecordType(view.getUint8(at)) && (at + 1 === end || view.getUint8(at + 1) === 3)
		? 'more'
		: 'no'
}

function isRecordType(type: number): boolean {
	return type >= CHANGE_CIPHER_SPEC && type <= HEARTBEAT
}

/** `RECORD_HEADER_BYTES` bytes must be there. */
function isRecordHeader(view: DataView, at: number): boolean {
	const type = view.getUint8(at)
	const recordBytes = view.getUint16(at + 3)
	if (!isRecordType(type) || view.getUint8(at + 1) !== 3 || view.getUint8(at + 2) > 4) return false
	if (type === CHANGE_CIPHER_SPEC) return recordBytes === 1
	return recordBytes > 0 && recordBytes <= RECORD_BYTES_MAX
}

function parse(segment: Readonly<Segment>, state: State): ParseResult {
	const { view, at, end } = segment
	if ((view.getUint8(at) & 0x80) !== 0) return parseSsl2Hello(segment, state)
	if (end - at < RECORD_HEADER_BYTES) return MORE
	if (!isRecordHeader(view, at)) return { kind: 'malformed', why: 'record header' }
	const consumedBytes = RECORD_HEADER_BYTES + view.getUint16(at + 3)
	switch (view.getUint8(at)) {
		case HANDSHAKE:
			return parseHandshake(segment, state, consumedBytes)
		case ALERT:
			if (at + RECORD_HEADER_BYTES === end) return MORE
			if (view.getUint8(at + RECORD_HEADER_BYTES) === FATAL) return DONE
			break
		case APPLICATION_DATA:
			if (!segment.fromClient) return DONE
	}
	return { kind: 'message', consumedBytes }
}

/** A server that answers in SSL 2.0 has told its version by that. */
function parseSsl2Hello(segment: Readonly<Segment>, state: State): ParseResult {
	const { view, at, end, fromClient } = segment
	if (!fromClient) return DONE
	if (end - at < SSL2_HEADER_BYTES) return MORE
	if (!isSsl2Hello(view, at)) return { kind: 'malformed', why: 'record header' }
	setVersion(state.facts, view.getUint16(at + 3))
	return { kind: 'message', consumedBytes: 2 + (view.getUint16(at) & 0x7fff) }
}

function parseHandshake(
	segment: Readonly<Segment>,
	state: State,
	recordBytes: number,
): ParseResult {
	const { view, at, end } = segment
	const parts = segment.fromClient ? state.client : state.server
	const helloAt = at + RECORD_HEADER_BYTES
	const recordEnd = at + recordBytes
	if (parts.view !== undefined) return addPart(segment, state, recordBytes)
	if (helloAt === end) return MORE
	const type = view.getUint8(helloAt)
	if (type !== CLIENT_HELLO && type !== SERVER_HELLO) {
		return { kind: 'message', consumedBytes: recordBytes }
	}
	if (recordEnd - helloAt < HANDSHAKE_HEADER_BYTES) return addPart(segment, state, recordBytes)
	if (helloAt + HANDSHAKE_HEADER_BYTES > end) return MORE
	const helloEnd = helloAt + HANDSHAKE_HEADER_BYTES + readUint24(view, helloAt + 1)
	if (helloEnd > recordEnd) return addPart(segment, state, recordBytes)
	if (helloEnd > end) return MORE
	return readHello({ view, at: helloAt, end: helloEnd }, state, recordBytes)
}

/** Joins a hello that is spread over records, with a limit. */
function addPart(segment: Readonly<Segment>, state: State, recordBytes: number): ParseResult {
	const { view, at, end } = segment
	if (at + recordBytes > end) return MORE
	const parts = segment.fromClient ? state.client : state.server
	const partBytes = recordBytes - RECORD_HEADER_BYTES
	const sizeBytes = parts.sizeBytes + partBytes
	if (sizeBytes > JOINED_BYTES_MAX) return { kind: 'malformed', why: 'hello too long' }
	const joined = makeRoom(parts, sizeBytes)
	for (let offset = 0; offset < partBytes; offset++) {
		joined.setUint8(parts.sizeBytes + offset, view.getUint8(at + RECORD_HEADER_BYTES + offset))
	}
	parts.sizeBytes = sizeBytes
	const isHeaderThere = sizeBytes >= HANDSHAKE_HEADER_BYTES
	const helloEnd = HANDSHAKE_HEADER_BYTES + (isHeaderThere ? readUint24(joined, 1) : 0)
	if (!isHeaderThere || helloEnd > sizeBytes) return { kind: 'message', consumedBytes: recordBytes }
	parts.view = undefined
	parts.sizeBytes = 0
	return readHello({ view: joined, at: 0, end: helloEnd }, state, recordBytes)
}

/** Doubles, so that a hello in records of one byte is not copied for each of them. */
function makeRoom(parts: HelloInParts, sizeBytes: number): DataView {
	if (parts.view !== undefined && parts.view.byteLength >= sizeBytes) return parts.view
	const room = new DataView(new ArrayBuffer(2 * sizeBytes))
	for (let offset = 0; offset < parts.sizeBytes; offset++) {
		room.setUint8(offset, parts.view?.getUint8(offset) ?? 0)
	}
	parts.view = room
	return room
}

function readUint24(view: DataView, at: number): number {
	return view.getUint8(at) * 65_536 + view.getUint16(at + 1)
}

/** Reads a whole hello, handshake header included; the server's ends what there is to learn. */
function readHello(hello: Span, state: State, recordBytes: number): ParseResult {
	const { view, at, end } = hello
	const isServer = view.getUint8(at) === SERVER_HELLO
	const bodyAt = at + HANDSHAKE_HEADER_BYTES
	const sessionIdAt = bodyAt + 2 + 32
	if (sessionIdAt >= end) return { kind: 'malformed', why: 'hello too short' }
	if (isServer && view.getUint8(bodyAt) === DRAFT_MAJOR) {
		setVersion(state.facts, view.getUint16(bodyAt))
		return DONE
	}
	const ciphersAt = sessionIdAt + 1 + view.getUint8(sessionIdAt)
	const extensionsAt = isServer ? ciphersAt + 3 : findClientExtensions(view, ciphersAt, end)
	if (extensionsAt > end) return { kind: 'malformed', why: 'hello fields beyond its end' }
	setVersion(state.facts, view.getUint16(bodyAt))
	const why = readExtensions({ view, at: extensionsAt, end }, state.facts, isServer)
	if (why !== undefined) return { kind: 'malformed', why }
	return isServer ? DONE : { kind: 'message', consumedBytes: recordBytes }
}

/** Offset behind the compression methods; beyond `end` when a length says so. */
function findClientExtensions(view: DataView, ciphersAt: number, end: number): number {
	if (ciphersAt + 2 > end) return end + 1
	const compressionAt = ciphersAt + 2 + view.getUint16(ciphersAt)
	if (compressionAt >= end) return end + 1
	return compressionAt + 1 + view.getUint8(compressionAt)
}

/** Extensions may be absent altogether; returns why they are malformed. */
function readExtensions(
	{ view, at, end }: Span,
	facts: Facts,
	isServer: boolean,
): string | undefined {
	if (at === end) return undefined
	if (at + 2 > end || at + 2 + view.getUint16(at) > end) return 'extensions beyond the hello'
	const extensionsEnd = at + 2 + view.getUint16(at)
	let extensionAt = at + 2
	while (extensionAt < extensionsEnd) {
		if (extensionAt + 4 > extensionsEnd) return 'extension header'
		const bodyAt = extensionAt + 4
		const bodyEnd = bodyAt + view.getUint16(extensionAt + 2)
		if (bodyEnd > extensionsEnd) return 'extension beyond the hello'
		const body = { view, at: bodyAt, end: bodyEnd }
		readExtension(view.getUint16(extensionAt), body, facts, isServer)
		extensionAt = bodyEnd
	}
	return undefined
}

/** What is not well formed in an extension is left out of the facts. */
function readExtension(type: number, body: Span, facts: Facts, isServer: boolean): void {
	if (type === SERVER_NAME && !isServer) readServerName(body, facts)
	else if (type === ALPN) readAlpn(body, facts)
	else if (type === SUPPORTED_VERSIONS) readVersions(body, facts, isServer)
}

/** `uint16 list | uint8 0 | uint16 length | name` (RFC 6066 §3). */
function readServerName({ view, at, end }: Span, facts: Facts): void {
	if (at + 5 > end || view.getUint8(at + 2) !== 0) return
	const nameEnd = at + 5 + view.getUint16(at + 3)
	if (nameEnd > end || nameEnd - at - 5 > FACT_CHARACTERS_MAX || nameEnd === at + 5) return
	if (isVisible(view, at + 5, nameEnd)) facts.host = readText(view, at + 5, nameEnd).toLowerCase()
}

/** `uint16 list`, then names of `uint8 length` (RFC 7301 §3.1): all that the client offers, or the server's choice. */
function readAlpn({ view, at, end }: Span, facts: Facts): void {
	const names: string[] = []
	let nameAt = at + 2
	while (nameAt < end) {
		const nameEnd = nameAt + 1 + view.getUint8(nameAt)
		if (nameEnd > end) return
		if (isVisible(view, nameAt + 1, nameEnd)) names.push(readText(view, nameAt + 1, nameEnd))
		nameAt = nameEnd
	}
	if (names.length > 0) facts.detail = names.join(',').slice(0, FACT_CHARACTERS_MAX)
}

/** The newest that the client offers, or the one that the server chose (RFC 8446 §4.2.1). */
function readVersions({ view, at, end }: Span, facts: Facts, isServer: boolean): void {
	if (isServer) {
		if (at + 2 <= end) setVersion(facts, view.getUint16(at))
		return
	}
	let newest = 0
	for (let offset = at + 1; offset + 2 <= end; offset += 2) {
		const version = view.getUint16(offset)
		if (versionName(version) !== undefined) newest = Math.max(newest, version)
	}
	if (newest > 0) setVersion(facts, newest)
}

function setVersion(facts: Facts, version: number): void {
	const name = versionName(version)
	if (name !== undefined) facts.version = name
}

function versionName(version: number): string | undefined {
	return version >> 8 === DRAFT_MAJOR ? 'TLS1.3' : VERSIONS[version]
}

function isVisible(view: DataView, at: number, end: number): boolean {
	for (let offset = at; offset < end; offset++) {
		const byte = view.getUint8(offset)
		if (!isPrintable(byte) || byte === SPACE) return false
	}
	return true
}
