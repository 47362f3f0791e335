import type { ConversationRecord, SessionAction } from '@ringfence/shared/contract/telemetry'
import { sql } from 'drizzle-orm'
import type { Tx } from '../../db/store.ts'
import type { Work } from '../work.ts'
import { adoptNames, type NamedConversation } from './conversation-names.ts'

/** Integers beyond are no exact numbers any more; a sum that gets there stays there. */
const SUM_MAX = Number.MAX_SAFE_INTEGER

/** How grave an action is, least first: the graver of two sides is shown. */
const GRAVITY: readonly string[] = [
	'allow',
	'learn',
	'pending',
	'open',
	'violate',
	'deny',
] satisfies SessionAction[]

/** The gravest of some actions. */
export function gravest(actions: Iterable<string>): string {
	let worst = 'allow'
	for (const action of actions) if (GRAVITY.indexOf(action) > GRAVITY.indexOf(worst)) worst = action
	return worst
}

/** Sessions, client packets and bytes, server packets and bytes, as one side has seen them. */
type Sums = [number, number, number, number, number]

interface Row {
	/** Absent: not in the database yet. */
	readonly id: number | undefined
	readonly client: string
	readonly server: string
	readonly protocol: number
	readonly serverPort: number
	readonly application: string
	clientGroup: string
	serverGroup: string
	isFinal: boolean
	action: string
	cAction: string | null
	sAction: string | null
	rule: string | null
	why: string
	host: string | null
	readonly c: Sums
	readonly s: Sums
	firstAt: number
	lastAt: number
}

interface EdgeSum {
	readonly key: readonly (string | number)[]
	sessions: number
	bytes: number
	firstAt: number
	lastAt: number
}

/**
 * Adds records to their conversations, and to the edges what the greater side of each conversation rose by, so that a
 * session that both ends report counts once. Reads and writes all rows of a batch with one statement each
 * (`json_each`: five times the rate of single statements).
 */
export async function addConversations(
	{ tx, now }: Work,
	named: readonly NamedConversation[],
): Promise<void> {
	if (named.length === 0) return
	const records = await adoptNames(tx, named)
	const rows = await readRows(tx, records)
	const edges = new Map<string, EdgeSum>()
	for (const one of records) {
		const key = keyOf(one)
		const row = rows.get(key) ?? emptyRow(one, now)
		rows.set(key, row)
		const before = greater(row)
		addSums(row, one.record, now)
		if (!one.isAdopted) takeVerdict(row, one)
		addToEdge(edges, row, { before, now: greater(row) })
	}
	const all = [...rows.values()]
	await insertRows(
		tx,
		all.filter((row) => row.id === undefined),
	)
	await updateRows(
		tx,
		all.filter((row) => row.id !== undefined),
	)
	await writeEdges(tx, [...edges.values()])
}

function keyOf({ record, client, server }: NamedConversation): string {
	return JSON.stringify([
		client.endpoint,
		server.endpoint,
		record.protocol,
		record.serverPort,
		record.application ?? '',
	])
}

async function readRows(tx: Tx, records: readonly NamedConversation[]): Promise<Map<string, Row>> {
	const keys = [...new Set(records.map(keyOf))]
	// One cell of JSON for all: the driver spends a microsecond on every cell, JSON.parse far less.
	const [found] = await tx.all<{ rows: string }>(sql`
		select json_group_array(json_array(${sql.raw(READ.map((name) => `c.${name}`).join(', '))})) as rows
		from json_each(${`[${keys.join(',')}]`}) as k
		cross join conversations as c on c.client = k.value->>0 and c.server = k.value->>1
			and c.protocol = k.value->>2 and c.server_port = k.value->>3 and c.application = k.value->>4`)
	const rows = (JSON.parse(found?.rows ?? '[]') as Raw[]).map(fromRaw)
	return new Map(
		rows.map((row) => {
			const { client, server, protocol, serverPort, application } = row
			return [JSON.stringify([client, server, protocol, serverPort, application]), row]
		}),
	)
}

/** A row as `READ` orders its columns. */
type Raw = [
	...[id: number, client: string, server: string, protocol: number, serverPort: number],
	...[application: string, clientGroup: string, serverGroup: string, isFinal: 0 | 1],
	...[action: string, cAction: string | null, sAction: string | null],
	...[rule: string | null, why: string, host: string | null],
	...Tail,
]

function fromRaw(raw: Raw): Row {
	const [id, client, server, protocol, serverPort, application, clientGroup, serverGroup] = raw
	const [, , , , , , , , isFinal, action, cAction, sAction, rule, why, host] = raw
	const [c1, c2, c3, c4, c5, s1, s2, s3, s4, s5, firstAt, lastAt] = raw.slice(15) as Tail
	return {
		...{ id, client, server, protocol, serverPort, application, clientGroup, serverGroup },
		...{ action, cAction, sAction, rule, why, host, firstAt, lastAt },
		isFinal: isFinal === 1,
		c: [c1, c2, c3, c4, c5],
		s: [s1, s2, s3, s4, s5],
	}
}

type Tail = [...Sums, ...Sums, firstAt: number, lastAt: number]

function emptyRow({ record, client, server }: NamedConversation, now: number): Row {
	return {
		id: undefined,
		client: client.endpoint,
		server: server.endpoint,
		protocol: record.protocol,
		serverPort: record.serverPort,
		application: record.application ?? '',
		clientGroup: client.group,
		serverGroup: server.group,
		isFinal: false,
		action: record.action,
		cAction: null,
		sAction: null,
		rule: null,
		why: record.why,
		host: null,
		c: [0, 0, 0, 0, 0],
		s: [0, 0, 0, 0, 0],
		firstAt: Math.min(record.firstAt, now),
		lastAt: 0,
	}
}

