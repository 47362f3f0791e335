import type { events } from '../db/schema.ts'
import type { Tx } from '../db/store.ts'
import type { Fleet } from './fleet.ts'

export type EventRow = typeof events.$inferSelect

/** One write transaction of the intake, and what has to follow it. */
export interface Work {
	readonly tx: Tx
	/** The controller's clock at its begin. */
	readonly now: number
	readonly after: Aftermath
}

/** What to tell the rest of the controller once the transaction is committed. */
interface Aftermath {
	documentsChanged: boolean
	outboxChanged: boolean
	/** Events that are new. */
	readonly events: EventRow[]
}

/** Runs `work` in a write transaction, and tells what it changed after the commit. */
export async function runWork<Result>(
	fleet: Fleet,
	work: (work: Work) => Promise<Result>,
): Promise<Result> {
	const after: Aftermath = { documentsChanged: false, outboxChanged: false, events: [] }
	const result = await fleet.store.write((tx) => work({ tx, now: fleet.clock.now(), after }))
	if (after.documentsChanged) fleet.changes.documentsChanged()
	if (after.outboxChanged) fleet.changes.outboxChanged()
	for (const event of after.events) fleet.live.publish({ kind: 'event', id: event.id, event })
	return result
}
