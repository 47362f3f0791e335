import {
	CR,
	findByte,
	isDigit,
	isPrintable,
	LF,
	readPrintable,
	SPACE,
	startsWith,
	TAB,
} from '../ascii.ts'
import {
	DONE,
	type Facts,
	MORE,
	type Opening,
	type ParseResult,
	type Parser,
	type Probe,
	REST_OF_DIRECTION,
	type Segment,
	type Span,
} from '../parser.ts'

/*
 * SSH (RFC 4253 §4.2), both sides, in any order:
 *   "SSH-" protoversion "-" softwareversion [ SP comments ] CR LF
 * A server may send other lines before. Then packets (§6), the first of them a key exchange (§7.1):
 *   uint32 packet_length | byte padding_length | byte 20 | 16 bytes cookie | name-list ...
 */

/** Longest identification, CR LF included (RFC 4253 §4.2). */
const BANNER_BYTES_MAX = 255
/** Longest protocol version: `1.99`. */
const VERSION_BYTES_MAX = 4
/** Lines that a server may send before its identification. */
const LINES_BEFORE_MAX = 20
/** Longest packet that every implementation takes (RFC 4253 §6.1). */
const PACKET_BYTES_MAX = 35_000
/** As far as the length of the first name-list of a key exchange. */
const KEXINIT_HEADER_BYTES = 26
const SSH_MSG_KEXINIT = 20
const PADDING_BYTES_MIN = 4

const DOT = 0x2e
const HYPHEN = 0x2d

interface State {
	readonly facts: Facts
	hasClientBanner: boolean
	hasServerBanner: boolean
}

/** SSH 1.x and 2.0. */
export const SSH: Parser<State> = {
	name: 'ssh',
	transports: ['tcp'],
	ports: [22, 2222],
	probe,
	open: (facts) => ({ facts, hasClientBanner: false, hasServerBanner: false }),
	parse,
}

function probe({ client, server, isMidstream }: Opening): Probe {
	if (isMidstream) return probeMidstream(client, server)
	const ofServer = probeServer(server)
	if (ofServer !== 'more') return ofServer
	return probeBanner(client.view, client.at, client.end)
}

/** Which direction is the client's is a guess there. */
function probeMidstream(client: Readonly<Span>, server: Readonly<Span>): Probe {
	const one = probeAnyStart(client)
	const other = probeAnyStart(server)
	if (one === 'match' || other === 'match') return 'match'
	return one === 'more' || other === 'more' ? 'more' : 'no'
}

function probeAnyStart({ view, at, end }: Readonly<Span>): Probe {
	if (at === end) return 'no'
	const banner = probeBanner(view, at, end)
	return banner === 'no' ? probeKexInit(view, at, end) : banner
}

/** `SSH-` digit `.` digits `-` and one character of the software version. */
function probeBanner(view: DataView, at: number, end: number): Probe {
	const start = startsWith(view, at, end, 'SSH-')
	if (start !== 'match') return start
	const versionAt = at + 4
	const limit = Math.min(end, versionAt + VERSION_BYTES_MAX + 1)
	let offset = versionAt
	while (offset < limit && isVersionByte(view.getUint8(offset))) offset++
	if (offset - versionAt > VERSION_BYTES_MAX) return 'no'
	if (offset === end) return 'more'
	if (offset === versionAt || view.getUint8(offset) !== HYPHEN) return 'no'
	if (offset + 1 === end) return 'more'
	return isPrintable(view.getUint8(offset + 1)) ? 'match' : 'no'
}

function isVersionByte(byte: number): boolean {
	return isDigit(byte) || byte === DOT
}

/** Lines of text may come first, which do not begin like the identification. */
function probeServer({ view, at, end }: Readonly<Span>): Probe {
	let lineAt = at
	for (let line = 0; line <= LINES_BEFORE_MAX; line++) {
		const banner = probeBanner(view, lineAt, end)
		if (banner !== 'no') return banner
		if (startsWith(view, lineAt, end, 'SSH-') === 'match') return 'no'
		const lineEnd = findByte(view, lineAt, end, LF)
		if (!isText(view, lineAt, lineEnd === -1 ? end : lineEnd)) return 'no'
		if (lineEnd === -1) return 'more'
		lineAt = lineEnd + 1
	}
	return 'no'
}

