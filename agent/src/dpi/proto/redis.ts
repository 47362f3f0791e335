import {
	CR,
	equalsIgnoringCase,
	findByte,
	isDigit,
	isLetter,
	isPrintableText,
	LF,
	readText,
	SPACE,
	toUpper,
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
 * Redis serialization protocol (RESP2 and RESP3, https://redis.io/docs/latest/develop/reference/protocol-spec/):
 *   request  "*" count CRLF, then count times "$" length CRLF bytes CRLF; or one line of words (inline)
 *   reply    one type byte, then a line: + - : $ * _ # , ( ! = % ~ > |
 * Read as far as the first command; its arguments may be secrets and are not.
 */

/** Digits of a count or a length: 512 MB is the longest string. */
const NUMBER_DIGITS_MAX = 9
const COMMAND_BYTES_MAX = 40
/** Longest line of a simple reply that is looked at. */
const LINE_BYTES_MAX = 1024

const ASTERISK = 0x2a
const DOLLAR = 0x24
const MINUS = 0x2d

/** Words that stand first in a request of Redis 7 (https://redis.io/docs/latest/commands/). */
const COMMANDS = (
	'ACL APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP ' +
	'BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT CLUSTER COMMAND CONFIG COPY DBSIZE DEBUG DECR DECRBY DEL ' +
	'DISCARD DUMP ECHO EVAL EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL ' +
	'FCALL_RO FLUSHALL FLUSHDB FUNCTION GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER ' +
	'GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL ' +
	'HELLO HEXISTS HEXPIRE HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPTTL ' +
	'HRANDFIELD HSCAN HSET HSETNX HSTRLEN HTTL HVALS INCR INCRBY INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS ' +
	'LINDEX LINSERT LLEN LMOVE LMPOP LOLWUT LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM MEMORY MGET MIGRATE ' +
	'MODULE MONITOR MOVE MSET MSETNX MULTI OBJECT PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFDEBUG ' +
	'PFMERGE PFSELFTEST PING PSETEX PSUBSCRIBE PSYNC PTTL PUBLISH PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY ' +
	'READWRITE RENAME RENAMENX REPLCONF REPLICAOF RESET RESTORE RESTORE-ASKING ROLE RPOP RPOPLPUSH RPUSH RPUSHX ' +
	'SADD SAVE SCAN SCARD SCRIPT SDIFF SDIFFSTORE SELECT SENTINEL SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER ' +
	'SINTERCARD SINTERSTORE SISMEMBER SLAVEOF SLOWLOG SMEMBERS SMISMEMBER SMOVE SORT SORT_RO SPOP SPUBLISH ' +
	'SRANDMEMBER SREM SSCAN SSUBSCRIBE STRLEN SUBSCRIBE SUBSTR SUNION SUNIONSTORE SUNSUBSCRIBE SWAPDB SYNC TIME ' +
	'TOUCH TTL TYPE UNLINK UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO ' +
	'XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID XTRIM ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ' +
	'ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ' +
	'ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ' +
	'ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE'
).split(' ')

/** What a server sends unasked to a subscriber: the first word of an array (https://redis.io/docs/latest/develop/interact/pubsub/). */
const PUSHES = ['MESSAGE', 'PMESSAGE', 'SMESSAGE', 'INVALIDATE']

/** Commands by length, so that a look-up compares few and makes no string. */
const COMMANDS_BY_LENGTH = byLength(COMMANDS)
const PUSHES_BY_LENGTH = byLength(PUSHES)

/** How good the evidence of one direction is: `weak` wants the other direction to agree. */
type Evidence = 'strong' | 'weak' | 'more' | 'no'

interface State {
	readonly facts: Facts
}

/** Redis and what speaks its protocol: Valkey, KeyDB, Sentinel. */
export const REDIS: Parser<State> = {
	name: 'redis',
	transports: ['tcp'],
	ports: [6379, 16379, 26379],
	probe: ({ client, server, isMidstream }) =>
		isMidstream ? probeMidstream(client, server) : probeStart(client, server),
	open: (facts) => ({ facts }),
	parse,
}

/** A client speaks first: POP3 and IMAP, whose greetings look like replies, fall out here. */
function probeStart(client: Readonly<Span>, server: Readonly<Span>): Probe {
	if (client.at === client.end) return server.at === server.end ? 'more' : 'no'
	const request = weighRequest(client)
	const reply = probeReply(server)
	if (request === 'no' || reply === 'no') return 'no'
	if (request === 'strong') return 'match'
	return request === 'weak' ? reply : 'more'
}

/** Only arrays tell there: a line such as `QUIT` with its `+OK` may as well be POP3. */
function probeMidstream(client: Readonly<Span>, server: Readonly<Span>): Probe {
	const one = weighMidstream(client)
	const other = weighMidstream(server)
	if (one === 'strong' || other === 'strong') return 'match'
	if (one === 'weak' && probeReply(server) === 'match' && server.at < server.end) return 'match'
	if (other === 'weak' && probeReply(client) === 'match' && client.at < client.end) return 'match'
	return one === 'no' && other === 'no' ? 'no' : 'more'
}

function weighMidstream({ view, at, end }: Readonly<Span>): Evidence {
	if (at === end || view.getUint8(at) !== ASTERISK) return 'no'
	return weighArray(view, at, end)
}

function weighRequest({ view, at, end }: Readonly<Span>): Evidence {
	return view.getUint8(at) === ASTERISK ? weighArray(view, at, end) : weighInline(view, at, end)
}

/** `*2 $3 GET $1 k`: the first element is enough when it is a command. */
function weighArray(view: DataView, at: number, end: number): Evidence {
	const countEnd = findNumberEnd(view, at + 1, end)
	if (countEnd < 0) return countEnd === CUT ? 'more' : 'no'
	if (readNumber(view, at + 1, countEnd) === 0) return 'no'
	const lengthAt = countEnd + 2
	if (lengthAt >= end) return 'more'
	if (view.getUint8(lengthAt) !== DOLLAR) return 'no'
	const lengthEnd = findNumberEnd(view, lengthAt + 1, end)
	if (lengthEnd < 0) return lengthEnd === CUT ? 'more' : 'no'
	const wordBytes = readNumber(view, lengthAt + 1, lengthEnd)
	if (wordBytes === 0 || wordBytes > COMMAND_BYTES_MAX) return 'no'
	return weighWord(view, lengthEnd + 2, end, wordBytes)
}

function weighWord(view: DataView, at: number, end: number, wordBytes: number): Evidence {
	const wordEnd = at + wordBytes
	for (let offset = at; offset < Math.min(end, wordEnd); offset++) {
		if (!isWordByte(view.getUint8(offset))) return 'no'
	}
	if (wordEnd + 2 > end) return 'more'
	if (view.getUint8(wordEnd) !== CR || view.getUint8(wordEnd + 1) !== LF) return 'no'
	const isKnown =
		isOneOf(COMMANDS_BY_LENGTH, view, at, wordEnd) || isOneOf(PUSHES_BY_LENGTH, view, at, wordEnd)
	return isKnown ? 'strong' : 'weak'
}

/** `GET k`: one line of words, the first of them a command. */
function weighInline(view: DataView, at: number, end: number): Evidence {
	const limit = Math.min(end, at + COMMAND_BYTES_MAX + 1)
	let wordEnd = at
	while (wordEnd < limit && isWordByte(view.getUint8(wordEnd))) wordEnd++
	if (wordEnd === end) return wordEnd - at > COMMAND_BYTES_MAX ? 'no' : 'more'
	if (!isOneOf(COMMANDS_BY_LENGTH, view, at, wordEnd)) return 'no'
	const lineEnd = findByte(view, wordEnd, end, LF)
	if (!isPrintableText(view, wordEnd, trimLine(view, wordEnd, lineEnd === -1 ? end : lineEnd))) {
		return 'no'
	}
	return lineEnd === -1 ? 'more' : 'weak'
}

/** The first line of a reply; an empty direction may still bring one. */
function probeReply({ view, at, end }: Readonly<Span>): Probe {
	if (at === end) return 'more'
	const lineEnd = findByte(view, at, Math.min(end, at + LINE_BYTES_MAX), LF)
	const limit = lineEnd === -1 ? Math.min(end, at + LINE_BYTES_MAX) : lineEnd
	if (!isReplyLine(view, at, limit, lineEnd !== -1)) return 'no'
	if (lineEnd !== -1) return view.getUint8(lineEnd - 1) === CR ? 'match' : 'no'
	return end - at >= LINE_BYTES_MAX ? 'no' : 'more'
}

/** Whether the bytes after the type byte are what that type has in its line. */
function isReplyLine(view: DataView, at: number, end: number, isWhole: boolean): boolean {
	const bodyEnd = trimLine(view, at + 1, end)
	switch (String.fromCharCode(view.getUint8(at))) {
		case '+':
		case '(':
		case ',':
			return isPrintableText(view, at + 1, bodyEnd)
		case '-':
			return isErrorText(view, at + 1, bodyEnd)
		case '#':
		case '_':
			return bodyEnd - at <= 2
		case ':':
		case '$':
		case '*':
		case '%':
		case '~':
		case '>':
		case '|':
		case '!':
		case '=':
			return isInteger(view, at + 1, bodyEnd, isWhole)
		default:
			return false
	}
}

/** `ERR unknown command`: an error begins with a word in upper case. */
function isErrorText(view: DataView, at: number, end: number): boolean {
	if (at < end && !isUpper(view.getUint8(at))) return false
	return isPrintableText(view, at, end)
}

function isInteger(view: DataView, at: number, end: number, isWhole: boolean): boolean {
	const digitsAt = at < end && view.getUint8(at) === MINUS ? at + 1 : at
	for (let offset = digitsAt; offset < end; offset++) {
		if (!isDigit(view.getUint8(offset))) return false
	}
	return !isWhole || digitsAt < end
}

/** End of the line without the CR before `end`. */
function trimLine(view: DataView, at: number, end: number): number {
	return end > at && view.getUint8(end - 1) === CR ? end - 1 : end
}

/** What `findNumberEnd` answers when there is no number. */
const CUT = -1
const WRONG = -2

/** Offset of the CR LF after one or more digits; `CUT` when the bytes end before it, `WRONG` when there is none. */
function findNumberEnd(view: DataView, at: number, end: number): number {
	let offset = at
	while (offset < end && offset - at <= NUMBER_DIGITS_MAX && isDigit(view.getUint8(offset)))
		offset++
	if (offset - at > NUMBER_DIGITS_MAX) return WRONG
	if (offset === end) return CUT
	if (offset === at || view.getUint8(offset) !== CR) return WRONG
	if (offset + 1 === end) return CUT
	return view.getUint8(offset + 1) === LF ? offset : WRONG
}

function readNumber(view: DataView, at: number, end: number): number {
	let value = 0
	for (let offset = at; offset < end; offset++) value = value * 10 + view.getUint8(offset) - 0x30
	return value
}

/** Commands of modules have a dot: `JSON.GET`. */
function isWordByte(byte: number): boolean {
	return isLetter(byte) || isDigit(byte) || byte === 0x2d || byte === 0x2e || byte === 0x5f
}

function isUpper(byte: number): boolean {
	return isLetter(byte) && toUpper(byte) === byte
}

function isOneOf(
	words: readonly (readonly string[])[],
	view: DataView,
	at: number,
	end: number,
): boolean {
	const first = toUpper(view.getUint8(at))
	const sameLength = words[end - at]
	if (sameLength === undefined) return false
	for (const word of sameLength) {
		if (word.charCodeAt(0) === first && equalsIgnoringCase(view, at, end, word)) return true
	}
	return false
}

function byLength(words: readonly string[]): readonly (readonly string[])[] {
	const table: string[][] = Array.from({ length: COMMAND_BYTES_MAX + 1 }, () => [])
	for (const word of words) table[word.length]?.push(word)
	return table
}

function parse(segment: Readonly<Segment>, state: State): ParseResult {
	if (!segment.fromClient) return { kind: 'message', consumedBytes: REST_OF_DIRECTION }
	const { view, at, end } = segment
	return view.getUint8(at) === ASTERISK
		? parseArray(view, at, end, state.facts)
		: parseInline(view, at, end, state.facts)
}

function parseArray(view: DataView, at: number, end: number, facts: Facts): ParseResult {
	const countEnd = findNumberEnd(view, at + 1, end)
	if (countEnd < 0) return moreOr(countEnd, 'array count')
	const count = readNumber(view, at + 1, countEnd)
	if (count === 0) return { kind: 'message', consumedBytes: countEnd + 2 - at }
	const lengthAt = countEnd + 2
	if (lengthAt >= end) return MORE
	if (view.getUint8(lengthAt) !== DOLLAR) return { kind: 'malformed', why: 'element is no string' }
	const lengthEnd = findNumberEnd(view, lengthAt + 1, end)
	if (lengthEnd < 0) return moreOr(lengthEnd, 'string length')
	const wordAt = lengthEnd + 2
	const wordEnd = wordAt + readNumber(view, lengthAt + 1, lengthEnd)
	if (wordEnd - wordAt > COMMAND_BYTES_MAX) return { kind: 'malformed', why: 'command too long' }
	if (wordEnd > end) return MORE
	if (!isWord(view, wordAt, wordEnd)) return { kind: 'malformed', why: 'command is no word' }
	facts.detail = readText(view, wordAt, wordEnd).toUpperCase()
	return DONE
}

function moreOr(numberEnd: number, why: string): ParseResult {
	return numberEnd === CUT ? MORE : { kind: 'malformed', why }
}

function isWord(view: DataView, at: number, end: number): boolean {
	for (let offset = at; offset < end; offset++) {
		if (!isWordByte(view.getUint8(offset))) return false
	}
	return at < end
}

function parseInline(view: DataView, at: number, end: number, facts: Facts): ParseResult {
	const lineEnd = findByte(view, at, end, LF)
	if (lineEnd === -1) return MORE
	const textEnd = trimLine(view, at, lineEnd)
	if (textEnd === at) return { kind: 'message', consumedBytes: lineEnd + 1 - at }
	const spaceAt = findByte(view, at, textEnd, SPACE)
	const wordEnd = spaceAt === -1 ? textEnd : spaceAt
	if (wordEnd - at > COMMAND_BYTES_MAX || !isWord(view, at, wordEnd)) {
		return { kind: 'malformed', why: 'inline command is no word' }
	}
	facts.detail = readText(view, at, wordEnd).toUpperCase()
	return DONE
}
