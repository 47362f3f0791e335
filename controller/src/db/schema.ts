import type { Mode } from '@ringfence/shared/contract/policy'
import type { Severity } from '@ringfence/shared/contract/telemetry'
import { sql } from 'drizzle-orm'
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'

/** Times are milliseconds since 1970. A `revision` column rises with every write of its row and is its ETag. */
const at = (name: string) => integer(name).notNull()
const count = (name: string) => integer(name).notNull().default(0)
const revision = () => integer('revision').notNull().default(1)

/** Single values: cluster id, signing key, settings, revision counters. `value` is JSON. */
export const settings = sqliteTable('settings', {
	key: text('key').primaryKey(),
	value: text('value', { mode: 'json' }).notNull(),
	revision: revision(),
})

export const users = sqliteTable('users', {
	id: text('id').primaryKey(),
	name: text('name').notNull().unique(),
	passwordHash: text('password_hash').notNull(),
	role: text('role').$type<Role>().notNull(),
	/** Failed sign-ins since the last good one; `lockedUntil` follows from them. */
	failures: count('failures'),
	lockedUntil: integer('locked_until'),
	createdAt: at('created_at'),
	revision: revision(),
})

export type Role = 'viewer' | 'operator' | 'admin'

/** Sign-ins of people. The id is the sha256 of the cookie's secret. */
export const sessions = sqliteTable('sessions', {
	id: text('id').primaryKey(),
	userId: text('user_id')
		.notNull()
		.references(() => users.id, { onDelete: 'cascade' }),
	createdAt: at('created_at'),
	expiresAt: at('expires_at'),
})

/** Keys of programs: `rfk_<id>_<secret>`; only the secret's sha256 is kept. */
export const apiKeys = sqliteTable('api_keys', {
	id: text('id').primaryKey(),
	name: text('name').notNull(),
	secretHash: text('secret_hash').notNull(),
	role: text('role').$type<Role>().notNull(),
	createdAt: at('created_at'),
	expiresAt: integer('expires_at'),
	lastUsedAt: integer('last_used_at'),
	revision: revision(),
})

/** One-time tokens with which agents enrol: `rft_<id>_<secret>`. */
export const enrolTokens = sqliteTable('enrol_tokens', {
	id: text('id').primaryKey(),
	secretHash: text('secret_hash').notNull(),
	createdAt: at('created_at'),
	expiresAt: at('expires_at'),
	usesLeft: integer('uses_left').notNull(),
})

export const nodes = sqliteTable('nodes', {
	id: text('id').primaryKey(),
	name: text('name').notNull(),
	/** Hash of the broker password. */
	secretHash: text('secret_hash').notNull(),
	/** `NodeFacts` of the last hello. */
	facts: text('facts', { mode: 'json' }),
	boot: text('boot'),
	isUp: integer('is_up', { mode: 'boolean' }).notNull().default(false),
	enrolledAt: at('enrolled_at'),
	lastSeenAt: at('last_seen_at'),
	/** Its last hello: everything is published to it again after each. */
	helloAt: integer('hello_at'),
	/** Messages of it that could not be read. */
	rejected: count('rejected'),
	/** Records taken from it whose peer, or whose own workload, stayed unknown. */
	givenUp: count('given_up'),
	/** Newest workloads report taken. */
	workloadsBoot: text('workloads_boot'),
	workloadsRevision: integer('workloads_revision'),
	counters: text('counters', { mode: 'json' }),
	revision: revision(),
})

/** What each node says about each desired document. */
export const nodeDocuments = sqliteTable(
	'node_documents',
	{
		nodeId: text('node_id')
			.notNull()
			.references(() => nodes.id, { onDelete: 'cascade' }),
		document: text('document').notNull(),
		epoch: integer('epoch').notNull(),
		generation: integer('generation').notNull(),
		state: text('state').$type<'applied' | 'rejected'>().notNull(),
		why: text('why'),
		at: at('at'),
	},
	(table) => [primaryKey({ columns: [table.nodeId, table.document] })],
)

/** Last telemetry batch taken of each boot: what makes at-least-once delivery count once. */
export const ingestCursors = sqliteTable(
	'ingest_cursors',
	{
		nodeId: text('node_id').notNull(),
		boot: text('boot').notNull(),
		seq: integer('seq').notNull(),
		/** Batches that the agent gave up before they were taken. */
		lost: count('lost'),
		at: at('at'),
	},
	(table) => [primaryKey({ columns: [table.nodeId, table.boot] })],
)

export const workloads = sqliteTable(
	'workloads',
	{
		id: text('id').primaryKey(),
		nodeId: text('node_id')
			.notNull()
			.references(() => nodes.id, { onDelete: 'cascade' }),
		name: text('name').notNull(),
		runtime: text('runtime').notNull(),
		service: text('service').notNull(),
		domain: text('domain').notNull(),
		image: text('image'),
		labels: text('labels', { mode: 'json' }).$type<Record<string, string>>().notNull(),
		interfaces: text('interfaces', { mode: 'json' }).notNull(),
		/** Its learned group. */
		groupName: text('group_name').notNull(),
		startedAt: at('started_at'),
		firstSeenAt: at('first_seen_at'),
		/** Set when its node stops reporting it; the row stays for the history's sake until it ages out. */
		goneAt: integer('gone_at'),
		revision: revision(),
	},
	(table) => [
		index('workloads_node').on(table.nodeId),
		index('workloads_group').on(table.groupName),
	],
)

