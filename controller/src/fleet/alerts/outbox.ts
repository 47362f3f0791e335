import { SEVERITIES, type Severity } from '@ringfence/shared/contract/telemetry'
import { and, asc, count, eq, gt, inArray, lte, type SQL, sql } from 'drizzle-orm'
import { outbox, webhooks } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'
import { attempt, nextAttemptAt, type Outcome } from '../attempt.ts'
import { recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { timeOrderedId } from '../secrets.ts'
import type { EventRow } from '../work.ts'

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
 * Queues events for every webhook that wants them; call it in the transaction that writes the events, and
 * `changes.outboxChanged()` after the commit. Looks at each queue once, however many events there are.
 * @returns how many deliveries were queued
 */
export async function enqueueDeliveries(
	tx: Tx,
	events: readonly EventRow[],
	now: number,
): Promise<number> {
	if (events.length === 0) return 0
	const enabled = await tx.select().from(webhooks).where(eq(webhooks.isEnabled, true))
	let queued = 0
	for (const webhook of enabled) {
		const wanted = events.filter((event) => isWanted(webhook, event))
		if (wanted.length > 0) queued += await queueWithin(tx, webhook.id, wanted, now)
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
	const running = new Set<Promise<void>>()
	const failures: unknown[] = []
	for (;;) {
		const claimed = failures.length === 0 ? await claim(fleet) : []
		for (const one of claimed) {
			const attempted: Promise<void> = deliver(fleet, one)
				.catch((error: unknown) => void failures.push(error))
				.finally(() => running.delete(attempted))
			running.add(attempted)
		}
		if (running.size === 0) break
		// Each end of an attempt may make another possible, so a slow receiver holds up no other.
		await Promise.race(running)
	}
	// What could not be written down is tried again, under the same id, when its lease has ended.
	if (failures.length > 0) throw failures[0]
	return nextDue(fleet)
}

async function deliver(fleet: Fleet, claimed: Claimed): Promise<void> {
	const outcome = await attempt(claimed.webhook, claimed.delivery, fleet.clock.now())
	await recordOutcome(fleet, claimed, outcome)
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

/** Deliveries that ended before `until`, and those that waited for a disabled webhook all that time: nobody misses them. */
export function isForgotten(until: number): SQL {
	return sql`created_at <= ${until} and (state <> 'due' or webhook_id in
		(select id from webhooks where is_enabled = 0))`
}

function isWanted(webhook: typeof webhooks.$inferSelect, event: EventRow): boolean {
	if (rank(event.severity) < rank(webhook.severityMin)) return false
	return webhook.kinds.length === 0 || webhook.kinds.includes(event.kind)
}

function rank(severity: Severity): number {
	return SEVERITIES.indexOf(severity)
}

/** @returns how many there was room for; the rest is counted as dropped */
async function queueWithin(
	tx: Tx,
	webhookId: string,
	events: readonly EventRow[],
	now: number,
): Promise<number> {
	const waiting = await tx.$count(
		outbox,
		and(eq(outbox.webhookId, webhookId), eq(outbox.state, 'due')),
	)
	const taken = events.slice(0, Math.max(DUE_MAX - waiting, 0))
	for (const event of taken) {
		const type = TYPES[event.kind] ?? `event.${event.kind}`
		const data = dataOf(event)
		await queueMessage(tx, { webhookId, eventId: event.id, type, at: event.at, now, data })
	}
	const dropped = events.length - taken.length
	if (dropped > 0) {
		await tx
			.update(webhooks)
			.set({ dropped: sql`${webhooks.dropped} + ${dropped}` })
			.where(eq(webhooks.id, webhookId))
	}
	return taken.length
}

/** Takes what is due, oldest first, and leaves each webhook its number of attempts at a time. */
async function claim(fleet: Fleet): Promise<Claimed[]> {
	const now = fleet.clock.now()
	return fleet.store.write(async (tx) => {
		const leased = await readLeased(tx, now)
		const claimed: Claimed[] = []
		for (const webhook of await tx.select().from(webhooks).where(eq(webhooks.isEnabled, true))) {
			const free = CONCURRENT_MAX - (leased.get(webhook.id)?.count ?? 0)
			if (free <= 0) continue
			const deliveries = await tx
				.select()
				.from(outbox)
				.where(and(isFree(webhook.id, now), lte(outbox.nextAt, now)))
				.orderBy(asc(outbox.nextAt), asc(outbox.id))
				.limit(free)
			claimed.push(...deliveries.map((delivery) => ({ delivery, webhook })))
		}
		if (claimed.length === 0) return []
		const ids = claimed.map(({ delivery }) => delivery.id)
		await tx
			.update(outbox)
			.set({ leasedUntil: now + LEASE_MS })
			.where(inArray(outbox.id, ids))
		return claimed
	})
}

/** Due and with nobody: what the index `outbox_due` holds in order. */
function isFree(webhookId: string, now: number): SQL | undefined {
	return and(
		eq(outbox.webhookId, webhookId),
		sql`${outbox.state} = 'due'`,
		sql`coalesce(${outbox.leasedUntil}, 0) <= ${now}`,
	)
}

/** Attempts under way by webhook, and when the first of their leases ends. */
async function readLeased(
	db: Db | Tx,
	now: number,
): Promise<ReadonlyMap<string, { readonly count: number; readonly until: number }>> {
	const rows = await db
		.select({
			id: outbox.webhookId,
			count: count(),
			until: sql<number>`min(${outbox.leasedUntil})`,
		})
		.from(outbox)
		.where(gt(outbox.leasedUntil, now))
		.groupBy(outbox.webhookId)
	return new Map(rows.map(({ id, ...leases }) => [id, leases]))
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
async function nextDue({ store, clock }: Fleet): Promise<number | undefined> {
	const now = clock.now()
	const { db } = store
	const leased = await readLeased(db, now)
	const enabled = await db
		.select({ id: webhooks.id })
		.from(webhooks)
		.where(eq(webhooks.isEnabled, true))
	const times: number[] = []
	for (const { id } of enabled) {
		const its = leased.get(id)
		if (its) times.push(its.until)
		if (its && its.count >= CONCURRENT_MAX) continue
		const [first] = await db
			.select({ nextAt: outbox.nextAt })
			.from(outbox)
			.where(isFree(id, now))
			.orderBy(asc(outbox.nextAt))
			.limit(1)
		if (first) times.push(first.nextAt)
	}
	return times.length > 0 ? Math.min(...times) : undefined
}

/** The event without what is only for us; without its detail too when that is large. */
function dataOf({ dedupeKey: _, ...event }: EventRow): unknown {
	if (JSON.stringify(event).length <= BODY_CHARS_MAX) return event
	const { detail: __, ...small } = event
	return { ...small, isDetailOmitted: true }
}
