import { nodeFactsSchema } from '@ringfence/shared/contract/messages'
import type { NodeResource, PolicyStatus } from '@ringfence/shared/contract/rest'
import { DOCUMENTS, type DocumentName } from '@ringfence/shared/contract/topics'
import { and, asc, count, eq, gt, or, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { nodeDocuments, nodes } from '../../db/schema.ts'
import { ensureCluster } from '../cluster.ts'
import { readGeneration } from '../desired/documents.ts'
import type { Fleet } from '../fleet.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { requireRow } from '../refusal.ts'

type NodeRow = typeof nodes.$inferSelect
type DocumentRow = typeof nodeDocuments.$inferSelect

/** What the fleet should run. A document that was never published is at generation 0. */
interface Wanted {
	readonly epoch: number
	readonly generations: Readonly<Record<DocumentName, number>>
}

export interface NodeQuery extends PageRequest {
	readonly isUp?: boolean | undefined
}

/** By name, each with what it says about the desired documents. */
export async function listNodes(fleet: Fleet, query: NodeQuery): Promise<Page<NodeResource>> {
	const { db } = fleet.store
	const [name, id] = readCursor(query.cursor, ['string', 'string']) ?? []
	const after =
		name === undefined || id === undefined
			? undefined
			: or(
					gt(nodes.name, String(name)),
					and(eq(nodes.name, String(name)), gt(nodes.id, String(id))),
				)
	const rows = await db
		.select()
		.from(nodes)
		.where(and(query.isUp === undefined ? undefined : eq(nodes.isUp, query.isUp), after))
		.orderBy(asc(nodes.name), asc(nodes.id))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => [row.name, row.id])
	const documents = await db
		.select()
		.from(nodeDocuments)
		.where(sql`${nodeDocuments.nodeId} in ${jsonList(page.items.map((row) => row.id))}`)
	const wanted = await readWanted(fleet)
	return mapPage(page, (row) =>
		toResource(
			row,
			documents.filter((document) => document.nodeId === row.id),
			wanted,
		),
	)
}

export async function getNode(fleet: Fleet, id: string): Promise<NodeResource> {
	const { db } = fleet.store
	const [row] = await db.select().from(nodes).where(eq(nodes.id, id))
	const node = requireRow(row, 'node', '*')
	const documents = await db.select().from(nodeDocuments).where(eq(nodeDocuments.nodeId, id))
	return toResource(node, documents, await readWanted(fleet))
}

/** How far the newest generation of each document has come over the fleet. */
export async function readPolicyStatus(fleet: Fleet): Promise<PolicyStatus> {
	const { db } = fleet.store
	const wanted = await readWanted(fleet)
	const [total] = await db
		.select({ nodes: count(), up: sql<number>`coalesce(sum(${nodes.isUp}), 0)` })
		.from(nodes)
	const { document, epoch, generation, state } = nodeDocuments
	const rows = await db
		.select({ document, epoch, generation, state, nodes: count() })
		.from(nodeDocuments)
		.groupBy(document, epoch, generation, state)
		.orderBy(asc(generation))
	const all = total?.nodes ?? 0
	return {
		nodes: all,
		nodesUp: total?.up ?? 0,
		documents: DOCUMENTS.map((name) => {
			const its = rows.filter((row) => row.document === name)
			const isNewest = (row: (typeof rows)[number]) =>
				row.generation === wanted.generations[name] && row.epoch === wanted.epoch
			const sum = (wantedState: DocumentRow['state']) =>
				its
					.filter((row) => isNewest(row) && row.state === wantedState)
					.reduce((nodesOf, row) => nodesOf + row.nodes, 0)
			const [applied, rejected] = [sum('applied'), sum('rejected')]
			return {
				document: name,
				currentGeneration: wanted.generations[name],
				applied,
				rejected,
				behind: Math.max(all - applied - rejected, 0),
				generations: its.map((row) => ({
					generation: row.generation,
					state: row.state,
					nodes: row.nodes,
				})),
			}
		}),
	}
}

async function readWanted(fleet: Fleet): Promise<Wanted> {
	const { db } = fleet.store
	const { epoch } = await ensureCluster(fleet)
	const [policy, addresses] = [
		await readGeneration(db, 'policy'),
		await readGeneration(db, 'addresses'),
	]
	return { epoch, generations: { policy, addresses } }
}

function toResource(row: NodeRow, documents: DocumentRow[], wanted: Wanted): NodeResource {
	const { id, name, isUp, enrolledAt, lastSeenAt, rejected, givenUp, revision } = row
	return {
		id,
		name,
		isUp,
		enrolledAt,
		lastSeenAt,
		facts: nodeFactsSchema.nullable().safeParse(row.facts).data ?? null,
		rejected,
		givenUp,
		counters: (row.counters as Record<string, number> | null) ?? null,
		documents: DOCUMENTS.map((document) =>
			toDocument(
				document,
				documents.find((known) => known.document === document),
				wanted,
			),
		),
		revision,
	}
}

function toDocument(
	document: DocumentName,
	row: DocumentRow | undefined,
	{ epoch, generations }: Wanted,
): NodeResource['documents'][number] {
	const currentGeneration = generations[document]
	const isNewest = row?.generation === currentGeneration && row.epoch === epoch
	return {
		document,
		currentGeneration,
		epoch: row?.epoch ?? null,
		generation: row?.generation ?? null,
		state: row?.state ?? 'unknown',
		isCurrent: isNewest && row.state === 'applied',
		why: row?.why ?? null,
		at: row?.at ?? null,
	}
}
