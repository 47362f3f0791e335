import { SEVERITIES, type Severity } from '@ringfence/shared/contract/telemetry'
import { and, count, eq, inArray, lte, sql } from 'drizzle-orm'
import { outbox, webhooks } from '../db/schema.ts'
import type { Tx } from '../db/store.ts'
import { attempt, nextAttemptAt, type Outcome } from './attempt.ts'
import { recordAudit } from './audits.ts'
import type { Fleet } from './fleet.ts'
import { timeOrderedId } from './secrets.ts'
import type { EventRow } from './work.ts'

type OutboxRow = typeof outbox.$inferSelect

/** Deliveries that may wait for one webhook: beyond, events are dropped for it and counted in `webhooks.dropped`. */
export const DUE_MAX = 10_000

/** Attempts at one webhook at a time, over all controllers. */
const CONCURRENT_MAX = 4

/** An attempt that does not end within its lease (its controller died) is made again. */
const LEASE_MS = 60_000

/** A webhook that failed for that long is switched off (Standard Webhooks: "disable the endpoint"). */
const FAILING_MS_MAX = 5 * 86_400_000

/** Standard Webhooks: "payloads should be kept small", under 20 kB. */
const BODY_CHARS_MAX = 20_000

/**
 * Message types by event kind (Standard Webhooks: hierarchical, dot-separated); any other kind is `event.<kind>`.
 */
const TYPES: Readonly<Record<string, string>> = {
	violation: 'network.violation',
	threat: 'network.threat',
	incident: 'host.incident',
	agent: 'node.notice',
	node: 'node.notice',
}

/**
 * Queues an event for every webhook that wants it; call it in the transaction that writes the event, and
 * `changes.outboxChanged()` after the commit.
 * @returns how many were queued
 */
export async function enqueueDeliveries(tx: Tx, event: EventRow, now: number): Promise<number> {
	const enabled = await tx.select().from(webhooks).where(eq(webhooks.isEnabled, true))
	let queued = 0
	for (const webhook of enabled.filter((candidate) => isWanted(candidate, event))) {
		const isQueued = await queueWithin(tx, webhook.id, event, now)
		if (isQueued) queued++
	}
	return queued
}

type Webhook = typeof webhooks.$inferSelect

interface Claimed {
	readonly delivery: OutboxRow
	readonly webhook: Webhook
}

/**
 * Tries all deliveries that are due, and those that become due meanwhile. Calls may overlap, here and in other
 * controllers: a lease keeps each delivery with one of them, so call it on every change without waiting for a call
 * that waits for a slow receiver.
 * @returns when the next one is due; undefined when none waits
 */
export async function deliverDue(fleet: Fleet): Promise<number | undefined> {
	await deliverClaimed(fleet)
	return nextDue(fleet)
}

/** Each end of an attempt claims what has become possible, so that a slow receiver holds up no other. */
async function deliverClaimed(fleet: Fleet): Promise<void> {
	const claimed = await claim(fleet)
	await Promise.all(
		claimed.map(async (one) => {
			const outcome = await attempt(one.webhook, one.delivery, fleet.clock.now())
			await recordOutcome(fleet, one, outcome)
			await deliverClaimed(fleet)
		}),
	)
}

export interface Message {
	readonly webhookId: string
	/** Empty for a ping. */
	readonly eventId: string
	readonly type: string
	/** When that happened which it tells. */
	readonly at: number
	readonly now: number
	readonly data: unknown
}

/** Queues one message, due at once. */
export async function queueMessage(tx: Tx, message: Message): Promise<OutboxRow> {
	const { webhookId, eventId, type, now, data } = message
	const body = JSON.stringify({ type, timestamp: new Date(message.at).toISOString(), data })
	const row = { id: `msg_${timeOrderedId(now)}`, webhookId, eventId, body, state: 'due' as const }
	const [made] = await tx
		.insert(outbox)
		.values({ ...row, nextAt: now, createdAt: now })
		.returning()
	if (!made) throw new Error('an insert returned no row')
	return made
}

/** Forgets deliveries that ended before `until`, and those that waited for a disabled webhook all that time. */
export async function pruneOutbox(tx: Tx, until: number): Promise<number> {
	const { rowsAffected } = await tx.delete(outbox).where(
		and(
			lte(outbox.createdAt, until),
			sql`(${outbox.state} <> 'due' or ${outbox.webhookId} in (
					select ${webhooks.id} from ${webhooks} where ${webhooks.isEnabled} = 0))`,
		),
	)
	return rowsAffected
}

function isWanted(webhook: typeof webhooks.$inferSelect, event: EventRow): boolean {
	if (rank(event.severity) < rank(webhook.severityMin)) return false
	return webhook.kinds.length === 0 || webhook.kinds.includes(event.kind)
}

function rank(severity: Severity): number {
	return SEVERITIES.indexOf(severity)
}

async function queueWithin(
	tx: Tx,
	webhookId: string,
	event: EventRow,
	now: number,
): Promise<boolean> {
	const [waiting] = await tx
		.select({ due: count() })
		.from(outbox)
		.where(and(eq(outbox.webhookId, webhookId), eq(outbox.state, 'due')))
	if (waiting && waiting.due >= DUE_MAX) {
		await tx
			.update(webhooks)
			.set({ dropped: sql`${webhooks.dropped} + 1` })
			.where(eq(webhooks.id, webhookId))
		return false
	}
	const type = TYPES[event.kind] ?? `event.${event.kind}`
	const data = dataOf(event)
	await queueMessage(tx, { webhookId, eventId: event.id, type, at: event.at, now, data })
	return true
}

