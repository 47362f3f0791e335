import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** Most bytes of a file held at once. Longer reads do not read faster. */
const CHUNK_BYTES = 4 * 1024 * 1024

/** Longest record a reader may ask for; a packet of the formats is at most 256 KiB (`MAXIMUM_SNAPLEN` of libpcap) and its options. */
export const RECORD_BYTES_MAX = 1024 * 1024

/** Longest packet that is believed (`MAXIMUM_SNAPLEN` of libpcap). */
export const PACKET_BYTES_MAX = 256 * 1024

/** A capture file that cannot be read, or not further. What was read before it stands. */
export class CaptureFileError extends Error {
	readonly code = 'CAPTURE_FILE'
	/** Offset in the file of the record at fault. */
	readonly offsetBytes: number

	constructor(why: string, offsetBytes: number) {
		super(`${why} at byte ${offsetBytes}`)
		this.name = 'CaptureFileError'
		this.offsetBytes = offsetBytes
	}
}

/** A window that slides over a file: one buffer and one view, read in big pieces. Pipes serve too. */
export class PcapChunk {
	readonly view: DataView
	/** What is in the buffer and not used: `[at, end)`. The reader moves `at`. */
	at = 0
	end = 0
	readonly #bytes: Uint8Array
	readonly #fd: number
	/** Offset in the file of the buffer's first byte. */
	#base = 0
	#isAtEnd = false
	#isClosed = false

	constructor(path: string) {
		this.#fd = openSync(path, 'r')
		const file = fstatSync(this.#fd)
		const bytes = file.isFile() ? Math.max(file.size, RECORD_BYTES_MAX) : CHUNK_BYTES
		this.#bytes = new Uint8Array(Math.min(bytes, CHUNK_BYTES))
		this.view = new DataView(this.#bytes.buffer)
	}

	/** Offset in the file of `at`. */
	get offset(): number {
		return this.#base + this.at
	}

	/** Whether `bytes` from `at` on are there, after reading more when they were not. May move `at`. */
	has(bytes: number): boolean {
		return this.end - this.at >= bytes || this.#fill(bytes)
	}

	/** Like `has`, where the format promised the bytes. */
	need(bytes: number, what: string): void {
		if (this.has(bytes)) return
		throw new CaptureFileError(`truncated: the file ends inside ${what}`, this.offset)
	}

	/** Moves over bytes that nobody looks at, however many. */
	skip(bytes: number, what: string): void {
		let left = bytes
		while (left > 0) {
			if (this.at === this.end) this.need(1, what)
			const step = Math.min(left, this.end - this.at)
			this.at += step
			left -= step
		}
	}

	close(): void {
		if (!this.#isClosed) closeSync(this.#fd)
		this.#isClosed = true
		this.#isAtEnd = true
		this.end = this.at
	}

	#fill(bytes: number): boolean {
		if (bytes > this.#bytes.length || this.#isAtEnd) return false
		this.#bytes.copyWithin(0, this.at, this.end)
		this.#base += this.at
		this.end -= this.at
		this.at = 0
		while (this.end < bytes && !this.#isAtEnd) {
			const got = readSync(this.#fd, this.#bytes, this.end, this.#bytes.length - this.end, null)
			this.end += got
			this.#isAtEnd = got === 0
		}
		return this.end >= bytes
	}
}
