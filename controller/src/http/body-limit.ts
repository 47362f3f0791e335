import type { MiddlewareHandler } from 'hono'
import { ProblemError } from './problem.ts'

/** What is beyond the limit is read up to here and forgotten: the client can read the refusal, and go on with the connection. */
const FORGOTTEN_BYTES_MAX = 16 * 1024 * 1024

/** Refuses bodies above `bytesMax`, whether their length is told beforehand or not; holds no more of them than that. */
export function limitBody(bytesMax: number): MiddlewareHandler {
	return async (c, next) => {
		const { body } = c.req.raw
		if (!body) return next()
		const length = c.req.header('content-length')
		const isTold = length !== undefined && c.req.header('transfer-encoding') === undefined
		if (isTold && Number(length) <= bytesMax) return next()
		const isEndless = isTold && Number(length) > FORGOTTEN_BYTES_MAX
		const bytes = isEndless ? undefined : await readAtMost(body, bytesMax)
		if (!bytes) {
			throw new ProblemError(413, 'too-large', `A body has at most ${bytesMax} bytes.`, {
				headers: isEndless ? { connection: 'close' } : {},
			})
		}
		c.req.raw = new Request(c.req.raw, { body: bytes })
		return next()
	}
}

/** The whole body; undefined when it is larger. */
async function readAtMost(
	body: ReadableStream<Uint8Array>,
	bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
	const reader = body.getReader()
	let chunks: Uint8Array[] = []
	let bytes = 0
	while (bytes <= FORGOTTEN_BYTES_MAX) {
		const { done, value } = await reader.read()
		if (done) return bytes <= bytesMax ? joined(chunks, bytes) : undefined
		bytes += value.length
		if (bytes <= bytesMax) chunks.push(value)
		else chunks = []
	}
	return undefined
}

function joined(chunks: readonly Uint8Array[], bytes: number): Uint8Array<ArrayBuffer> {
	const whole = new Uint8Array(bytes)
	let at = 0
	for (const chunk of chunks) {
		whole.set(chunk, at)
		at += chunk.length
	}
	return whole
}
