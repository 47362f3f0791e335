import { type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { ProblemError, problemOf } from '../http/problem.ts'

/** What Node's parser and its timers say, by the code of the error; all else is 400. */
const REFUSALS: Readonly<Record<string, readonly [ProblemError['status'], string, string]>> = {
	HPE_HEADER_OVERFLOW: [431, 'headers-too-large', 'The headers have too many bytes.'],
	HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'too-large', 'Chunk extensions have too many bytes.'],
	ERR_HTTP_REQUEST_TIMEOUT: [408, 'too-slow', 'The request was not complete in time.'],
}

/** Answers what never becomes a request, in the words of every other refusal, and ends the connection. */
export function refuseUnreadable(server: Server): void {
	/** The answer under way on a connection. */
	const answers = new WeakMap<Duplex, ServerResponse>()
	server.on('request', (_request, response) => {
		if (response.socket) answers.set(response.socket, response)
	})
	server.on('clientError', (error: Error & { readonly code?: string }, socket) => {
		const answer = answers.get(socket)
		const isInTheMiddle = answer?.headersSent === true && !answer.writableFinished
		if (!socket.writable || isInTheMiddle) socket.destroy()
		else end(socket, refusalOf(error.code))
	})
	// Without a listener Node drops the connection and says nothing.
	server.on('connect', (_request, socket) => {
		end(socket, new ProblemError(405, 'not-possible', 'This is no proxy.'))
	})
}

function refusalOf(code = ''): ProblemError {
	const [status, problem, detail] = REFUSALS[code] ?? [400, 'unreadable', 'This is not HTTP/1.1.']
	return new ProblemError(status, problem, detail)
}

function end(socket: Duplex, refusal: ProblemError): void {
	const body = JSON.stringify(problemOf(refusal))
	const head = [
		`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}`,
		'content-type: application/problem+json',
		'x-content-type-options: nosniff',
		`content-length: ${Buffer.byteLength(body)}`,
		'connection: close',
	]
	socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}
