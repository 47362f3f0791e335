import {
	CR,
	equalsIgnoringCase,
	findByte,
	isDigit,
	isPrintableText,
	LF,
	readPrintable,
	readText,
	SPACE,
	startsWith,
	TAB,
} from '../ascii.ts'
import {
	DONE,
	type Facts,
	MORE,
	type ParseResult,
	type Parser,
	type Probe,
	REST_OF_DIRECTION,
	type Segment,
	type Span,
} from '../parser.ts'

/*
 * HTTP/1.x (RFC 9112 §3, §4):
 *   request-line = method SP request-target SP "HTTP/" DIGIT "." DIGIT CRLF
 *   status-line  = "HTTP/" DIGIT "." DIGIT SP 3DIGIT SP [ reason-phrase ] CRLF
 * Read as far as the Host of the first request; bodies and later requests are not.
 */

/** Longest method: registered ones have at most 17 characters (IANA HTTP Method Registry). */
const METHOD_BYTES_MAX = 24
/** "HTTP/1.1" */
const VERSION_BYTES = 8
/** "HTTP/1.1 200" */
const STATUS_BYTES = 12
/** Empty lines that may come before a request (RFC 9112 §2.2: at least one). */
const EMPTY_LINES_MAX = 4
/** Longest URI scheme that is looked for. */
const SCHEME_BYTES_MAX = 16
/** Length of a fact, in characters. */
const FACT_CHARACTERS_MAX = 255

/** How far into a loose request its version is looked for. */
const LOOSE_BYTES_MAX = 512

const LETTER_H = 0x48
const ASTERISK = 0x2a
const AT_SIGN = 0x40
const BRACKET = 0x5b
const BRACKET_END = 0x5d
const COLON = 0x3a
const NUMBER_SIGN = 0x23
const QUESTION_MARK = 0x3f
const SLASH = 0x2f

interface State {
	readonly facts: Facts
}

/** HTTP/1.0 and 1.1, WebSocket upgrades and CONNECT included; not the protocols that only look like it. */
export const HTTP: Parser<State> = {
	name: 'http',
	transports: ['tcp'],
	ports: [80, 3128, 8000, 8080, 8888],
	probe: ({ client, server, isMidstream }) =>
		isMidstream ? probeMidstream(client, server) : probeStart(client, server),
	open: (facts) => ({ facts }),
	parse,
}

function probeStart(client: Readonly<Span>, server: Readonly<Span>): Probe {
	const request = probeRequest(client)
	const response = probeStatus(server)
	if (request === 'match' && response !== 'no') return 'match'
	if (request === 'more' && response === 'match') return 'match'
	if (response === 'no') return isAnsweredInHtml(client, server) ? 'match' : 'no'
	if (request === 'more') return 'more'
	return isLooseRequest(client) ? response : 'no'
}

/**
 * A request that only a lenient server takes for one: without a version (HTTP/0.9, RFC 1945 §5),
 * or with a version but something wrong before it. The answer decides.
 */
function isLooseRequest({ view, at, end }: Readonly<Span>): boolean {
	if (startsWith(view, at, end, 'GET /') === 'match') return true
	const limit = Math.min(end, at + LOOSE_BYTES_MAX)
	let offset = findByte(view, at, limit, LETTER_H)
	while (offset !== -1) {
		if (startsWith(view, offset, end, 'HTTP/1.') === 'match') return true
		offset = findByte(view, offset + 1, limit, LETTER_H)
	}
	return false
}

/** HTTP/0.9 answers with the document itself. */
function isAnsweredInHtml(client: Readonly<Span>, server: Readonly<Span>): boolean {
	if (startsWith(client.view, client.at, client.end, 'GET /') !== 'match') return false
	const { view, at, end } = server
	return (
		(at + 5 <= end && equalsIgnoringCase(view, at, at + 5, '<HTML')) ||
		(at + 9 <= end && equalsIgnoringCase(view, at, at + 9, '<!DOCTYPE'))
	)
}

/** Who is the client is a guess there: both lines are looked for in both directions. */
function probeMidstream(client: Readonly<Span>, server: Readonly<Span>): Probe {
	const one = probeEitherLine(client)
	const other = probeEitherLine(server)
	if (one === 'match' || other === 'match') return 'match'
	return one === 'more' || other === 'more' ? 'more' : 'no'
}

function probeEitherLine(span: Readonly<Span>): Probe {
	if (span.at === span.end) return 'no'
	const status = probeStatus(span)
	return status === 'no' ? probeRequest(span) : status
}

function probeRequest({ view, at, end }: Readonly<Span>): Probe {
	const lineAt = skipEmptyLines(view, at, end)
	const methodEnd = findMethodEnd(view, lineAt, end)
	if (methodEnd - lineAt > METHOD_BYTES_MAX) return 'no'
	if (methodEnd === end) return 'more'
	if (methodEnd - lineAt < 2 || view.getUint8(methodEnd) !== SPACE) return 'no'
	const lineEnd = findByte(view, methodEnd, end, LF)
	if (lineEnd === -1) return isOneLine(view, methodEnd, end) ? 'more' : 'no'
	if (findVersion(view, methodEnd, lineEnd) === -1) return 'no'
	return isAsteriskMisused(view, lineAt, methodEnd) ? 'no' : 'match'
}