function addSums(row: Row, record: ConversationRecord, now: number): void {
	const sums = record.side === 'client' ? row.c : row.s
	const { sessions, clientPackets, clientBytes, serverPackets, serverBytes } = record
	const increments: Sums = [sessions, clientPackets, clientBytes, serverPackets, serverBytes]
	for (const [index, increment] of increments.entries()) {
		sums[index] = addBounded(sums[index] ?? 0, increment)
	}
	// An agent whose clock is ahead must not make rows that never age.
	row.firstAt = Math.min(row.firstAt, record.firstAt, now)
	row.lastAt = Math.max(row.lastAt, Math.min(record.lastAt, now))
}

function takeVerdict(row: Row, { record, client, server }: NamedConversation): void {
	if (record.side === 'client') row.cAction = record.action
	else row.sAction = record.action
	const action = gravest([row.cAction ?? 'allow', row.sAction ?? 'allow'])
	// The other side's graver action keeps its reason.
	if (action === record.action || action !== row.action) {
		row.rule = record.rule ?? null
		row.why = record.why
	}
	row.action = action
	row.clientGroup = client.group
	row.serverGroup = server.group
	row.isFinal ||= record.isFinal
	row.host = record.host ?? row.host
}

/** What readers show: of each sum the greater side. */
function greater({ c, s }: Row): { readonly sessions: number; readonly bytes: number } {
	const max = (index: 0 | 2 | 4) => Math.max(c[index], s[index])
	return { sessions: max(0), bytes: addBounded(max(2), max(4)) }
}

function addToEdge(
	edges: Map<string, EdgeSum>,
	row: Row,
	sums: { before: ReturnType<typeof greater>; now: ReturnType<typeof greater> },
): void {
	const port = row.application === '' ? row.serverPort : 0
	const key = [row.clientGroup, row.serverGroup, row.protocol, row.application, port, row.action]
	const text = JSON.stringify(key)
	const edge = edges.get(text) ?? { key, sessions: 0, bytes: 0, firstAt: row.firstAt, lastAt: 0 }
	edges.set(text, edge)
	edge.sessions = addBounded(edge.sessions, sums.now.sessions - sums.before.sessions)
	edge.bytes = addBounded(edge.bytes, sums.now.bytes - sums.before.bytes)
	edge.firstAt = Math.min(edge.firstAt, row.firstAt)
	edge.lastAt = Math.max(edge.lastAt, row.lastAt)
}

/** What changes in a row, in the order of the statements below. */
function changing(row: Row) {
	const { clientGroup, serverGroup, action, cAction, sAction, rule, why, host } = row
	const isFinal = row.isFinal ? 1 : 0
	const head = [clientGroup, serverGroup, isFinal, action, cAction, sAction, rule, why, host]
	return [...head, ...row.c, ...row.s, row.firstAt, row.lastAt]
}

const CHANGING = [
	...['client_group', 'server_group', 'is_final', 'action', 'c_action', 's_action'],
	...['rule', 'why', 'host'],
	...['c_sessions', 'c_client_packets', 'c_client_bytes', 'c_server_packets', 'c_server_bytes'],
	...['s_sessions', 's_client_packets', 's_client_bytes', 's_server_packets', 's_server_bytes'],
	...['first_at', 'last_at'],
]

const INSERTED = ['client', 'server', 'protocol', 'server_port', 'application', ...CHANGING]

const READ = ['id', ...INSERTED]

async function insertRows(tx: Tx, rows: readonly Row[]): Promise<void> {
	if (rows.length === 0) return
	const values = rows.map((row) => [
		row.client,
		row.server,
		row.protocol,
		row.serverPort,
		row.application,
		...changing(row),
	])
	const columns = INSERTED.map((_, index) => `value->>${index}`).join(', ')
	await tx.run(
		sql`insert into conversations (${sql.raw(INSERTED.join(', '))})
			select ${sql.raw(columns)} from json_each(${JSON.stringify(values)})`,
	)
}

async function updateRows(tx: Tx, rows: readonly Row[]): Promise<void> {
	if (rows.length === 0) return
	const values = rows.map((row) => [row.id, ...changing(row)])
	const columns = CHANGING.map((name, index) => `${name} = k.value->>${index + 1}`).join(', ')
	await tx.run(
		sql`update conversations set ${sql.raw(columns)} from json_each(${JSON.stringify(values)}) as k
			where conversations.id = k.value->>0`,
	)
}

async function writeEdges(tx: Tx, edges: readonly EdgeSum[]): Promise<void> {
	const values = edges.map(({ key, sessions, bytes, firstAt, lastAt }) => [
		...key,
		sessions,
		bytes,
		firstAt,
		lastAt,
	])
	await tx.run(sql`
		insert into edges (client_group, server_group, protocol, application, server_port, action,
			sessions, bytes, first_at, last_at)
		select value->>0, value->>1, value->>2, value->>3, value->>4, value->>5,
			value->>6, value->>7, value->>8, value->>9
		from json_each(${JSON.stringify(values)}) where true
		on conflict do update set
			sessions = min(sessions + excluded.sessions, ${SUM_MAX}),
			bytes = min(bytes + excluded.bytes, ${SUM_MAX}),
			first_at = min(first_at, excluded.first_at),
			last_at = max(last_at, excluded.last_at)`)
}

/** Adds counts; used for all that others report, so that no sum outgrows what a number can say. */
export function addBounded(a: number, b: number): number {
	return Math.min(a + b, SUM_MAX)
}