/** Printable ASCII, UTF-8, tabs and the CR of the line end. */
function isText(view: DataView, at: number, end: number): boolean {
	for (let offset = at; offset < end; offset++) {
		const byte = view.getUint8(offset)
		if (byte < SPACE && byte !== CR && byte !== TAB) return false
	}
	return true
}

/** A key exchange whose lengths agree and whose first name-list is one: the last that is sent in the clear. */
function probeKexInit(view: DataView, at: number, end: number): Probe {
	if (end - at < 6) return view.getUint8(at) === 0 ? 'more' : 'no'
	const packetBytes = view.getUint32(at)
	const paddingBytes = view.getUint8(at + 4)
	if (packetBytes > PACKET_BYTES_MAX || view.getUint8(at + 5) !== SSH_MSG_KEXINIT) return 'no'
	if (paddingBytes < PADDING_BYTES_MIN || packetBytes < KEXINIT_HEADER_BYTES + paddingBytes) {
		return 'no'
	}
	if (end - at < KEXINIT_HEADER_BYTES) return 'more'
	const listBytes = view.getUint32(at + KEXINIT_HEADER_BYTES - 4)
	const listAt = at + KEXINIT_HEADER_BYTES
	if (listBytes === 0 || listBytes > packetBytes - paddingBytes - KEXINIT_HEADER_BYTES) return 'no'
	const listEnd = Math.min(end, listAt + listBytes)
	if (!isNameList(view, listAt, listEnd)) return 'no'
	return listEnd === listAt + listBytes ? 'match' : 'more'
}

/** Names are printable, without spaces (RFC 4251 §6), with a comma between them (§5). */
function isNameList(view: DataView, at: number, end: number): boolean {
	for (let offset = at; offset < end; offset++) {
		const byte = view.getUint8(offset)
		if (!isPrintable(byte) || byte === SPACE) return false
	}
	return true
}

function parse(segment: Readonly<Segment>, state: State): ParseResult {
	const { view, at, end, fromClient } = segment
	const lineEnd = findByte(view, at, Math.min(end, at + BANNER_BYTES_MAX), LF)
	if (lineEnd === -1) {
		if (end - at >= BANNER_BYTES_MAX) return { kind: 'malformed', why: 'identification too long' }
		return MORE
	}
	const isBanner = startsWith(view, at, lineEnd, 'SSH-') === 'match'
	if (!isBanner) return passLine(segment, lineEnd)
	readBanner(segment, lineEnd, state)
	if (fromClient) state.hasClientBanner = true
	else state.hasServerBanner = true
	if (state.hasClientBanner && state.hasServerBanner) return DONE
	return { kind: 'message', consumedBytes: REST_OF_DIRECTION }
}

/** Only a server may send lines before its identification. */
function passLine({ view, at, fromClient }: Readonly<Segment>, lineEnd: number): ParseResult {
	if (fromClient || !isText(view, at, lineEnd)) {
		return { kind: 'malformed', why: 'no identification' }
	}
	return { kind: 'message', consumedBytes: lineEnd + 1 - at }
}

/** The server's version is what both agree on or the session ends; its software is what an operator asks for. */
function readBanner(
	{ view, at, fromClient }: Readonly<Segment>,
	lineEnd: number,
	state: State,
): void {
	const versionEnd = findByte(view, at + 4, lineEnd, HYPHEN)
	if (versionEnd === -1) return
	const softwareAt = versionEnd + 1
	const limit = lineEnd > softwareAt && view.getUint8(lineEnd - 1) === CR ? lineEnd - 1 : lineEnd
	const spaceAt = findByte(view, softwareAt, limit, SPACE)
	const softwareEnd = spaceAt === -1 ? limit : spaceAt
	if (fromClient && state.hasServerBanner) return
	if (!isText(view, at, softwareEnd)) return
	state.facts.version = readPrintable(view, at, versionEnd)
	state.facts.detail = readPrintable(view, softwareAt, softwareEnd)
}
