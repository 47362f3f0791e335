import type { ConversationResource } from '@ringfence/shared/contract/rest'
import type { SessionAction } from '@ringfence/shared/contract/telemetry'
import { and, desc, eq, gte, lt, or, type SQL, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { conversations, nodes, workloads } from '../../db/schema.ts'
import type { Db } from '../../db/store.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'

type Row = typeof conversations.$inferSelect
type Endpoint = ConversationResource['client']

export interface ConversationQuery extends PageRequest {
	readonly group?: string | undefined
	readonly workload?: string | undefined
	/** `unknown` for those that nothing recognised. */
	readonly application?: string | undefined
	readonly action?: SessionAction | undefined
	readonly since?: number | undefined
	readonly sort?: 'id' | 'recent' | undefined
}

/** Newest first by id, which stays in order while traffic goes on; or last seen first. */
export async function listConversations(
	db: Db,
	query: ConversationQuery,
): Promise<Page<ConversationResource>> {
	const isRecent = query.sort === 'recent'
	const { id, lastAt } = conversations
	const rows = await db
		.select()
		.from(conversations)
		.where(and(...filtersOf(query), isRecent ? afterRecent(query.cursor) : afterId(query.cursor)))
		.orderBy(...(isRecent ? [desc(lastAt), desc(id)] : [desc(id)]))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => (isRecent ? [row.lastAt, row.id] : [row.id]))
	const names = await readNames(db, page.items)
	return mapPage(page, (row) => toResource(row, names))
}

function filtersOf(query: ConversationQuery): (SQL | undefined)[] {
	const { clientGroup, serverGroup, client, server, application, action, lastAt } = conversations
	const { group } = query
	const endpoint = query.workload === undefined ? undefined : `workload:${query.workload}`
	const wanted = query.application === 'unknown' ? '' : query.application
	return [
		group === undefined ? undefined : or(eq(clientGroup, group), eq(serverGroup, group)),
		endpoint === undefined ? undefined : or(eq(client, endpoint), eq(server, endpoint)),
		wanted === undefined ? undefined : eq(application, wanted),
		query.action === undefined ? undefined : eq(action, query.action),
		// Says in so many words that the partial index will do.
		query.action === undefined || query.action === 'allow' ? undefined : sql`action <> 'allow'`,
		query.since === undefined ? undefined : gte(lastAt, query.since),
	]
}

function afterId(cursor: string | undefined): SQL | undefined {
	const [id] = readCursor(cursor, ['number']) ?? []
	return id === undefined ? undefined : lt(conversations.id, Number(id))
}

function afterRecent(cursor: string | undefined): SQL | undefined {
	const [lastAt, id] = readCursor(cursor, ['number', 'number']) ?? []
	if (lastAt === undefined || id === undefined) return undefined
	return or(
		lt(conversations.lastAt, Number(lastAt)),
		and(eq(conversations.lastAt, Number(lastAt)), lt(conversations.id, Number(id))),
	)
}

/** Names of the fleet's own endpoints, by `workload:<id>` and `node:<id>`. */
async function readNames(db: Db, rows: readonly Row[]): Promise<ReadonlyMap<string, string>> {
	const ends = new Set(rows.flatMap((row) => [row.client, row.server]))
	const idsOf = (kind: string) =>
		jsonList([...ends].filter((end) => end.startsWith(kind)).map((end) => end.slice(kind.length)))
	const ofWorkloads = await db
		.select({ id: workloads.id, name: workloads.name })
		.from(workloads)
		.where(sql`${workloads.id} in ${idsOf('workload:')}`)
	const ofNodes = await db
		.select({ id: nodes.id, name: nodes.name })
		.from(nodes)
		.where(sql`${nodes.id} in ${idsOf('node:')}`)
	return new Map([
		...ofWorkloads.map(({ id, name }) => [`workload:${id}`, name] as const),
		...ofNodes.map(({ id, name }) => [`node:${id}`, name] as const),
	])
}

/** Both ends may have counted: the greater sum stands. */
function toResource(row: Row, names: ReadonlyMap<string, string>): ConversationResource {
	const { id, protocol, serverPort, isFinal, action, rule, why, host, firstAt, lastAt } = row
	return {
		id,
		client: toEndpoint(row.client, row.clientGroup, names),
		server: toEndpoint(row.server, row.serverGroup, names),
		protocol,
		serverPort,
		application: row.application || null,
		isFinal,
		action,
		rule,
		why,
		host,
		sessions: Math.max(row.cSessions, row.sSessions),
		clientPackets: Math.max(row.cClientPackets, row.sClientPackets),
		clientBytes: Math.max(row.cClientBytes, row.sClientBytes),
		serverPackets: Math.max(row.cServerPackets, row.sServerPackets),
		serverBytes: Math.max(row.cServerBytes, row.sServerBytes),
		firstAt,
		lastAt,
	}
}

function toEndpoint(id: string, group: string, names: ReadonlyMap<string, string>): Endpoint {
	const colon = id.indexOf(':')
	const kind = id.slice(0, colon)
	const own = id.slice(colon + 1)
	if (kind !== 'workload' && kind !== 'node') return { id, kind: 'external', name: own, group }
	return { id, kind, name: names.get(id) ?? own, group }
}
