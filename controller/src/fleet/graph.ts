import type { Graph } from '@ringfence/shared/contract/rest'
import { desc, gte, sql } from 'drizzle-orm'
import { jsonList } from '../db/json-list.ts'
import { edges, groups } from '../db/schema.ts'
import type { Db } from '../db/store.ts'
import { gravest } from './conversation-sums.ts'

/** Edges of one answer; a picture with more is none. */
const EDGES_MAX = 2000
/** Rows that make them: an edge has one for each application or unknown port. */
const ROWS_MAX = 20_000

type Edge = Graph['edges'][number]

/** Who talks to whom, by groups: one edge for each pair, the busiest first. */
export async function readGraph(
	db: Db,
	{ since }: { readonly since?: number | undefined },
): Promise<Graph> {
	const rows = await db
		.select()
		.from(edges)
		.where(since === undefined ? undefined : gte(edges.lastAt, since))
		.orderBy(desc(edges.sessions))
		.limit(ROWS_MAX + 1)
	const all = new Map<string, Edge>()
	for (const row of rows.slice(0, ROWS_MAX)) {
		const key = JSON.stringify([row.clientGroup, row.serverGroup])
		all.set(key, addRow(all.get(key), row))
	}
	const busiest = [...all.values()].sort((a, b) => b.sessions - a.sessions).slice(0, EDGES_MAX)
	return {
		nodes: await readGroups(db, new Set(busiest.flatMap((edge) => [edge.from, edge.to]))),
		edges: busiest,
		isTruncated: rows.length > ROWS_MAX || all.size > busiest.length,
	}
}

function addRow(edge: Edge | undefined, row: typeof edges.$inferSelect): Edge {
	const application = row.application === '' ? [] : [row.application]
	const port = row.application === '' ? [portText(row.protocol, row.serverPort)] : []
	return {
		from: row.clientGroup,
		to: row.serverGroup,
		applications: [...new Set([...(edge?.applications ?? []), ...application])].sort(),
		ports: [...new Set([...(edge?.ports ?? []), ...port])].sort(),
		action: gravest([edge?.action ?? row.action, row.action]),
		sessions: (edge?.sessions ?? 0) + row.sessions,
		bytes: (edge?.bytes ?? 0) + row.bytes,
		firstAt: Math.min(edge?.firstAt ?? row.firstAt, row.firstAt),
		lastAt: Math.max(edge?.lastAt ?? row.lastAt, row.lastAt),
	}
}

async function readGroups(db: Db, names: ReadonlySet<string>): Promise<Graph['nodes']> {
	const rows = await db
		.select({ name: groups.name, kind: groups.kind, mode: groups.mode })
		.from(groups)
		.where(sql`${groups.name} in ${jsonList(names)}`)
	const known = new Map(rows.map((row) => [row.name, row]))
	return [...names].sort().map((group) => ({
		group,
		kind: known.get(group)?.kind ?? 'gone',
		mode: known.get(group)?.mode ?? null,
	}))
}

/** IANA protocol numbers. */
function portText(protocol: number, port: number): string {
	if (protocol === 6) return `tcp/${port}`
	if (protocol === 17) return `udp/${port}`
	if (protocol === 1 || protocol === 58) return `icmp/${port}`
	return `ip/${protocol}`
}
