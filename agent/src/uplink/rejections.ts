import { type Counters, type RejectReason, rejectCounter } from './counters.ts'
import type { Log } from './log.ts'

/** A kind of rejection is written to the log at most once in this time, with the number of those left out. */
const LOG_EVERY_MS = 10_000

/** Counts every message that is not taken, and tells people about some of them. */
export class Rejections {
	readonly #counters: Counters
	readonly #log: Log
	readonly #loggedAt = new Map<RejectReason, number>()
	readonly #leftOut = new Map<RejectReason, number>()

	constructor(counters: Counters, log: Log) {
		this.#counters = counters
		this.#log = log
	}

	/** @param why may quote the sender: bounded here, and never trusted as terminal text by the log */
	add(reason: RejectReason, topic: string, why: string): void {
		this.#counters.add('messagesRejected')
		this.#counters.add(rejectCounter(reason))
		const now = Date.now()
		const loggedAt = this.#loggedAt.get(reason)
		const leftOut = this.#leftOut.get(reason) ?? 0
		if (loggedAt !== undefined && now - loggedAt < LOG_EVERY_MS) {
			this.#leftOut.set(reason, leftOut + 1)
			return
		}
		this.#loggedAt.set(reason, now)
		this.#leftOut.set(reason, 0)
		const fields = { reason, topic: topic.slice(0, 200), why: why.slice(0, 300), leftOut }
		this.#log('warn', 'message from the broker refused', fields)
	}

	/** For what `decodeMessage` refused: another version is told from damage. */
	addUndecoded(topic: string, why: string): void {
		this.add(reasonOf(why), topic, why)
	}
}

function reasonOf(why: string): RejectReason {
	if (why.includes('contract version')) return 'version'
	return why === 'message too large' ? 'tooLarge' : 'malformed'
}
