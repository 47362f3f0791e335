import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { Aedes } from 'aedes'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Connection } from './connection.ts'
import { Counters } from './counters.ts'
import { parseIdentity } from './identity.ts'
import { Rejections } from './rejections.ts'
import { BROKERS } from './testing/brokers.ts'
import { FakeController } from './testing/fake-controller.ts'
import { QUICK } from './testing/samples.ts'
import { until } from './testing/until.ts'

/** CONNACK, accepted, without properties (MQTT 5 §3.2). */
const CONNACK = Uint8Array.of(0x20, 3, 0, 0, 0)
/** PUBLISH with the largest remaining length there is: 256 MiB (§2.2.3). */
const PUBLISH_HUGE = Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0x7f)

let counters: Counters
let lines: string[]
let connection: Connection | undefined

beforeEach(() => {
	counters = new Counters()
	lines = []
})

afterEach(async () => {
	await connection?.stop()
})

describe('protocol version', () => {
	it.each([
		['aedes', 4],
		['mosquitto', 5],
	])('over %s is %d', async (name, version) => {
		const row = BROKERS.find((known) => known.name === name)
		if (!row) {
			expect(name).toBe('mosquitto')
			return
		}
		const broker = await row.make()
		await broker.start()
		open(broker.url)
		await until('connected', () => counters.get('isConnected') === 1)
		expect(lines.join()).toContain(`"protocolVersion":${version}`)
		expect(counters.get('connectFailures')).toBe(0)
		await connection?.stop()
		await broker.kill()
	})

	it.each([
		['hangs up on', ''],
		['answers nonsense to', 'HTTP/1.1 400 Bad Request'],
	])('falls back to 3.1.1 at a broker that %s 5, and stays with what worked', async (_, answer) => {
		const levels: number[] = []
		const broker = await Aedes.createBroker()
		const server = await listen((socket) => {
			socket.once('data', (chunk: Buffer) => {
				const level = protocolLevel(chunk)
				levels.push(level)
				if (level === 5) {
					socket.end(answer)
					return
				}
				socket.unshift(chunk)
				broker.handle(socket)
			})
		})
		open(server.url)
		await until('connected', () => counters.get('isConnected') === 1)
		expect(levels).toEqual([5, 4])
		server.dropAll()
		await until('connected again', () => counters.get('connects') === 2)
		expect(levels).toEqual([5, 4, 4])
		await connection?.stop()
		await server.close()
		await new Promise<void>((resolve) => broker.close(() => resolve()))
	})
})

it('hangs up on a packet that is larger than any message may be, and keeps no more of it', async () => {
	const chunk = Buffer.alloc(64 * 1024)
	let sentBytes = 0
	const server = await listen((socket) => {
		const pour = (): void => {
			while (socket.writable && socket.write(chunk)) sentBytes += chunk.length
		}
		socket.once('data', () => {
			socket.write(CONNACK)
			socket.write(PUBLISH_HUGE)
			pour()
		})
		socket.on('drain', pour)
	})
	open(server.url)
	await until('it is refused', () => counters.get('rejectedTooLarge') > 0)
	await until('the connection is given up', () => lines.join().includes('tried again'))
	expect(sentBytes).toBeLessThan(64 * 1024 * 1024)
	await connection?.stop()
	await server.close()
})

it('waits longer and longer for a broker that is not there, and stops at once when told', async () => {
	const server = await listen(() => undefined)
	const { url } = server
	await server.close()
	open(url)
	await until('it was tried thrice', () => counters.get('connectFailures') >= 3)
	expect(lines[0]).toContain('ECONNREFUSED')
	expect(lines.join()).not.toContain('secret')
	// The same reason again is no news.
	expect(lines.filter((line) => line.startsWith('warn'))).toHaveLength(1)
	expect(lines.filter((line) => line.startsWith('debug')).length).toBeGreaterThanOrEqual(2)
	await connection?.stop()
	const failures = counters.get('connectFailures')
	expect(connection?.publish('a', new Uint8Array())).toBe(false)
	expect(counters.get('connectFailures')).toBe(failures)
})

function open(brokerUrl: string): void {
	const log = (level: string, message: string, fields?: Record<string, unknown>): void => {
		lines.push(`${level} ${message} ${JSON.stringify(fields)}`)
	}
	connection = new Connection({
		identity: parseIdentity(new FakeController(brokerUrl).response('n1')),
		boot: 'b1',
		backoff: QUICK.reconnect,
		counters,
		rejections: new Rejections(counters, log),
		log,
		onUp: () => undefined,
		onDown: () => undefined,
		onMessage: () => undefined,
	})
	connection.start()
}

interface TestServer {
	readonly url: string
	dropAll(): void
	close(): Promise<void>
}

async function listen(onSocket: (socket: Socket) => void): Promise<TestServer> {
	const sockets = new Set<Socket>()
	const server: Server = createServer((socket) => {
		sockets.add(socket)
		socket.on('error', () => undefined)
		socket.once('close', () => sockets.delete(socket))
		onSocket(socket)
	})
	server.listen(0, '127.0.0.1')
	await once(server, 'listening')
	const address = server.address()
	if (typeof address !== 'object' || address === null) throw new Error('no port')
	const dropAll = (): void => {
		for (const socket of sockets) socket.destroy()
	}
	return {
		url: `mqtt://127.0.0.1:${address.port}`,
		dropAll,
		async close() {
			dropAll()
			server.close()
			await once(server, 'close')
		},
	}
}

/** Protocol level of a CONNECT (§3.1.2.2): behind the fixed header and the name `MQTT`. */
function protocolLevel(connect: Buffer): number {
	return connect.readUInt8(connect.indexOf('MQTT') + 4)
}
