/** Messages sent and not yet acknowledged: below the 20 that Mosquitto lets be in flight. */
const WINDOW = 16
/** From the call to the acknowledgement, over reconnections. */
const DEADLINE_MS = 30_000
/** What may wait while the broker is away or slow. */
const MESSAGES_MAX = 65_536
const BYTES_MAX = 256 * 1024 * 1024
/** A message during which the connection broke this often may be the reason for it. */
const ATTEMPTS_MAX = 4

/** The broker did not take a message. */
export class PublishError extends Error {
	readonly code: 'timeout' | 'full' | 'refused' | 'too-large' | 'stopped'

	constructor(code: PublishError['code'], message: string, options?: ErrorOptions) {
		super(message, options)
		this.code = code
	}
}

export interface OutgoingMessage {
	readonly topic: string
	readonly payload: Uint8Array
	readonly isRetained: boolean
}

/**
 * Sends one message over a connection: `taken` when the broker has it, `ended` when the connection ended before it said so.
 * Rejects when the broker refuses.
 */
export type Send = (message: OutgoingMessage) => Promise<'taken' | 'ended'>

interface Item extends OutgoingMessage {
	readonly resolve: () => void
	readonly reject: (error: PublishError) => void
	timer?: NodeJS.Timeout
	attempts: number
}

export interface Outgoing {
	push(message: OutgoingMessage): Promise<void>
	/** A connection is there: send what waits. */
	attach(send: Send): void
	/** It is gone: what it has not acknowledged goes first over the next one. */
	detach(): void
	/** Rejects all that waits and all that comes. */
	stop(): void
}

/**
 * Messages on their way to the broker, in order, over connections that come and go. Sent again when a connection breaks
 * before the acknowledgement: receivers see at-least-once.
 * @param onStalled the connection has kept a message unacknowledged for too long and should be replaced
 */
export function createOutgoing(onStalled: () => void): Outgoing {
	let waiting = new Set<Item>()
	const sent = new Set<Item>()
	let send: Send | undefined
	let bytes = 0
	let isStopped = false

	function settle(item: Item, error?: PublishError): void {
		clearTimeout(item.timer)
		if (!waiting.delete(item) && !sent.delete(item)) return
		bytes -= item.payload.length
		if (error) item.reject(error)
		else item.resolve()
	}

	function expire(item: Item): void {
		const wasSent = sent.has(item)
		settle(item, new PublishError('timeout', `the broker did not take ${item.topic} in time`))
		if (wasSent) onStalled()
	}

	function pump(): void {
		for (const item of waiting) {
			if (send === undefined || sent.size >= WINDOW) return
			waiting.delete(item)
			sent.add(item)
			item.attempts += 1
			dispatch(item, send)
		}
	}

	function dispatch(item: Item, over: Send): void {
		over(item).then(
			(outcome) => {
				// A connection that ended is followed by detach, which keeps the message for the next.
				if (outcome === 'ended' || !sent.has(item)) return
				settle(item)
				pump()
			},
			(error: unknown) => {
				if (!sent.has(item)) return
				settle(item, new PublishError('refused', `broker: ${String(error)}`, { cause: error }))
				pump()
			},
		)
	}

	return {
		push(message) {
			if (isStopped) return Promise.reject(new PublishError('stopped', 'the bus is stopped'))
			if (waiting.size + sent.size >= MESSAGES_MAX || bytes + message.payload.length > BYTES_MAX) {
				return Promise.reject(new PublishError('full', 'too many messages wait for the broker'))
			}
			return new Promise((resolve, reject) => {
				const item: Item = { ...message, resolve, reject, attempts: 0 }
				item.timer = setTimeout(() => expire(item), DEADLINE_MS)
				bytes += message.payload.length
				waiting.add(item)
				pump()
			})
		},
		attach(newSend) {
			send = newSend
			pump()
		},
		detach() {
			send = undefined
			waiting = new Set([...sent, ...waiting])
			sent.clear()
			for (const item of waiting) {
				if (item.attempts < ATTEMPTS_MAX) continue
				settle(item, new PublishError('refused', `connections broke while sending ${item.topic}`))
			}
		},
		stop() {
			isStopped = true
			send = undefined
			for (const item of [...sent, ...waiting]) {
				settle(item, new PublishError('stopped', 'the bus is stopped'))
			}
		},
	}
}
