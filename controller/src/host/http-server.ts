import type { IncomingMessage, Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import type { App } from '../app.ts'
import { type Endpoint, reachable } from './options.ts'
import { bindError } from './start-error.ts'

/** A client has this long for its headers, and for a whole request. Answers may take as long as they want: event streams. */
const HEADERS_MS = 10_000
const REQUEST_MS = 30_000
const CONNECTIONS_MAX = 4096
/** At the end, requests under way get this long; event streams end with it. */
const DRAIN_MS = 500

export interface HttpServer {
	readonly port: number
	close(): Promise<void>
}

/** Serves the application over HTTP/1.1. */
export async function startHttpServer(app: App, listen: Endpoint): Promise<HttpServer> {
	const server = createAdaptorServer({ fetch: app.fetch }) as Server
	server.headersTimeout = HEADERS_MS
	server.requestTimeout = REQUEST_MS
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

async function close(server: Server): Promise<void> {
	const closed = new Promise<void>((resolve) => server.close(() => resolve()))
	const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
	await closed
	clearTimeout(timer)
}
