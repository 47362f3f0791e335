import type { Log } from '../fleet/fleet.ts'

/** One line per reason within this time; the count in the next line tells of the rest. */
const LINE_EVERY_MS = 10_000
/** Reasons are ours, not the sender's, so few; a bound all the same. */
const REASONS_MAX = 64

/** Counts refusals by reason and logs them without letting a hostile peer fill the log. */
export interface Tally {
	count(reason: string, detail?: string): void
	counters(): Readonly<Record<string, number>>
}

/** @param what begins each line: `broker refused`, `message refused` */
export function createTally(what: string, log: Log, nowMs: () => number): Tally {
	const entries = new Map<string, { total: number; logged: number; loggedAt: number }>()
	return {
		count(reason, detail) {
			const entry = entries.get(reason) ?? { total: 0, logged: 0, loggedAt: -LINE_EVERY_MS }
			if (!entries.has(reason) && entries.size < REASONS_MAX) entries.set(reason, entry)
			entry.total += 1
			const now = nowMs()
			if (now - entry.loggedAt < LINE_EVERY_MS) return
			const fields = { reason, times: entry.total - entry.logged, total: entry.total }
			log('warn', what, detail === undefined ? fields : { ...fields, detail: printable(detail) })
			entry.logged = entry.total
			entry.loggedAt = now
		},
		counters: () => Object.fromEntries([...entries].map(([reason, { total }]) => [reason, total])),
	}
}

/** Peers choose parts of a detail: bounded, and without control characters. */
function printable(text: string): string {
	return text.slice(0, 200).replace(/[^\x20-\x7e]/g, '?')
}
