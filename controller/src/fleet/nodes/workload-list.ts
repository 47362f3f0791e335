import type { WorkloadResource } from '@ringfence/shared/contract/rest'
import { and, asc, eq, gt, isNotNull, isNull, or } from 'drizzle-orm'
import { workloads } from '../../db/schema.ts'
import type { Db } from '../../db/store.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { requireRow } from '../refusal.ts'

export interface WorkloadQuery extends PageRequest {
	readonly node?: string | undefined
	readonly group?: string | undefined
	readonly service?: string | undefined
	readonly state?: 'running' | 'gone' | 'all' | undefined
}

/** By name. */
export async function listWorkloads(db: Db, query: WorkloadQuery): Promise<Page<WorkloadResource>> {
	const [name, id] = readCursor(query.cursor, ['string', 'string']) ?? []
	const after =
		name === undefined || id === undefined
			? undefined
			: or(
					gt(workloads.name, String(name)),
					and(eq(workloads.name, String(name)), gt(workloads.id, String(id))),
				)
	const states = {
		running: isNull(workloads.goneAt),
		gone: isNotNull(workloads.goneAt),
		all: undefined,
	}
	const rows = await db
		.select()
		.from(workloads)
		.where(
			and(
				after,
				states[query.state ?? 'running'],
				query.node === undefined ? undefined : eq(workloads.nodeId, query.node),
				query.group === undefined ? undefined : eq(workloads.groupName, query.group),
				query.service === undefined ? undefined : eq(workloads.service, query.service),
			),
		)
		.orderBy(asc(workloads.name), asc(workloads.id))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => [row.name, row.id])
	return mapPage(page, toResource)
}

export async function getWorkload(db: Db, id: string): Promise<WorkloadResource> {
	const [row] = await db.select().from(workloads).where(eq(workloads.id, id))
	return toResource(requireRow(row, 'workload', '*'))
}

function toResource(row: typeof workloads.$inferSelect): WorkloadResource {
	const { groupName, interfaces, ...rest } = row
	// Written from a `Workload` that was checked.
	return { ...rest, interfaces: interfaces as WorkloadResource['interfaces'], group: groupName }
}