/** Addresses in use by running workloads and by nodes: how the other end of a session gets its name. */
export const addresses = sqliteTable(
	'addresses',
	{
		address: text('address').notNull(),
		ownerKind: text('owner_kind').$type<'workload' | 'node'>().notNull(),
		ownerId: text('owner_id').notNull(),
		/** The network it is in, `10.0.0.0/24`: the fleet's networks are the set of these. */
		network: text('network').notNull(),
	},
	(table) => [
		primaryKey({ columns: [table.address, table.ownerKind, table.ownerId] }),
		index('addresses_owner').on(table.ownerKind, table.ownerId),
		index('addresses_network').on(table.network),
	],
)

export const groups = sqliteTable('groups', {
	name: text('name').primaryKey(),
	kind: text('kind').$type<'learned' | 'reserved' | 'custom'>().notNull(),
	/** Learned groups and `nodes` have one; null for all others. */
	mode: text('mode').$type<Mode>(),
	/** Of custom groups: a list of `{key, op, value}`; all must hold for different keys, any for equal keys. */
	criteria: text('criteria', { mode: 'json' }),
	comment: text('comment').notNull().default(''),
	createdAt: at('created_at'),
	/** Since when a learned group has no members; it ages out after `unusedGroupAging`. */
	emptySince: integer('empty_since'),
	revision: revision(),
})

export const rules = sqliteTable(
	'rules',
	{
		id: integer('id').primaryKey({ autoIncrement: true }),
		/** Place in the order; gaps leave room to insert. */
		position: integer('position').notNull(),
		fromGroup: text('from_group').notNull(),
		toGroup: text('to_group').notNull(),
		ports: text('ports', { mode: 'json' }).$type<string[]>().notNull(),
		applications: text('applications', { mode: 'json' }).$type<string[]>().notNull(),
		action: text('action').$type<'allow' | 'deny'>().notNull(),
		isLearned: integer('is_learned', { mode: 'boolean' }).notNull(),
		isEnabled: integer('is_enabled', { mode: 'boolean' }).notNull().default(true),
		comment: text('comment').notNull().default(''),
		createdAt: at('created_at'),
		updatedAt: at('updated_at'),
		revision: revision(),
	},
	(table) => [
		uniqueIndex('rules_position').on(table.position),
		index('rules_ends').on(table.fromGroup, table.toGroup),
	],
)

/**
 * What is kept of all sessions between two endpoints. An endpoint is `workload:<id>`, `node:<id>` or `external:<address>`.
 * Both ends may report the same sessions; each side has its own sums (`c…` as seen at the client, `s…` at the server) and
 * readers take the greater.
 */
export const conversations = sqliteTable(
	'conversations',
	{
		id: integer('id').primaryKey({ autoIncrement: true }),
		client: text('client').notNull(),
		server: text('server').notNull(),
		protocol: integer('protocol').notNull(),
		serverPort: integer('server_port').notNull(),
		/** Empty: unknown. */
		application: text('application').notNull(),
		clientGroup: text('client_group').notNull(),
		serverGroup: text('server_group').notNull(),
		isFinal: integer('is_final', { mode: 'boolean' }).notNull(),
		/** The graver of the two sides' newest. */
		action: text('action').notNull(),
		/** Newest of each side; null until that side reports. */
		cAction: text('c_action'),
		sAction: text('s_action'),
		rule: text('rule'),
		why: text('why').notNull(),
		host: text('host'),
		cSessions: count('c_sessions'),
		cClientPackets: count('c_client_packets'),
		cClientBytes: count('c_client_bytes'),
		cServerPackets: count('c_server_packets'),
		cServerBytes: count('c_server_bytes'),
		sSessions: count('s_sessions'),
		sClientPackets: count('s_client_packets'),
		sClientBytes: count('s_client_bytes'),
		sServerPackets: count('s_server_packets'),
		sServerBytes: count('s_server_bytes'),
		firstAt: at('first_at'),
		lastAt: at('last_at'),
	},
	(table) => [
		uniqueIndex('conversations_key').on(
			table.client,
			table.server,
			table.protocol,
			table.serverPort,
			table.application,
		),
		index('conversations_server').on(table.server),
		index('conversations_last').on(table.lastAt),
		// What is allowed is most of all there is, and needs no index to be found.
		index('conversations_action').on(table.action, table.lastAt).where(sql`action <> 'allow'`),
	],
)

/**
 * Records whose ends have no name yet: the workload, or a peer inside the fleet's networks, was not reported so far.
 * Taken when it is, or given up after half a minute.
 */
