/** Messages of one sender that wait: more than four windows of telemetry. */
const MESSAGES_PER_SENDER_MAX = 64
/** Over all senders. */
const BYTES_MAX = 64 * 1024 * 1024
const SENDERS_MAX = 20_000
/** Senders whose messages are worked on at the same time. */
const PARALLEL = 4

export interface Inbox<Message extends { readonly payload: Uint8Array }> {
	/** Takes a message in at once, whatever the load; what is over the bounds is dropped, the sender's oldest first. */
	put(sender: string, message: Message): void
	/** Resolves when nothing waits and nothing is worked on. */
	idle(): Promise<void>
	/** Drops what waits and what comes; resolves when what is worked on has ended. */
	stop(): Promise<void>
}

/**
 * Queues by sender: one sender's messages are worked on one after the other in their order, those of different senders in
 * parallel, and each sender with work gets its turn.
 * @param work must not reject
 * @param onDropped counts; the sender sends again what matters
 */
export function createInbox<Message extends { readonly payload: Uint8Array }>(
	work: (sender: string, message: Message) => Promise<void>,
	onDropped: (sender: string, message: Message) => void,
): Inbox<Message> {
	const queues = new Map<string, Message[]>()
	/** Senders with messages and nobody working on them, longest waiting first. */
	const ready = new Set<string>()
	const idleWaiters: (() => void)[] = []
	let bytes = 0
	let workers = 0
	let isStopped = false

	function drop(sender: string, queue: Message[]): void {
		const oldest = queue.shift()
		if (oldest === undefined) return
		bytes -= oldest.payload.length
		onDropped(sender, oldest)
	}

	async function runWorker(): Promise<void> {
		for (const sender of ready) {
			ready.delete(sender)
			const queue = queues.get(sender) ?? []
			const message = queue.shift()
			if (message !== undefined) {
				bytes -= message.payload.length
				await work(sender, message)
			}
			if (queue.length > 0) ready.add(sender)
			else queues.delete(sender)
		}
		workers -= 1
		if (workers > 0) return
		for (const resolve of idleWaiters.splice(0)) resolve()
	}

	return {
		put(sender, message) {
			if (isStopped) return
			const queue = queues.get(sender) ?? []
			if (queue.length === 0 && !queues.has(sender)) {
				if (queues.size >= SENDERS_MAX) return onDropped(sender, message)
				queues.set(sender, queue)
				ready.add(sender)
			}
			queue.push(message)
			bytes += message.payload.length
			while (queue.length > MESSAGES_PER_SENDER_MAX || (bytes > BYTES_MAX && queue.length > 0)) {
				drop(sender, queue)
			}
			if (workers < PARALLEL && ready.size > 0) {
				workers += 1
				void runWorker()
			}
		},
		idle: () =>
			workers === 0 ? Promise.resolve() : new Promise((resolve) => idleWaiters.push(resolve)),
		stop() {
			isStopped = true
			for (const queue of queues.values()) queue.length = 0
			ready.clear()
			bytes = 0
			return this.idle()
		},
	}
}
