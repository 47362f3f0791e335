import type { Context } from 'hono'
import { type SSEStreamingApi, streamSSE } from 'hono/streaming'
import { authenticate } from '../fleet/access/access.ts'
import type { Fleet } from '../fleet/fleet.ts'
import { listEventsAfter, newestEventId } from '../fleet/reports/event-list.ts'
import type { ApiEnv, ApiOptions } from './api.ts'
import { ProblemError } from './problem.ts'

/** Streams open at a time: each holds a connection and reads the database when something arrives. */
const STREAMS_MAX = 200

/** Of one user or key: nobody takes the streams of all others. */
const STREAMS_OF_ONE_MAX = 20

const BATCH_EVENTS = 100

/** Proxies close connections that are silent for longer, commonly after 30 to 60 s. */
const TICK_MS = 15_000

export interface EventStreams {
	/** Answers with a stream of what arrives after `Last-Event-ID`, or after the newest event. */
	open(c: Context<ApiEnv>): Response
}

/**
 * Live events. The database is what is read, always after the last event sent; the live feed only tells when to look. So a
 * stream that resumes misses nothing, and a slow client costs no memory.
 */
export function createEventStreams(
	fleet: Fleet,
	{ streamTickMs = TICK_MS }: ApiOptions,
): EventStreams {
	let open = 0
	const openOf = new Map<string, number>()
	const count = (actor: string, step: 1 | -1) => {
		open += step
		const its = (openOf.get(actor) ?? 0) + step
		if (its > 0) openOf.set(actor, its)
		else openOf.delete(actor)
	}
	return {
		open(c) {
			const { actor } = c.var.principal
			if (open >= STREAMS_MAX || (openOf.get(actor) ?? 0) >= STREAMS_OF_ONE_MAX) {
				const headers = { 'retry-after': '10' }
				throw new ProblemError(503, 'too-many-streams', 'Too many open streams.', { headers })
			}
			count(actor, 1)
			c.header('x-accel-buffering', 'no')
			const credential = c.var.credential
			const lastId = c.req.header('last-event-id')
			return streamSSE(c, async (stream) => {
				try {
					await follow(fleet, stream, { lastId, credential, tickMs: streamTickMs })
				} finally {
					count(actor, -1)
				}
			})
		},
	}
}

interface Following {
	readonly lastId: string | undefined
	readonly credential: string
	readonly tickMs: number
}

async function follow(
	fleet: Fleet,
	stream: SSEStreamingApi,
	{ lastId, credential, tickMs }: Following,
): Promise<void> {
	const bell = createBell()
	let isTick = true
	const unsubscribe = fleet.live.subscribe(() => bell.ring())
	const timer = setInterval(() => {
		isTick = true
		bell.ring()
	}, tickMs)
	stream.onAbort(() => bell.ring())
	try {
		let last = lastId ?? (await newestEventId(fleet.store.db))
		while (!stream.aborted && !stream.closed) {
			const sent = await sendAfter(fleet, stream, last)
			last = sent.last
			if (sent.isMore) continue
			if (isTick) {
				isTick = false
				await stream.write(': still here\n\n')
				// The session may have ended meanwhile.
				if (!(await authenticate(fleet, credential))) return
			}
			await bell.heard()
		}
	} finally {
		clearInterval(timer)
		unsubscribe()
	}
}

async function sendAfter(
	fleet: Fleet,
	stream: SSEStreamingApi,
	id: string,
): Promise<{ last: string; isMore: boolean }> {
	const events = await listEventsAfter(fleet.store.db, id, BATCH_EVENTS)
	for (const event of events) {
		await stream.writeSSE({ event: 'event', id: event.id, data: JSON.stringify(event) })
	}
	return { last: events.at(-1)?.id ?? id, isMore: events.length === BATCH_EVENTS }
}

interface Bell {
	ring(): void
	/** Resolves when it was rung since the last time, however often. */
	heard(): Promise<void>
}

function createBell(): Bell {
	let isRung = false
	let wake: (() => void) | undefined
	return {
		ring() {
			isRung = true
			wake?.()
		},
		async heard() {
			if (!isRung) {
				await new Promise<void>((resolve) => {
					wake = resolve
				})
			}
			isRung = false
			wake = undefined
		},
	}
}