export const heldRecords = sqliteTable(
	'held_records',
	{
		id: integer('id').primaryKey({ autoIncrement: true }),
		nodeId: text('node_id')
			.notNull()
			.references(() => nodes.id, { onDelete: 'cascade' }),
		/** `workload:<id>` or `address:<address>`. */
		waitsFor: text('waits_for').notNull(),
		/** `TelemetryRecord` */
		record: text('record', { mode: 'json' }).notNull(),
		heldAt: at('held_at'),
	},
	(table) => [
		index('held_records_waits').on(table.waitsFor),
		index('held_records_at').on(table.heldAt),
	],
)

/** The graph by groups: conversations, each counted once by its greater side, summed at ingest. */
export const edges = sqliteTable(
	'edges',
	{
		clientGroup: text('client_group').notNull(),
		serverGroup: text('server_group').notNull(),
		protocol: integer('protocol').notNull(),
		application: text('application').notNull(),
		/** Only for unknown applications; 0 otherwise. */
		serverPort: integer('server_port').notNull(),
		/** Of the conversations at that time: what was learned first and is allowed since has two rows. */
		action: text('action').notNull(),
		sessions: count('sessions'),
		bytes: count('bytes'),
		firstAt: at('first_at'),
		lastAt: at('last_at'),
	},
	(table) => [
		primaryKey({
			columns: [
				table.clientGroup,
				table.serverGroup,
				table.protocol,
				table.application,
				table.serverPort,
				table.action,
			],
		}),
	],
)

export const events = sqliteTable(
	'events',
	{
		/** Sorts by time of arrival (UUIDv7, RFC 9562 §5.7). */
		id: text('id').primaryKey(),
		kind: text('kind').notNull(),
		name: text('name').notNull(),
		severity: text('severity').$type<Severity>().notNull(),
		at: at('at'),
		lastAt: at('last_at'),
		/** Sessions or occurrences it stands for: the greater of the two sides' sums. */
		count: integer('count').notNull(),
		nodeId: text('node_id'),
		client: text('client'),
		server: text('server'),
		clientGroup: text('client_group'),
		serverGroup: text('server_group'),
		protocol: integer('protocol'),
		serverPort: integer('server_port'),
		application: text('application'),
		why: text('why').notNull(),
		/** Equal keys within a minute are one event. */
		dedupeKey: text('dedupe_key').notNull(),
		/** All else, shaped by kind: names of both ends, sums by side, rule. */
		detail: text('detail', { mode: 'json' }).notNull(),
	},
	(table) => [
		index('events_dedupe').on(table.dedupeKey, table.at),
		index('events_at').on(table.at),
	],
)

export const webhooks = sqliteTable('webhooks', {
	id: text('id').primaryKey(),
	name: text('name').notNull(),
	url: text('url').notNull(),
	/** `whsec_…` (Standard Webhooks): needed to sign, so kept readable; shown once. */
	secret: text('secret').notNull(),
	/** Event kinds it wants; empty for all. */
	kinds: text('kinds', { mode: 'json' }).$type<string[]>().notNull(),
	severityMin: text('severity_min').$type<Severity>().notNull(),
	isEnabled: integer('is_enabled', { mode: 'boolean' }).notNull(),
	/** Why it was switched off by us: 410, or five days of failures. */
	disabledWhy: text('disabled_why'),
	/** Since when every attempt failed; null after a success. */
	failingSince: integer('failing_since'),
	/** Events not queued because too many were waiting already. */
	dropped: count('dropped'),
	createdAt: at('created_at'),
	revision: revision(),
})

/** Deliveries that are due, being tried, done or dead; written in the same transaction as the event. */
export const outbox = sqliteTable(
	'outbox',
	{
		/** The `webhook-id` header: stable over retries. */
		id: text('id').primaryKey(),
		webhookId: text('webhook_id')
			.notNull()
			.references(() => webhooks.id, { onDelete: 'cascade' }),
		eventId: text('event_id').notNull(),
		body: text('body').notNull(),
		state: text('state').$type<'due' | 'delivered' | 'dead'>().notNull(),
		attempts: count('attempts'),
		nextAt: at('next_at'),
		/** A worker has it until then. */
		leasedUntil: integer('leased_until'),
		lastStatus: integer('last_status'),
		lastError: text('last_error'),
		createdAt: at('created_at'),
		deliveredAt: integer('delivered_at'),
	},
	(table) => [
		index('outbox_due').on(table.webhookId, table.nextAt, table.id).where(sql`state = 'due'`),
		index('outbox_leased').on(table.leasedUntil).where(sql`leased_until is not null`),
		index('outbox_created').on(table.createdAt),
		index('outbox_webhook').on(table.webhookId, table.state, table.createdAt),
	],
)

/** Who changed what. */
export const audits = sqliteTable(
	'audits',
	{
		id: text('id').primaryKey(),
		at: at('at'),
		/** `user:<name>`, `key:<id>`, `system`. */
		actor: text('actor').notNull(),
		/** `rule.update` */
		action: text('action').notNull(),
		target: text('target').notNull(),
		before: text('before', { mode: 'json' }),
		after: text('after', { mode: 'json' }),
	},
	(table) => [index('audits_at').on(table.at)],
)
