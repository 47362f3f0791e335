import type { Severity } from '@ringfence/shared/contract/telemetry'
import { eq, sql } from 'drizzle-orm'
import { events } from '../../db/schema.ts'
import { addBounded } from '../intake/conversation-sums.ts'
import type { End, NodeName } from '../intake/directory.ts'
import { timeOrderedId } from '../secrets.ts'
import type { EventRow, Work } from '../work.ts'
import { enqueueDeliveries } from './outbox.ts'

/** Something that people must hear of, as one report tells it. */
export interface Report {
	readonly kind: 'violation' | 'threat' | 'agent'
	readonly name: string
	readonly severity: Severity
	/** The reporter's clock. */
	readonly at: number
	readonly count: number
	readonly node: NodeName
	readonly why: string
	/** Of sessions; absent for what happened to the agent itself. */
	readonly session?: ReportedSession
	/** What else tells reports of one kind and name apart. */
	readonly about?: string
}

export interface ReportedSession {
	/** Which end reports. */
	readonly side: 'client' | 'server'
	readonly client: End
	readonly server: End
	readonly protocol: number
	readonly serverPort: number
	readonly clientPort: number
	readonly application: string | null
	/** What the agent did, for violations. */
	readonly action: string | null
	readonly rule: string | null
	readonly host: string | null
}

/** All that a person needs to understand an event, beside its columns. */
interface EventDetail {
	/** Nodes that reported it. */
	nodes: NodeName[]
	/** Count by reporting side; agents report under `agent`. */
	readonly sums: { client: number; server: number; agent: number }
	readonly client?: EndDetail
	readonly server?: EndDetail
	readonly clientPort?: number
	readonly action?: string | null
	readonly rule?: string | null
	host?: string | null
}

interface EndDetail {
	readonly kind: End['kind']
	readonly id: string
	readonly name: string
	readonly group: string
	readonly address: string | null
	readonly service: string | null
	readonly domain: string | null
	readonly node: NodeName | null
}

/** Rows of one statement: 18 parameters each. */
const ROWS_PER_STATEMENT = 100

/** Reports with an equal key less than this apart are one event. */
const SAME_EVENT_MS = 60_000

/**
 * Makes events of reports. Both ends of a session may report it, and the same thing may go on: such reports add to the
 * event that is there, by side, and its count is the greater side's.
 */
export async function raiseEvents(work: Work, reports: readonly Report[]): Promise<void> {
	if (reports.length === 0) return
	const { tx, now, after } = work
	const keyed = reports.map((report) => {
		// A clock that is ahead must not make events that never age.
		return { report, key: dedupeKey(report), at: Math.min(report.at, now) }
	})
	const known = await readRecent(work, keyed)
	const changed = new Set<EventRow>()
	const made = new Set<EventRow>()
	for (const { report, key, at } of keyed) {
		const same = known.find((row) => row.dedupeKey === key && Math.abs(at - row.at) < SAME_EVENT_MS)
		if (same) {
			addReport(same, report, at)
			if (!made.has(same)) changed.add(same)
		} else {
			const row = toRow(report, { key, at, now })
			known.push(row)
			made.add(row)
		}
	}
	for (const row of changed) {
		const { lastAt, count, detail } = row
		await tx.update(events).set({ lastAt, count, detail }).where(eq(events.id, row.id))
	}
	const rows = [...made]
	for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
		await tx.insert(events).values(rows.slice(start, start + ROWS_PER_STATEMENT))
	}
	if ((await enqueueDeliveries(tx, rows, now)) > 0) after.outboxChanged = true
	after.events.push(...rows)
}

/** Events that a report may belong to: near in time to one with its key, so that no clock makes us read all there are. */
async function readRecent(
	{ tx }: Work,
	keyed: readonly { readonly key: string; readonly at: number }[],
): Promise<EventRow[]> {
	const pairs = JSON.stringify(keyed.map(({ key, at }) => [key, at]))
	return tx
		.select()
		.from(events)
		.where(
			sql`${events}.rowid in (
				select e.rowid from json_each(${pairs}) as k
				cross join events as e on e.dedupe_key = k.value->>0
					and e.at > (k.value->>1) - ${SAME_EVENT_MS} and e.at < (k.value->>1) + ${SAME_EVENT_MS})`,
		)
}

function dedupeKey({ kind, name, node, session, about }: Report): string {
	if (!session) return JSON.stringify([kind, name, node.id, about ?? ''])
	const { client, server, protocol, serverPort, application, action } = session
	const ends = [client.endpoint, server.endpoint]
	return JSON.stringify([kind, ...ends, protocol, serverPort, application, action ?? name])
}

function addReport(row: EventRow, report: Report, at: number): void {
	const detail = row.detail as EventDetail
	const side = report.session?.side ?? 'agent'
	detail.sums[side] = addBounded(detail.sums[side], report.count)
	if (!detail.nodes.some((node) => node.id === report.node.id)) {
		detail.nodes = [...detail.nodes, report.node]
	}
	const host = detail.host ?? report.session?.host
	if (host !== undefined) detail.host = host
	row.count = Math.max(detail.sums.client, detail.sums.server, detail.sums.agent)
	row.lastAt = Math.max(row.lastAt, at)
}

function toRow(report: Report, stamp: { key: string; at: number; now: number }): EventRow {
	const { session, node } = report
	const row: EventRow = {
		id: timeOrderedId(stamp.now),
		kind: report.kind,
		name: report.name,
		severity: report.severity,
		at: stamp.at,
		lastAt: stamp.at,
		count: 0,
		nodeId: node.id,
		client: session?.client.endpoint ?? null,
		server: session?.server.endpoint ?? null,
		clientGroup: session?.client.group ?? null,
		serverGroup: session?.server.group ?? null,
		protocol: session?.protocol ?? null,
		serverPort: session?.serverPort ?? null,
		application: session?.application ?? null,
		why: report.why,
		dedupeKey: stamp.key,
		detail: {
			nodes: [node],
			sums: { client: 0, server: 0, agent: 0 },
			...(session && sessionDetail(session)),
		} satisfies EventDetail,
	}
	addReport(row, report, stamp.at)
	return row
}

function sessionDetail({ client, server, clientPort, action, rule, host }: ReportedSession) {
	return { client: endDetail(client), server: endDetail(server), clientPort, action, rule, host }
}

function endDetail({ kind, id, group, workload, node, address }: End): EndDetail {
	return {
		kind,
		id,
		name: workload?.name ?? node?.name ?? id,
		group,
		address: address ?? null,
		service: workload?.service ?? null,
		domain: workload?.domain ?? null,
		node: node ?? null,
	}
}
