import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { createPacketMeter } from './packet-meter.ts'

/** CONNECT with id, name, password and a will fits easily. */
const STRANGER_PACKET_BYTES_MAX = 8 * 1024
/** From the first byte of TCP to accepted credentials. */
const STRANGER_MS = 10_000
/** Bytes are handed to the kernel in pieces of this size, and each piece must be taken within `STALLED_MS`. */
const PIECE_BYTES = 64 * 1024
const STALLED_MS = 30_000
/** What is left to send at the end gets this long. */
const FLUSH_MS = 1000

export interface GuardOptions {
	readonly packetBytesMax: number
	/** What may wait for a slow reader; up to there a write never blocks the writer. */
	readonly queueBytesMax: number
	/** Told once, before the stream is destroyed. */
	readonly onCut: (why: string) => void
}

export interface GuardedStream {
	readonly stream: Duplex
	/** The peer has shown good credentials: larger packets, no more hurry. */
	welcome(): void
	cut(why: string): void
}

type Done = (error?: Error | null) => void

/**
 * A socket behind limits that an MQTT parser doesn't have: packet size, time to authenticate, bytes that wait for a slow
 * reader and the time they may wait.
 */
export function guardStream(socket: Socket, options: GuardOptions): GuardedStream {
	let isKnown = false
	const meter = createPacketMeter(() =>
		isKnown ? options.packetBytesMax : STRANGER_PACKET_BYTES_MAX,
	)
	const strangerTimer = setTimeout(() => cut('connect-timeout'), STRANGER_MS)
	const writer = createPieceWriter(socket, () => cut('slow-reader'))
	const stream = new Duplex({
		writableHighWaterMark: options.queueBytesMax,
		read: () => void socket.resume(),
		write: (chunk: Buffer, _encoding, done) => writer.write(chunk, done),
		writev: (chunks, done) =>
			writer.write(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)), done),
		final: (done) => void socket.end(done),
		destroy(error, done) {
			clearTimeout(strangerTimer)
			writer.stop()
			if (error) socket.destroy()
			else destroyFlushed(socket)
			done(error)
		},
	})

	function cut(why: string): void {
		if (stream.destroyed) return
		options.onCut(why)
		socket.destroy()
		stream.destroy(new Error(why))
	}

	socket.on('data', (chunk: Buffer) => {
		const why = meter.measure(chunk)
		if (why !== undefined) cut(why)
		else if (!stream.push(chunk)) socket.pause()
	})
	socket.on('end', () => stream.push(null))
	socket.on('error', (error) => stream.destroy(error))
	socket.on('close', () => stream.destroy())
	return {
		stream,
		welcome() {
			isKnown = true
			clearTimeout(strangerTimer)
		},
		cut,
	}
}

/** Hands bytes over piece by piece, so that a slow reader who makes progress is told from one who stopped. */
function createPieceWriter(socket: Socket, onStalled: () => void) {
	let timer: NodeJS.Timeout | undefined
	function write(bytes: Buffer, done: Done): void {
		const piece = bytes.subarray(0, PIECE_BYTES)
		const rest = bytes.subarray(PIECE_BYTES)
		timer = setTimeout(onStalled, STALLED_MS)
		socket.write(piece, (error) => {
			clearTimeout(timer)
			if (error || rest.length === 0) done(error)
			else write(rest, done)
		})
	}
	return { write, stop: () => clearTimeout(timer) }
}

/** Lets a refusal reach the peer, if it reads at all. */
function destroyFlushed(socket: Socket): void {
	socket.destroySoon()
	setTimeout(() => socket.destroy(), FLUSH_MS).unref()
}
