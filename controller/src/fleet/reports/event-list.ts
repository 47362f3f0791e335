import type { EventResource } from '@ringfence/shared/contract/rest'
import { SEVERITIES, type Severity } from '@ringfence/shared/contract/telemetry'
import { and, desc, eq, gte, inArray, lt, or, sql } from 'drizzle-orm'
import { events } from '../../db/schema.ts'
import type { Db } from '../../db/store.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { Refusal } from '../refusal.ts'

export interface EventQuery extends PageRequest {
	readonly kind?: string | undefined
	/** That severe or worse. */
	readonly severity?: Severity | undefined
	readonly group?: string | undefined
	readonly node?: string | undefined
	readonly since?: number | undefined
}

/** Newest first. */
export async function listEvents(db: Db, query: EventQuery): Promise<Page<EventResource>> {
	const [id] = readCursor(query.cursor, ['string']) ?? []
	const { kind, severity, group, node, since } = query
	const rows = await db
		.select()
		.from(events)
		.where(
			and(
				id === undefined ? undefined : lt(events.id, String(id)),
				kind === undefined ? undefined : eq(events.kind, kind),
				severity === undefined
					? undefined
					: inArray(events.severity, SEVERITIES.slice(SEVERITIES.indexOf(severity))),
				group === undefined
					? undefined
					: or(eq(events.clientGroup, group), eq(events.serverGroup, group)),
				node === undefined ? undefined : eq(events.nodeId, node),
				since === undefined ? undefined : gte(events.lastAt, since),
			),
		)
		.orderBy(desc(events.id))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => [row.id])
	return mapPage(page, toResource)
}

export async function getEvent(db: Db, id: string): Promise<EventResource> {
	const [row] = await db.select().from(events).where(eq(events.id, id))
	if (!row) throw new Refusal('not-found', 'There is no such event.')
	return toResource(row)
}

/**
 * What arrived after an event, in order of arrival: how a stream goes on. The rows' own order, because ids come from the
 * clocks of several controllers, and any clock may be set back. An event that has aged away is placed by its id.
 */
export async function listEventsAfter(db: Db, id: string, limit: number): Promise<EventResource[]> {
	const place = sql`coalesce((select e.rowid from events as e where e.id = ${id}),
		(select max(e.rowid) from events as e where e.id <= ${id}), 0)`
	const rows = await db
		.select()
		.from(events)
		.where(sql`${events}.rowid > ${place}`)
		.orderBy(sql`${events}.rowid`)
		.limit(limit)
	return rows.map(toResource)
}

/** Id of the event that arrived last; empty when there is none. */
export async function newestEventId(db: Db): Promise<string> {
	const [row] = await db
		.select({ id: events.id })
		.from(events)
		.orderBy(sql`${events}.rowid desc`)
		.limit(1)
	return row?.id ?? ''
}

function toResource(row: typeof events.$inferSelect): EventResource {
	const { dedupeKey: _, ...rest } = row
	return rest
}
