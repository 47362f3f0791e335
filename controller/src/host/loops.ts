import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock, Log } from '../fleet/fleet.ts'

/** Changes within this time make one round. */
const JOIN_MS = 20
/** After a failure, and the longest sleep: a clock that was set is noticed. */
const RETRY_MS = 5000
const SLEEP_MS_MAX = 60_000
/** A round waits for slow receivers, so rounds may overlap; a change during the last waits for the next. */
const ROUNDS_MAX = 8

/** What a stop waits for a round under way: what it does is in the database, and another start goes on with it. */
const STOP_MS = 1000

export interface Loop {
	/** Starts no more work, and waits for what is under way. */
	stop(): Promise<void>
}

export interface DueLoop extends Loop {
	/** Something may be due. */
	poke(): void
}

/**
 * Runs rounds of work when poked and when the work itself says that more is due.
 * @param round resolves with the time (milliseconds since 1970) at which there is more to do, undefined for never
 */
export function startDueLoop(
	round: () => Promise<number | undefined>,
	{ clock, log, name }: { readonly clock: Clock; readonly log: Log; readonly name: string },
): DueLoop {
	const running = new Set<Promise<void>>()
	let timer: NodeJS.Timeout | undefined
	let wakesAt = Number.POSITIVE_INFINITY
	let isStopped = false

	function wakeAt(at: number): void {
		if (isStopped || at >= wakesAt) return
		clearTimeout(timer)
		wakesAt = at
		const delay = Math.min(SLEEP_MS_MAX, Math.max(0, at - clock.now()))
		timer = setTimeout(start, delay)
	}

	function start(): void {
		wakesAt = Number.POSITIVE_INFINITY
		if (isStopped) return
		if (running.size >= ROUNDS_MAX) {
			wakeAt(clock.now() + RETRY_MS)
			return
		}
		const one: Promise<void> = run().finally(() => running.delete(one))
		running.add(one)
	}

	async function run(): Promise<void> {
		try {
			const next = await round()
			if (next !== undefined) wakeAt(Math.max(next, clock.now() + JOIN_MS))
		} catch (error) {
			if (!isStopped) log('error', `${name} failed`, { error: String(error) })
			wakeAt(clock.now() + RETRY_MS)
		}
	}

	return {
		poke: () => wakeAt(clock.now() + JOIN_MS),
		async stop() {
			isStopped = true
			clearTimeout(timer)
			const patience = new AbortController()
			const late = sleep(STOP_MS, undefined, patience).catch(() => undefined)
			await Promise.race([Promise.all(running), late])
			patience.abort()
		},
	}
}

/** Runs work again and again with a pause in between, never twice at a time. */
export function startPeriodicLoop(
	work: () => Promise<unknown>,
	{ everyMs, log, name }: { readonly everyMs: number; readonly log: Log; readonly name: string },
): Loop {
	let isStopped = false
	let timer: NodeJS.Timeout | undefined
	let running: Promise<void> = Promise.resolve()
	const arm = () => {
		if (!isStopped) timer = setTimeout(start, everyMs)
	}
	const start = () => {
		running = work()
			.then(
				() => undefined,
				(error: unknown) => log('error', `${name} failed`, { error: String(error) }),
			)
			.finally(arm)
	}
	arm()
	return {
		async stop() {
			isStopped = true
			clearTimeout(timer)
			await running
		},
	}
}
