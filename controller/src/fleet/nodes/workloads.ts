import type { WorkloadsReport } from '@ringfence/shared/contract/messages'
import type { Workload } from '@ringfence/shared/contract/workload'
import { eq, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { nodes, workloads } from '../../db/schema.ts'
import type { Tx } from '../../db/store.ts'
import { raiseEvents } from '../alerts/raise-events.ts'
import { takeResolved } from '../intake/held.ts'
import { takeHeld } from '../intake/take-records.ts'
import { fillGroups, learnedGroupName, markEmptyGroups } from '../policy/learned-groups.ts'
import { raiseGeneration } from '../revisions.ts'
import type { Work } from '../work.ts'
import { compareText, globalAddresses, type OwnedAddress, replaceAddresses } from './addresses.ts'
import { type NodeRow, raiseFor } from './nodes.ts'

/**
 * Makes the reported workloads the node's, in place of what was known. A report that is not newer, or of another run
 * of the agent than the present one, says nothing.
 */
export async function takeWorkloads(
	work: Work,
	node: NodeRow,
	report: WorkloadsReport,
): Promise<void> {
	if (!isNewer(node, report)) return
	const { tx, now } = work
	await tx
		.update(nodes)
		.set({ workloadsBoot: report.boot, workloadsRevision: report.revision, lastSeenAt: now })
		.where(eq(nodes.id, node.id))
	const known = await readKnown(tx, node.id, report)
	const { mine, foreign } = split(node.id, report, known)
	const hasChanged = await upsert(work, { nodeId: node.id, mine, known })
	const gone = await markGone(work, node.id, mine)
	const owned = new Map([...mine].map(([id, { interfaces }]) => [id, globalAddresses(interfaces)]))
	const changes = await replaceAddresses(
		tx,
		'workload',
		new Map<string, readonly OwnedAddress[]>([...gone.map((id) => [id, []] as const), ...owned]),
	)
	const hasNewGroups = await fillGroups(tx, new Set([...mine.values()].map(groupOf)), now)
	await markEmptyGroups(tx, now)
	await raiseFor(work, {
		...changes,
		hasChanged: changes.hasChanged || hasChanged || gone.length > 0,
	})
	if (hasNewGroups) await raiseGeneration(tx, 'policy')
	if (foreign > 0) await reportForeign(work, node, foreign)
	const resolved = [...owned].flatMap(([id, list]) => [
		`workload:${id}`,
		...list.map(({ address }) => `address:${address}`),
	])
	await takeHeld(work, await takeResolved(work, resolved))
}

function isNewer(node: NodeRow, report: WorkloadsReport): boolean {
	if (node.boot !== null && node.boot !== report.boot) return false
	return node.workloadsBoot !== report.boot || (node.workloadsRevision ?? -1) < report.revision
}

type WorkloadRow = typeof workloads.$inferSelect

/** Rows of one statement: 13 parameters each. */
const ROWS_PER_STATEMENT = 500

interface Report {
	readonly nodeId: string
	readonly mine: ReadonlyMap<string, Workload>
	readonly known: ReadonlyMap<string, WorkloadRow>
}

/** Rows of the node, and of the ids it reports, wherever they are. */
async function readKnown(
	tx: Tx,
	nodeId: string,
	report: WorkloadsReport,
): Promise<ReadonlyMap<string, WorkloadRow>> {
	const ids = report.workloads.map((workload) => workload.id)
	const rows = await tx
		.select()
		.from(workloads)
		.where(sql`${workloads.nodeId} = ${nodeId} or ${workloads.id} in ${jsonList(ids)}`)
	return new Map(rows.map((row) => [row.id, row]))
}

/** A node cannot take a workload away from another on which it runs. */
function split(
	nodeId: string,
	report: WorkloadsReport,
	known: ReadonlyMap<string, WorkloadRow>,
): { mine: ReadonlyMap<string, Workload>; foreign: number } {
	const mine = new Map<string, Workload>()
	let foreign = 0
	for (const workload of report.workloads) {
		const row = known.get(workload.id)
		if (row && row.nodeId !== nodeId && row.goneAt === null) foreign++
		else mine.set(workload.id, workload)
	}
	return { mine, foreign }
}

/** @returns whether something changed that documents are made of */
async function upsert({ tx, now }: Work, { nodeId, mine, known }: Report): Promise<boolean> {
	const rows = [...mine.values()].map((workload) => toRow(nodeId, workload, now))
	const changed = rows.filter((row) => !isSame(row, known.get(row.id)))
	for (let at = 0; at < changed.length; at += ROWS_PER_STATEMENT) {
		await tx
			.insert(workloads)
			.values(changed.slice(at, at + ROWS_PER_STATEMENT))
			.onConflictDoUpdate({ target: workloads.id, set: REPLACED })
	}
	return changed.length > 0
}

function toRow(nodeId: string, workload: Workload, now: number) {
	const { id, name, runtime, service, domain, image, interfaces, startedAt } = workload
	const labels = Object.fromEntries(
		Object.entries(workload.labels).sort(([a], [b]) => compareText(a, b)),
	)
	return {
		...{ id, nodeId, name, runtime, service, domain, labels, interfaces, startedAt },
		image: image ?? null,
		groupName: groupOf(workload),
		firstSeenAt: now,
		goneAt: null,
	}
}

/** Columns that a report replaces; when the workload was first seen stays. */
const REPLACED = {
	...Object.fromEntries(
		(
			[
				...(['nodeId', 'name', 'runtime', 'service', 'domain', 'image', 'labels'] as const),
				...(['interfaces', 'groupName', 'startedAt', 'goneAt'] as const),
			] as const
		).map((column) => [column, sql.raw(`excluded.${workloads[column].name}`)]),
	),
	revision: sql`${workloads.revision} + 1`,
}

function isSame(row: ReturnType<typeof toRow>, known: WorkloadRow | undefined): boolean {
	if (!known) return false
	return JSON.stringify(compared(row)) === JSON.stringify(compared(known))
}

function compared(row: ReturnType<typeof toRow> | WorkloadRow) {
	const { nodeId, name, runtime, service, domain, image, labels, interfaces, startedAt } = row
	const words = [nodeId, name, runtime, service, domain, image, startedAt, row.goneAt]
	return [...words, labels, interfaces, row.groupName]
}

async function markGone(
	{ tx, now }: Work,
	nodeId: string,
	mine: ReadonlyMap<string, Workload>,
): Promise<string[]> {
	const rows = await tx
		.update(workloads)
		.set({ goneAt: now, revision: sql`${workloads.revision} + 1` })
		.where(
			sql`${workloads.nodeId} = ${nodeId} and ${workloads.goneAt} is null
				and ${workloads.id} not in ${jsonList(mine.keys())}`,
		)
		.returning({ id: workloads.id })
	return rows.map((row) => row.id)
}

function groupOf({ service, domain }: Workload): string {
	return learnedGroupName(service, domain)
}

async function reportForeign(work: Work, node: NodeRow, count: number): Promise<void> {
	await raiseEvents(work, [
		{
			kind: 'agent',
			name: 'workloads refused',
			severity: 'high',
			at: work.now,
			count,
			node,
			why: 'the node reports workloads that run on another node',
		},
	])
}
