import { createServer, type IncomingMessage, type Server } from 'node:http'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { App } from '../app.ts'
import { ProblemError, problemOf } from '../http/problem.ts'
import { refuseUnreadable } from './http-refusals.ts'
import { type Endpoint, reachable } from './options.ts'
import { bindError } from './start-error.ts'

/** A client has this long for its headers, and for a whole request. Answers may take as long as they want: event streams. */
const HEADERS_MS = 10_000
const REQUEST_MS = 30_000
/** How often that is looked at. */
const TIMEOUT_CHECK_MS = 2000
const CONNECTIONS_MAX = 4096
/** At the end, requests under way get this long; event streams end with it. */
const DRAIN_MS = 500

export interface HttpServer {
	readonly port: number
	close(): Promise<void>
}

/** Serves the application over HTTP/1.1. */
export async function startHttpServer(app: App, listen: Endpoint): Promise<HttpServer> {
	const answer = getRequestListener(
		// Some hosts pass the adapter's quick look and make no URL all the same: `_127.0.0.1`.
		(request, env) =>
			URL.canParse(request.url)
				? app.fetch(request, env)
				: answerUnusable(new RequestError('Invalid host header')),
		{ errorHandler: answerUnusable },
	)
	const server = createServer({
		connectionsCheckingInterval: TIMEOUT_CHECK_MS,
		headersTimeout: HEADERS_MS,
		requestTimeout: REQUEST_MS,
		// Refused all the same, with a reason.
		requireHostHeader: false,
	})
	server.on('request', answer)
	// An expectation that nobody knows may be ignored (RFC 9110 §10.1.1).
	server.on('checkExpectation', answer)
	refuseUnreadable(server)
	server.maxConnections = CONNECTIONS_MAX
	await new Promise<void>((resolve, reject) => {
		server.once('error', (error) => reject(bindError('HTTP', reachable(listen), error)))
		server.listen(listen.port, listen.host, () => resolve())
	})
	const address = server.address()
	return {
		port: typeof address === 'object' && address !== null ? address.port : listen.port,
		close: () => close(server),
	}
}

/** Who sends a request. */
export function clientAddress(_request: Request, env: unknown): string | undefined {
	const incoming = (env as { readonly incoming?: IncomingMessage } | undefined)?.incoming
	return incoming?.socket.remoteAddress
}

/** For what HTTP carries and the application cannot be asked: a target or a host that makes no URL. */
function answerUnusable(error: unknown): Response {
	const problem = problemOf(
		error instanceof RequestError
			? new ProblemError(400, 'unreadable', error.message.slice(0, 200))
			: new ProblemError(500, 'internal', 'The request could not be handed on.'),
	)
	return new Response(JSON.stringify(problem), {
		status: problem.status,
		headers: { 'content-type': 'application/problem+json', 'x-content-type-options': 'nosniff' },
	})
}

async function close(server: Server): Promise<void> {
	const closed = new Promise<void>((resolve) => server.close(() => resolve()))
	const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
	await closed
	clearTimeout(timer)
}