/** Takes what is due and leaves each webhook its number of attempts at a time. */
async function claim(fleet: Fleet): Promise<Claimed[]> {
	const now = fleet.clock.now()
	return fleet.store.write(async (tx) => {
		const ids = await tx.all<{ id: string }>(sql`
			select id from (
				select o.id, o.next_at,
					row_number() over (partition by o.webhook_id order by o.next_at, o.id) as place,
					(select count(*) from outbox as l
						where l.webhook_id = o.webhook_id and l.state = 'due' and l.leased_until > ${now}) as busy
				from outbox as o join webhooks as w on w.id = o.webhook_id
				where o.state = 'due' and o.next_at <= ${now} and coalesce(o.leased_until, 0) <= ${now}
					and w.is_enabled = 1
			) where place + busy <= ${CONCURRENT_MAX} order by next_at`)
		if (ids.length === 0) return []
		const claimed = inArray(
			outbox.id,
			ids.map(({ id }) => id),
		)
		await tx
			.update(outbox)
			.set({ leasedUntil: now + LEASE_MS })
			.where(claimed)
		const rows = await tx
			.select()
			.from(outbox)
			.innerJoin(webhooks, eq(webhooks.id, outbox.webhookId))
			.where(claimed)
		return rows.map((row) => ({ delivery: row.outbox, webhook: row.webhooks }))
	})
}

async function recordOutcome(
	fleet: Fleet,
	{ delivery, webhook }: Claimed,
	outcome: Outcome,
): Promise<void> {
	const now = fleet.clock.now()
	const attempts = delivery.attempts + 1
	const { status, error } = outcome
	const tried = {
		attempts,
		lastStatus: status ?? null,
		lastError: error ?? null,
		leasedUntil: null,
	}
	await fleet.store.write(async (tx) => {
		const its = eq(outbox.id, delivery.id)
		if (outcome.kind === 'delivered') {
			const done = { state: 'delivered' as const, deliveredAt: now }
			await tx
				.update(outbox)
				.set({ ...tried, ...done })
				.where(its)
			await tx.update(webhooks).set({ failingSince: null }).where(eq(webhooks.id, webhook.id))
			return
		}
		const nextAt = outcome.kind === 'gone' ? undefined : nextAttemptAt(attempts, now, outcome)
		const next = nextAt === undefined ? { state: 'dead' as const } : { nextAt }
		await tx
			.update(outbox)
			.set({ ...tried, ...next })
			.where(its)
		await recordFailure(tx, webhook, { now, isGone: outcome.kind === 'gone' })
	})
	if (outcome.kind !== 'delivered') {
		const fields = { webhook: webhook.id, delivery: delivery.id, attempts, status, error }
		fleet.log('warn', 'webhook attempt failed', fields)
	}
}

async function recordFailure(
	tx: Tx,
	{ id }: Webhook,
	{ now, isGone }: { readonly now: number; readonly isGone: boolean },
): Promise<void> {
	const [webhook] = await tx.select().from(webhooks).where(eq(webhooks.id, id))
	if (!webhook) return
	const failingSince = webhook.failingSince ?? now
	await tx.update(webhooks).set({ failingSince }).where(eq(webhooks.id, id))
	const isHopeless = now - failingSince >= FAILING_MS_MAX
	if (!webhook.isEnabled || (!isGone && !isHopeless)) return
	const disabledWhy = isGone ? 'The receiver answered 410 Gone.' : 'It failed for five days.'
	const revision = webhook.revision + 1
	await tx
		.update(webhooks)
		.set({ isEnabled: false, disabledWhy, revision })
		.where(eq(webhooks.id, id))
	await recordAudit(
		tx,
		{ actor: 'system', now },
		{ action: 'webhook.disable', target: `webhook:${id}`, after: { disabledWhy } },
	)
}

/** The first moment at which `claim` finds something, as things stand. */
async function nextDue(fleet: Fleet): Promise<number | undefined> {
	const now = fleet.clock.now()
	const rows = await fleet.store.db.all<{
		leased: number
		lease: number | null
		free: number | null
	}>(
		sql`select
				count(case when o.leased_until > ${now} then 1 end) as leased,
				min(case when o.leased_until > ${now} then o.leased_until end) as lease,
				min(case when coalesce(o.leased_until, 0) <= ${now} then o.next_at end) as free
			from outbox as o join webhooks as w on w.id = o.webhook_id
			where o.state = 'due' and w.is_enabled = 1 group by o.webhook_id`,
	)
	const times = rows.flatMap(({ leased, lease, free }) =>
		(leased >= CONCURRENT_MAX ? [lease] : [lease, free]).filter((time) => time !== null),
	)
	return times.length > 0 ? Math.min(...times) : undefined
}

/** The event without what is only for us; without its detail too when that is large. */
function dataOf({ dedupeKey: _, ...event }: EventRow): unknown {
	if (JSON.stringify(event).length <= BODY_CHARS_MAX) return event
	const { detail: __, ...small } = event
	return { ...small, isDetailOmitted: true }
}
