import { closeSync, openSync, writeSync } from 'node:fs'

export const STDOUT = 1

/** Text gathered before it is written. */
const BUFFER_CHARACTERS = 1 << 18
/** Pause before a full pipe is tried again. */
const FULL_PIPE_MS = 1

/** Writes text in big pieces, synchronously. A reader that goes away (`| head`) ends the program quietly. */
export class Output {
	readonly #fd: number
	#text = ''

	/** @param to a path, which is made or emptied, or a descriptor */
	constructor(to: string | number) {
		this.#fd = typeof to === 'number' ? to : openSync(to, 'w')
	}

	write(text: string): void {
		this.#text += text
		if (this.#text.length >= BUFFER_CHARACTERS) this.#flush()
	}

	close(): void {
		this.#flush()
		if (this.#fd !== STDOUT) closeSync(this.#fd)
	}

	#flush(): void {
		const bytes = Buffer.from(this.#text)
		this.#text = ''
		let at = 0
		while (at < bytes.length) at += writeSome(this.#fd, bytes, at)
	}
}

function writeSome(fd: number, bytes: Uint8Array, at: number): number {
	try {
		return writeSync(fd, bytes, at)
	} catch (error) {
		const code = error instanceof Error && 'code' in error ? error.code : undefined
		if (code === 'EPIPE') process.exit(0)
		if (code !== 'EAGAIN') throw error
		Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS)
		return 0
	}
}