/** `HTTP/1.` digit SP 3DIGIT, then a space or the end of the line. */
function probeStatus(span: Readonly<Span>): Probe {
	const start = startsWith(span.view, span.at, span.end, 'HTTP/1.')
	if (start !== 'match') return start
	const { view, at, end } = span
	for (let index = 7; index <= STATUS_BYTES; index++) {
		if (at + index >= end) return 'more'
		if (!isStatusByte(index, view.getUint8(at + index))) return 'no'
	}
	return 'match'
}

function isStatusByte(index: number, byte: number): boolean {
	if (index === VERSION_BYTES) return byte === SPACE
	if (index === STATUS_BYTES) return byte === SPACE || byte === CR || byte === LF
	return isDigit(byte)
}

function skipEmptyLines(view: DataView, at: number, end: number): number {
	const limit = Math.min(end, at + 2 * EMPTY_LINES_MAX)
	let offset = at
	while (offset < limit && (view.getUint8(offset) === CR || view.getUint8(offset) === LF)) offset++
	return offset
}

/** A method is upper case letters, digits, `-` and `_`: what is registered or in use, not all that a token may be. */
function findMethodEnd(view: DataView, at: number, end: number): number {
	const limit = Math.min(end, at + METHOD_BYTES_MAX + 1)
	let offset = at
	while (offset < limit && isMethodByte(view.getUint8(offset))) offset++
	return offset
}

function isMethodByte(byte: number): boolean {
	return (byte >= 0x41 && byte <= 0x5a) || byte === 0x2d || byte === 0x5f || isDigit(byte)
}

/** No control byte but a tab and the CR that may come before the LF. */
function isOneLine(view: DataView, at: number, end: number): boolean {
	for (let offset = at; offset < end; offset++) {
		const byte = view.getUint8(offset)
		if (byte < SPACE && byte !== TAB && !(byte === CR && offset === end - 1)) return false
	}
	return true
}

/** Offset of `HTTP/1.x` at the end of a request line that ends at `lineEnd`; -1 if it is not there. */
function findVersion(view: DataView, at: number, lineEnd: number): number {
	let end = lineEnd
	while (end > at && isTrailing(view.getUint8(end - 1))) end--
	const versionAt = end - VERSION_BYTES
	if (versionAt <= at + 1 || !isDigit(view.getUint8(end - 1))) return -1
	if (view.getUint8(versionAt - 1) !== SPACE) return -1
	for (let index = 0; index < VERSION_BYTES - 1; index++) {
		if (view.getUint8(versionAt + index) !== 'HTTP/1.'.charCodeAt(index)) return -1
	}
	return versionAt
}

function isTrailing(byte: number): boolean {
	return byte === CR || byte === SPACE || byte === TAB
}

/** The target `*` belongs to OPTIONS alone (RFC 9112 §3.2.4): SSDP says `M-SEARCH *`, HTTP/2 says `PRI *`. */
function isAsteriskMisused(view: DataView, methodAt: number, methodEnd: number): boolean {
	if (view.getUint8(methodEnd + 1) !== ASTERISK || view.getUint8(methodEnd + 2) !== SPACE) {
		return false
	}
	return !equalsIgnoringCase(view, methodAt, methodEnd, 'OPTIONS')
}

function parse(segment: Readonly<Segment>, state: State): ParseResult {
	if (probeStatus(segment) === 'no') return parseRequest(segment, state.facts)
	if (segment.end - segment.at < VERSION_BYTES) return MORE
	state.facts.version ??= readText(segment.view, segment.at + 5, segment.at + VERSION_BYTES)
	return { kind: 'message', consumedBytes: REST_OF_DIRECTION }
}

function parseRequest({ view, at, end }: Readonly<Span>, facts: Facts): ParseResult {
	const lineAt = skipEmptyLines(view, at, end)
	const lineEnd = findByte(view, lineAt, end, LF)
	if (lineEnd === -1) return MORE
	const methodEnd = findMethodEnd(view, lineAt, lineEnd)
	const versionAt = findVersion(view, methodEnd, lineEnd)
	if (versionAt === -1) return parseSimpleRequest({ view, at: lineAt, end: lineEnd }, facts)
	if (methodEnd === lineAt) return { kind: 'malformed', why: 'method' }
	facts.version = readText(view, versionAt + 5, versionAt + VERSION_BYTES)
	const target = { view, at: methodEnd + 1, end: versionAt - 1 }
	if (view.getUint8(target.at) === SLASH) {
		setDetail(view, lineAt, target.end, facts)
		return readHost({ view, at: lineEnd + 1, end }, facts)
	}
	return parseOtherForm(target, readText(view, lineAt, methodEnd), facts)
		? DONE
		: readHost({ view, at: lineEnd + 1, end }, facts)
}

