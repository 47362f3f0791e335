import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type GuardedStream, guardStream } from './guarded-stream.ts'
import { endAll, eventually, openSocket } from './test-clients.ts'

let server: Server
let guard: GuardedStream
const cuts: string[] = []

beforeEach(async () => {
	vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
	cuts.length = 0
	server = createServer((socket) => {
		const onCut = (why: string) => cuts.push(why)
		guard = guardStream(socket, { packetBytesMax: 1000, queueBytesMax: 1024 * 1024, onCut })
		guard.stream.on('error', () => undefined)
	})
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})

afterEach(() => {
	vi.useRealTimers()
	endAll()
	server.close()
})

describe('guarded stream', () => {
	it('gives a stranger ten seconds, and one who is known all the time', async () => {
		const [first] = await open()
		vi.advanceTimersByTime(10_000)
		await closed(first)
		expect(cuts).toEqual(['connect-timeout'])
		const [, known] = await open()
		known.welcome()
		vi.advanceTimersByTime(60_000)
		expect(known.stream.destroyed).toBe(false)
	})

	it('carries bytes both ways, whole and in order', async () => {
		const [socket, { stream, welcome }] = await open()
		welcome()
		const sent = Buffer.alloc(300_000, 'abcdefg')
		const got: Buffer[] = []
		socket.on('data', (chunk: Buffer) => got.push(chunk))
		for (let at = 0; at < sent.length; at += 70_000) stream.write(sent.subarray(at, at + 70_000))
		stream.end()
		await closed(socket)
		expect(Buffer.concat(got).equals(sent)).toBe(true)
	})

	it('cuts a reader that takes nothing for half a minute', async () => {
		const [socket, { stream, welcome }] = await open()
		welcome()
		socket.pause()
		// More than the kernel's buffers take.
		stream.write(Buffer.alloc(32 * 1024 * 1024))
		await new Promise(setImmediate)
		vi.advanceTimersByTime(30_000)
		expect(cuts).toEqual(['slow-reader'])
	})

	it('stops reading while nobody takes what was read', async () => {
		const [socket, { stream, welcome }] = await open()
		welcome()
		socket.write(Buffer.concat(Array.from({ length: 300_000 }, () => Buffer.from([0x10, 2, 0, 0]))))
		await eventually(() => expect(stream.readableLength).toBeGreaterThan(0))
		for (let i = 0; i < 50; i++) await new Promise(setImmediate)
		expect(stream.readableLength).toBeLessThan(256 * 1024)
	})
})

async function open(): Promise<[Socket, GuardedStream]> {
	const accepted = new Promise((resolve) => server.once('connection', resolve))
	const socket = await openSocket((server.address() as AddressInfo).port)
	await accepted
	return [socket, guard]
}

function closed(socket: Socket): Promise<unknown> {
	socket.resume()
	return socket.destroyed
		? Promise.resolve()
		: new Promise((resolve) => socket.once('close', resolve))
}
