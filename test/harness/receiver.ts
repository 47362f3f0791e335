import { once } from 'node:events'
import { createServer } from 'node:http'

export interface Delivery {
	readonly headers: Record<string, string>
	readonly body: string
	readonly at: number
}

export interface Receiver {
	readonly url: string
	readonly deliveries: readonly Delivery[]
	close(): Promise<void>
}

/** A webhook's other end: takes every POST and answers 204. */
export async function startReceiver(): Promise<Receiver> {
	const deliveries: Delivery[] = []
	const server = createServer((request, response) => {
		let body = ''
		request.setEncoding('utf8')
		request.on('data', (text) => {
			body += text
		})
		request.on('end', () => {
			const headers = Object.fromEntries(
				Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
			)
			deliveries.push({ headers, body, at: Date.now() })
			response.writeHead(204).end()
		})
	})
	server.listen(0, '127.0.0.1')
	await once(server, 'listening')
	const address = server.address()
	const port = typeof address === 'object' && address ? address.port : 0
	return {
		url: `http://127.0.0.1:${port}/hook`,
		deliveries,
		async close() {
			server.closeAllConnections()
			server.close()
			await once(server, 'close')
		},
	}
}
