import type { z } from 'zod'

/** Largest message after decompression. A broker's own limit on packets comes first. */
export const MESSAGE_BYTES_MAX = 4 * 1024 * 1024

/**
 * Most levels and values of a message. A packet of 4 KiB may hold four million brackets, which cost a parser 200 MiB and
 * most of a second; to count them beforehand costs 15 ms.
 */
const DEPTH_MAX = 32
const VALUES_MAX = 600_000
/** What is smaller cannot have enough of them to matter. */
const COUNT_FROM_BYTES = 64 * 1024

/** Messages above this size are compressed. */
const GZIP_FROM_BYTES = 1024

export type Decoded<Message> =
	| { readonly ok: true; readonly value: Message }
	| { readonly ok: false; readonly why: string }

/** Writes a message as JSON, gzip (RFC 1952) where that pays. */
export async function encodeMessage(message: unknown): Promise<Uint8Array> {
	const json = new TextEncoder().encode(JSON.stringify(message))
	if (json.length < GZIP_FROM_BYTES) return json
	return collect(pipe(json, new CompressionStream('gzip')), Number.POSITIVE_INFINITY)
}

/**
 * Reads and checks a message: gzip is told by its magic number, size is bounded before parsing, unknown keys are refused.
 * @returns the message, or why it is refused, in words for a log and an operator
 */
export async function decodeMessage<Schema extends z.ZodType>(
	schema: Schema,
	bytes: Uint8Array,
): Promise<Decoded<z.output<Schema>>> {
	try {
		const json = await inflate(bytes)
		if (json.length > COUNT_FROM_BYTES && !isModest(json)) {
			return { ok: false, why: 'message has too many values or levels' }
		}
		const parsed = schema.safeParse(
			parseJson(new TextDecoder('utf-8', { fatal: true }).decode(json)),
		)
		return parsed.success
			? { ok: true, value: parsed.data }
			: { ok: false, why: describeIssues(parsed.error) }
	} catch (error) {
		return { ok: false, why: error instanceof Error ? error.message.slice(0, 200) : 'unreadable' }
	}
}

/** The first problems of a failed check, each with its path: `records.3.port: too big`. */
export function describeIssues(error: z.ZodError): string {
	return error.issues
		.slice(0, 3)
		.map((issue) => `${issue.path.join('.') || 'message'}: ${issue.message}`)
		.join('; ')
		.slice(0, 500)
}

/** Bytes without their gzip wrapping, if they have one. Throws when they are damaged or larger than `MESSAGE_BYTES_MAX`. */
export async function inflate(bytes: Uint8Array): Promise<Uint8Array> {
	if (bytes.length > MESSAGE_BYTES_MAX) throw new RangeError('message too large')
	const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b
	if (!isGzip) return bytes
	return collect(pipe(bytes, new DecompressionStream('gzip')), MESSAGE_BYTES_MAX)
}

/** Whether JSON stays below `DEPTH_MAX` and `VALUES_MAX`; says nothing else about it. */
function isModest(json: Uint8Array): boolean {
	const [quote, comma] = [0x22, 0x2c]
	let depth = 0
	let values = 1
	for (let at = 0; at < json.length; at++) {
		const byte = json[at] ?? 0
		if (byte === quote) at = endOfString(json, at)
		else if (byte === comma) values++
		// `[` and `{`, `]` and `}`: they differ in one bit.
		else if ((byte & 0xdf) === 0x5b) depth++
		else if ((byte & 0xdf) === 0x5d) depth--
		if (depth > DEPTH_MAX || values > VALUES_MAX) return false
	}
	return true
}

/** @param start index of the opening quote */
function endOfString(json: Uint8Array, start: number): number {
	const [quote, backslash] = [0x22, 0x5c]
	let at = start + 1
	while (at < json.length && json[at] !== quote) at += json[at] === backslash ? 2 : 1
	return at
}

/** Databases cut text at NUL, so that two names become one; the replacement character stands for it. */
function parseJson(text: string): unknown {
	const isPlain = !text.includes('\\u0000')
	return isPlain ? JSON.parse(text) : JSON.parse(text, (_, value) => withoutNul(value))
}

function withoutNul(value: unknown): unknown {
	if (typeof value === 'string') return value.replaceAll('\0', '\ufffd')
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
	if (!Object.keys(value).some((key) => key.includes('\0'))) return value
	return Object.fromEntries(
		Object.entries(value).map(([key, its]) => [key.replaceAll('\0', '\ufffd'), its]),
	)
}

function pipe(
	bytes: Uint8Array,
	stream: CompressionStream | DecompressionStream,
): ReadableStream<Uint8Array> {
	const source = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream()
	return source.pipeThrough(stream) as ReadableStream<Uint8Array>
}

async function collect(stream: ReadableStream<Uint8Array>, bytesMax: number): Promise<Uint8Array> {
	const chunks: Uint8Array[] = []
	let bytes = 0
	const reader = stream.getReader()
	for (;;) {
		const { done, value } = await reader.read()
		if (done) break
		bytes += value.length
		if (bytes > bytesMax) {
			await reader.cancel()
			throw new RangeError('message too large')
		}
		chunks.push(value)
	}
	const whole = new Uint8Array(bytes)
	let at = 0
	for (const chunk of chunks) {
		whole.set(chunk, at)
		at += chunk.length
	}
	return whole
}
