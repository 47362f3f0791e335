import type { TelemetryRecord } from '@ringfence/shared/contract/telemetry'
import { lte, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { heldRecords } from '../../db/schema.ts'
import type { Tx } from '../../db/store.ts'
import type { Work } from '../work.ts'

/** A record that waits until somebody's name is known. */
export interface HeldRecord {
	readonly nodeId: string
	/** `workload:<id>` or `address:<address>` */
	readonly waitsFor: string
	readonly record: TelemetryRecord
	/** When it came first. */
	readonly heldAt: number
}

/** How long a record waits. A workload's report comes within seconds of its first packet. */
export const HOLD_MS_MAX = 30_000

/** Records that may wait at once, of all nodes; the next is given up at once. */
export const HELD_MAX = 10_000

/** Records taken out in one transaction. */
const TAKEN_MAX = 2000

/** Keeps records until their names come, as far as there is room. @returns those there was no room for */
export async function hold(tx: Tx, records: readonly HeldRecord[]): Promise<readonly HeldRecord[]> {
	if (records.length === 0) return []
	const free = Math.max(HELD_MAX - (await tx.$count(heldRecords)), 0)
	const kept = records.slice(0, free)
	for (let at = 0; at < kept.length; at += 500)
		await tx.insert(heldRecords).values(kept.slice(at, at + 500))
	return records.slice(free)
}

/** Takes out what waited for one of these. */
export async function takeResolved(
	{ tx }: Work,
	resolved: Iterable<string>,
): Promise<HeldRecord[]> {
	return take(tx, sql`waits_for in ${jsonList(resolved)}`)
}

/** Takes out what has waited long enough. */
export async function takeOverdue({ tx, now }: Work): Promise<HeldRecord[]> {
	return take(tx, lte(heldRecords.heldAt, now - HOLD_MS_MAX))
}

async function take(tx: Tx, condition: ReturnType<typeof sql>): Promise<HeldRecord[]> {
	const rows = await tx
		.delete(heldRecords)
		.where(
			sql`id in (select id from held_records where ${condition} order by id limit ${TAKEN_MAX})`,
		)
		.returning()
	return rows
		.sort((a, b) => a.id - b.id)
		.map((row) => ({ ...row, record: row.record as TelemetryRecord }))
}
