import { and, eq, isNotNull, lt, type SQL, sql } from 'drizzle-orm'
import { jsonList } from '../db/json-list.ts'
import { groups, rules } from '../db/schema.ts'
import { isForgotten } from './alerts/outbox.ts'
import type { Fleet } from './fleet.ts'
import { takeOverdue } from './intake/held.ts'
import { takeHeld } from './intake/take-records.ts'
import { revokeRemoved } from './nodes/nodes.ts'
import { raiseGeneration } from './revisions.ts'
import { type FleetSettings, readSettings } from './settings.ts'
import { runWork, type Work } from './work.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Rows of one transaction: other writers wait for milliseconds, not for the whole sweep. */
const CHUNK_ROWS = 1000

/** An agent's spool may hold batches of an earlier run; this long after its last one nothing comes any more. */
const CURSOR_MS = 90 * DAY_MS

export interface RowsMax {
	readonly events: number
	readonly conversations: number
}

/** Rows that are kept at most, whatever their age: what agents report must not fill the disk. */
const ROWS_MAX: RowsMax = { events: 1_000_000, conversations: 2_000_000 }

/** How many rows went, by table. */
export type Aged = Readonly<Record<string, number>>

/**
 * Removes what has outlived its time by the settings: unused groups with their learned rules, workloads that are gone,
 * events, conversations, audits, deliveries, tokens; and the accounts of removed nodes. Call it now and then; calls may overlap, here and elsewhere.
 */
export async function ageOut(fleet: Fleet, rowsMax: RowsMax = ROWS_MAX): Promise<Aged> {
	await revokeRemoved(fleet)
	const now = fleet.clock.now()
	const limits = await readSettings(fleet.store.db)
	const aged: Record<string, number> = {
		heldRecords: await runWork(fleet, giveUpOverdue),
		groups: await runWork(fleet, (work) => ageGroups(work, limits)),
	}
	for (const [table, condition] of sweeps(limits, now)) {
		aged[table] = await sweep(fleet, table, condition)
	}
	aged['conversations'] =
		(aged['conversations'] ?? 0) +
		(await sweepBeyond(fleet, 'conversations', { by: 'last_at', rowsMax: rowsMax.conversations }))
	aged['events'] =
		(aged['events'] ?? 0) +
		(await sweepBeyond(fleet, 'events', { by: 'at', rowsMax: rowsMax.events }))
	return aged
}

/** Also done with each batch; this is for a fleet from which no batch comes any more. */
async function giveUpOverdue(work: Work): Promise<number> {
	const held = await takeOverdue(work)
	await takeHeld(work, held)
	return held.length
}

/**
 * Learned groups that had no member for `unusedGroupAgingHours`. One that a user's rule names stays, with its mode: when its
 * service comes back, the rule must mean what it meant.
 */
async function ageGroups(work: Work, limits: FleetSettings): Promise<number> {
	const { tx, now, after } = work
	const until = now - limits.unusedGroupAgingHours * HOUR_MS
	const gone = await tx
		.delete(groups)
		.where(
			and(
				eq(groups.kind, 'learned'),
				isNotNull(groups.emptySince),
				lt(groups.emptySince, until),
				sql`not exists (select 1 from rules where is_learned = 0
					and ${groups.name} in (from_group, to_group))`,
			),
		)
		.returning({ name: groups.name })
	if (gone.length === 0) return 0
	const names = jsonList(gone.map(({ name }) => name))
	await tx
		.delete(rules)
		.where(
			and(
				eq(rules.isLearned, true),
				sql`(${rules.fromGroup} in ${names} or ${rules.toGroup} in ${names})`,
			),
		)
	await raiseGeneration(tx, 'policy')
	after.documentsChanged = true
	return gone.length
}

/** Table and condition of every sweep. Columns have their names in the database here. */
function sweeps(limits: FleetSettings, now: number): readonly (readonly [string, SQL])[] {
	const daysAgo = (days: number) => now - days * DAY_MS
	const conversations = daysAgo(limits.conversationRetentionDays)
	return [
		['conversations', sql`last_at < ${conversations}`],
		['edges', sql`last_at < ${conversations}`],
		// `at` has the index; `last_at` is at most a minute later.
		['events', sql`at < ${daysAgo(limits.eventRetentionDays)}`],
		[
			'workloads',
			// Conversations name their ends by these rows.
			sql`gone_at < ${daysAgo(limits.workloadRetentionDays)}
				and not exists (select 1 from conversations where client = 'workload:' || workloads.id)
				and not exists (select 1 from conversations where server = 'workload:' || workloads.id)`,
		],
		['ingest_cursors', sql`at < ${now - CURSOR_MS}`],
		['outbox', isForgotten(daysAgo(limits.deliveryRetentionDays))],
		['audits', sql`at < ${daysAgo(limits.auditRetentionDays)}`],
		['enrol_tokens', sql`expires_at < ${now}`],
		['sessions', sql`expires_at < ${now}`],
	]
}

/** Removes all but the newest rows, by a column that has an index. */
async function sweepBeyond(
	fleet: Fleet,
	table: string,
	{ by, rowsMax }: { readonly by: string; readonly rowsMax: number },
): Promise<number> {
	const [name, column] = [sql.raw(table), sql.raw(by)]
	// Looks at two rows; counting would look at all, each minute.
	const [span] = await fleet.store.db.all<{ rows: number | null }>(
		sql`select (select max(rowid) from ${name}) - (select min(rowid) from ${name}) + 1 as rows`,
	)
	if ((span?.rows ?? 0) <= rowsMax) return 0
	const newestToGo = sql`(select ${column} from ${name} order by ${column} desc limit 1 offset ${rowsMax})`
	return sweep(fleet, table, sql`${column} <= ${newestToGo}`)
}

async function sweep(fleet: Fleet, table: string, condition: SQL): Promise<number> {
	const name = sql.raw(table)
	let removed = 0
	for (;;) {
		const { rowsAffected } = await fleet.store.write((tx) =>
			tx.run(
				sql`delete from ${name} where rowid in
					(select rowid from ${name} where ${condition} limit ${CHUNK_ROWS})`,
			),
		)
		removed += rowsAffected
		if (rowsAffected < CHUNK_ROWS) return removed
	}
}
