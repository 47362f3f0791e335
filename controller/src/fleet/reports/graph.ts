import type { Graph } from '@ringfence/shared/contract/rest'
import { desc, gte, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { edges, groups } from '../../db/schema.ts'
import type { Db } from '../../db/store.ts'
import { gravest } from '../intake/conversation-sums.ts'

/** Edges of one answer; a picture with more is none. */
const EDGES_MAX = 2000
/** Rows that make them: an edge has one for each application or unknown port. */
const ROWS_MAX = 20_000

/** What is older than that, seen from the newest of its pair, is no present state: events tell of it. */
const RECENT_MS = 3_600_000

/** What policy has settled since, by learning or by knowing more: over as soon as the same traffic is seen otherwise. */
const PASSING: ReadonlySet<string> = new Set(['learn', 'pending'])

type Edge = Graph['edges'][number]
type Row = typeof edges.$inferSelect

/** Who talks to whom, by groups: one edge for each pair, the busiest first, in the gravest of its recent states. */
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
	const pairs = new Map<string, Row[]>()
	for (const row of rows.slice(0, ROWS_MAX)) {
		const key = JSON.stringify([row.clientGroup, row.serverGroup])
		const its = pairs.get(key)
		if (its) its.push(row)
		else pairs.set(key, [row])
	}
	const all = [...pairs.values()].map(toEdge)
	const busiest = all.sort((a, b) => b.sessions - a.sessions).slice(0, EDGES_MAX)
	return {
		nodes: await readGroups(db, new Set(busiest.flatMap((edge) => [edge.from, edge.to]))),
		edges: busiest,
		isTruncated: rows.length > ROWS_MAX || all.length > busiest.length,
	}
}

function toEdge(rows: readonly Row[]): Edge {
	const applications = new Set(rows.map((row) => row.application).filter((name) => name !== ''))
	const unknown = rows.filter((row) => row.application === '')
	const sum = (column: 'sessions' | 'bytes') => rows.reduce((total, row) => total + row[column], 0)
	return {
		from: rows[0]?.clientGroup ?? '',
		to: rows[0]?.serverGroup ?? '',
		applications: [...applications].sort(),
		ports: [...new Set(unknown.map((row) => portText(row.protocol, row.serverPort)))].sort(),
		action: gravest(recentActions(rows)),
		sessions: sum('sessions'),
		bytes: sum('bytes'),
		firstAt: Math.min(...rows.map((row) => row.firstAt)),
		lastAt: Math.max(...rows.map((row) => row.lastAt)),
	}
}

/** A pair has a row for every action that its traffic ever had: those that still say something. */
function recentActions(rows: readonly Row[]): string[] {
	const newest = new Map<string, number>()
	for (const row of rows) {
		newest.set(trafficOf(row), Math.max(newest.get(trafficOf(row)) ?? 0, row.lastAt))
	}
	const newestOfAll = Math.max(...newest.values())
	return rows
		.filter((row) => row.lastAt > newestOfAll - RECENT_MS)
		.filter((row) => !PASSING.has(row.action) || row.lastAt === newest.get(trafficOf(row)))
		.map((row) => row.action)
}

/** What rows with different actions have in common. */
function trafficOf({ protocol, application, serverPort }: Row): string {
	return `${protocol} ${serverPort} ${application}`
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
