import { MESSAGE_BYTES_MAX } from '@ringfence/shared/contract/codec'
import type { Rejections } from './rejections.ts'

export interface IncomingMessage {
	readonly topic: string
	readonly payload: Uint8Array
	/** The broker kept it for us: it was published before we subscribed. */
	readonly isRetained: boolean
}

const MESSAGES_MAX = 256
const BYTES_MAX = 32 * 1024 * 1024

/**
 * Messages that wait to be read, taken one after the other. What does not fit is dropped and counted; nothing depends on a
 * single message: acknowledgements are repeated, shards asked for again, commands answered or not.
 */
export class Inbox {
	readonly #handle: (message: IncomingMessage) => Promise<void>
	readonly #rejections: Rejections
	#waiting: IncomingMessage[] = []
	#bytes = 0
	#isRunning = false

	constructor(handle: (message: IncomingMessage) => Promise<void>, rejections: Rejections) {
		this.#handle = handle
		this.#rejections = rejections
	}

	push(message: IncomingMessage): void {
		const { length } = message.payload
		if (length > MESSAGE_BYTES_MAX) {
			this.#rejections.add('tooLarge', message.topic, `${length} bytes`)
			return
		}
		if (this.#waiting.length >= MESSAGES_MAX || this.#bytes + length > BYTES_MAX) {
			this.#rejections.add('overflow', message.topic, `${this.#waiting.length} messages wait`)
			return
		}
		this.#waiting.push(message)
		this.#bytes += length
		if (!this.#isRunning) void this.#run()
	}

	/** Forgets what waits: it belongs to a connection that is gone. */
	clear(): void {
		this.#waiting = []
		this.#bytes = 0
	}

	async #run(): Promise<void> {
		this.#isRunning = true
		for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
			this.#bytes -= next.payload.length
			await this.#handle(next)
		}
		this.#isRunning = false
	}
}