/** `GET` SP target, and no version (RFC 1945 §5). */
function parseSimpleRequest({ view, at, end }: Readonly<Span>, facts: Facts): ParseResult {
	if (startsWith(view, at, end, 'GET /') !== 'match') {
		return { kind: 'malformed', why: 'request line' }
	}
	let targetEnd = end
	while (isTrailing(view.getUint8(targetEnd - 1))) targetEnd--
	facts.version = '0.9'
	setDetail(view, at, targetEnd, facts)
	return DONE
}

/** Method, space and path as they stand in the line, as far as a query or a fragment. */
function setDetail(view: DataView, at: number, end: number, facts: Facts): void {
	const limit = Math.min(end, at + FACT_CHARACTERS_MAX)
	facts.detail = readPrintable(view, at, findPathEnd(view, at, limit)).slice(0, FACT_CHARACTERS_MAX)
}

function findPathEnd(view: DataView, at: number, end: number): number {
	for (let offset = at; offset < end; offset++) {
		const byte = view.getUint8(offset)
		if (byte === QUESTION_MARK || byte === NUMBER_SIGN) return offset
	}
	return end
}

/**
 * A target that is no path (RFC 9112 §3.2): of an authority, and of the one in a URI, user and password are left out.
 * @returns whether it told the host
 */
function parseOtherForm(target: Readonly<Span>, method: string, facts: Facts): boolean {
	const { view, at, end } = target
	const schemeEnd = findByte(view, at, Math.min(end, at + SCHEME_BYTES_MAX), COLON)
	const isUri =
		schemeEnd !== -1 && startsWith(view, schemeEnd, end, '://') === 'match' && method !== 'CONNECT'
	if (!isUri && method !== 'CONNECT') {
		const text = readPrintable(
			view,
			at,
			findPathEnd(view, at, Math.min(end, at + FACT_CHARACTERS_MAX)),
		)
		facts.detail = `${method} ${text}`.slice(0, FACT_CHARACTERS_MAX)
		return false
	}
	const authorityAt = isUri ? schemeEnd + 3 : at
	const slashAt = findByte(view, authorityAt, end, SLASH)
	const pathAt = Math.min(slashAt === -1 ? end : slashAt, findPathEnd(view, authorityAt, end))
	const host = readAuthority(view, authorityAt, pathAt)
	if (host !== undefined) facts.host = host
	const pathEnd = findPathEnd(view, pathAt, Math.min(end, pathAt + FACT_CHARACTERS_MAX))
	const path = isUri ? readPrintable(view, pathAt, pathEnd) : (host ?? '')
	facts.detail = `${method} ${path === '' ? '/' : path}`.slice(0, FACT_CHARACTERS_MAX)
	return true
}

/** Reads header lines as far as Host or the empty line at the end of the head. */
function readHost({ view, at, end }: Readonly<Span>, facts: Facts): ParseResult {
	let lineAt = at
	while (lineAt < end) {
		const lineEnd = findByte(view, lineAt, end, LF)
		if (lineEnd === -1) return MORE
		const textEnd = lineEnd > lineAt && view.getUint8(lineEnd - 1) === CR ? lineEnd - 1 : lineEnd
		if (textEnd === lineAt) return DONE
		const nameEnd = findByte(view, lineAt, textEnd, COLON)
		if (nameEnd === -1 && !isContinuation(view.getUint8(lineAt))) {
			return { kind: 'malformed', why: 'header line without a colon' }
		}
		if (equalsIgnoringCase(view, lineAt, nameEnd, 'HOST')) {
			const host = readAuthority(view, nameEnd + 1, textEnd)
			if (host !== undefined) facts.host = host
			return DONE
		}
		lineAt = lineEnd + 1
	}
	return MORE
}

/** A folded line continues the one before (RFC 9112 §5.2). */
function isContinuation(byte: number): boolean {
	return byte === SPACE || byte === TAB
}

/** The host of an authority in lower case, without user, port and brackets; undefined when it is no host name. */
function readAuthority(view: DataView, at: number, end: number): string | undefined {
	let hostAt = at
	let hostEnd = end
	while (hostAt < hostEnd && isContinuation(view.getUint8(hostAt))) hostAt++
	while (hostAt < hostEnd && isContinuation(view.getUint8(hostEnd - 1))) hostEnd--
	let userEnd = findByte(view, hostAt, hostEnd, AT_SIGN)
	while (userEnd !== -1) {
		hostAt = userEnd + 1
		userEnd = findByte(view, hostAt, hostEnd, AT_SIGN)
	}
	if (hostAt < hostEnd && view.getUint8(hostAt) === BRACKET) {
		hostAt++
		const bracketEnd = findByte(view, hostAt, hostEnd, BRACKET_END)
		if (bracketEnd !== -1) hostEnd = bracketEnd
	} else {
		const portAt = findByte(view, hostAt, hostEnd, COLON)
		if (portAt !== -1) hostEnd = portAt
	}
	if (hostAt === hostEnd || hostEnd - hostAt > FACT_CHARACTERS_MAX) return undefined
	return isVisible(view, hostAt, hostEnd)
		? readText(view, hostAt, hostEnd).toLowerCase()
		: undefined
}

function isVisible(view: DataView, at: number, end: number): boolean {
	return isPrintableText(view, at, end) && findByte(view, at, end, SPACE) === -1
}
