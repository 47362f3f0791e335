import type {
	DeliveryResource,
	WebhookCreate,
	WebhookPatch,
	WebhookResource,
} from '@ringfence/shared/contract/rest'
import { and, asc, count, desc, eq, gt, lt, or } from 'drizzle-orm'
import { outbox, webhooks } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'
import { type Act, recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { type Expected, Refusal, requireRow } from '../refusal.ts'
import { randomId, toBase64 } from '../secrets.ts'
import { queueMessage } from './outbox.ts'

/** Each event is matched against every webhook. */
const WEBHOOKS_MAX = 100

/** Standard Webhooks: 24 to 64 bytes. */
const SECRET_BYTES = 32

type Webhook = typeof webhooks.$inferSelect

/** By id. */
export async function listWebhooks(db: Db, query: PageRequest): Promise<Page<WebhookResource>> {
	const [id] = readCursor(query.cursor, ['string']) ?? []
	const rows = await db
		.select()
		.from(webhooks)
		.where(id === undefined ? undefined : gt(webhooks.id, String(id)))
		.orderBy(asc(webhooks.id))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => [row.id])
	return mapPage(page, toResource)
}

export async function getWebhook(db: Db, id: string): Promise<WebhookResource> {
	const [row] = await db.select().from(webhooks).where(eq(webhooks.id, id))
	return toResource(requireRow(row, 'webhook', '*'))
}

/** @returns the secret too, which nobody can read again */
export async function createWebhook(
	fleet: Fleet,
	act: Act,
	fields: WebhookCreate,
): Promise<WebhookResource & { secret: string }> {
	const secret = `whsec_${toBase64(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)))}`
	return fleet.store.write(async (tx) => {
		const [present] = await tx.select({ webhooks: count() }).from(webhooks)
		if (present && present.webhooks >= WEBHOOKS_MAX) {
			throw new Refusal('conflict', `There are ${WEBHOOKS_MAX} webhooks already.`)
		}
		const [row] = await tx
			.insert(webhooks)
			.values({ ...fields, id: randomId(), secret, createdAt: act.now })
			.returning()
		const after = toResource(requireRow(row, 'webhook', '*'))
		await recordAudit(tx, act, { action: 'webhook.create', target: `webhook:${after.id}`, after })
		return { ...after, secret }
	})
}

interface Target {
	readonly id: string
	readonly expected: Expected
}

/** Changes a webhook; switching it on again forgets why it was off. */
export async function patchWebhook(
	fleet: Fleet,
	act: Act,
	{ id, expected }: Target,
	patch: WebhookPatch,
): Promise<WebhookResource> {
	const after = await fleet.store.write(async (tx) => {
		const before = await loadWebhook(tx, id, expected)
		const fresh = patch.isEnabled === true && { disabledWhy: null, failingSince: null }
		const [row] = await tx
			.update(webhooks)
			.set({ ...patch, ...fresh, revision: before.revision + 1 })
			.where(eq(webhooks.id, id))
			.returning()
		const after = toResource(requireRow(row, 'webhook', '*'))
		const audit = { action: 'webhook.update', target: `webhook:${id}` }
		await recordAudit(tx, act, { ...audit, before: toResource(before), after })
		return after
	})
	fleet.changes.outboxChanged()
	return after
}

/** Removes a webhook with all its deliveries. */
export async function deleteWebhook(
	fleet: Fleet,
	act: Act,
	{ id, expected }: Target,
): Promise<void> {
	await fleet.store.write(async (tx) => {
		const before = toResource(await loadWebhook(tx, id, expected))
		await tx.delete(webhooks).where(eq(webhooks.id, id))
		await recordAudit(tx, act, { action: 'webhook.delete', target: `webhook:${id}`, before })
	})
}

/** Queues a message of type `webhook.ping`, whatever the webhook's filters say. */
export async function pingWebhook(fleet: Fleet, act: Act, id: string): Promise<DeliveryResource> {
	const delivery = await fleet.store.write(async (tx) => {
		const webhook = await loadWebhook(tx, id, '*')
		if (!webhook.isEnabled) throw new Refusal('conflict', 'The webhook is switched off.')
		const data = { webhook: webhook.name, actor: act.actor }
		const row = await queueMessage(tx, {
			webhookId: id,
			eventId: '',
			type: 'webhook.ping',
			at: act.now,
			now: act.now,
			data,
		})
		await recordAudit(tx, act, { action: 'webhook.ping', target: `webhook:${id}` })
		return toDelivery(row)
	})
	fleet.changes.outboxChanged()
	return delivery
}

export interface DeliveryQuery extends PageRequest {
	readonly state?: DeliveryResource['state'] | undefined
}

/** Deliveries of one webhook, newest first. */
export async function listDeliveries(
	db: Db,
	webhookId: string,
	query: DeliveryQuery,
): Promise<Page<DeliveryResource>> {
	await getWebhook(db, webhookId)
	const [createdAt, id] = readCursor(query.cursor, ['number', 'string']) ?? []
	const after =
		createdAt === undefined || id === undefined
			? undefined
			: or(
					lt(outbox.createdAt, Number(createdAt)),
					and(eq(outbox.createdAt, Number(createdAt)), lt(outbox.id, String(id))),
				)
	const rows = await db
		.select()
		.from(outbox)
		.where(
			and(
				eq(outbox.webhookId, webhookId),
				query.state === undefined ? undefined : eq(outbox.state, query.state),
				after,
			),
		)
		.orderBy(desc(outbox.createdAt), desc(outbox.id))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => [row.createdAt, row.id])
	return mapPage(page, toDelivery)
}

/** Starts a dead delivery's attempts over; its `webhook-id` stays the same. */
export async function replayDelivery(
	fleet: Fleet,
	act: Act,
	{ webhookId, id }: { readonly webhookId: string; readonly id: string },
): Promise<DeliveryResource> {
	const delivery = await fleet.store.write(async (tx) => {
		const its = and(eq(outbox.id, id), eq(outbox.webhookId, webhookId))
		const [before] = await tx.select().from(outbox).where(its)
		if (!before) throw new Refusal('not-found', 'There is no such delivery.')
		if (before.state !== 'dead') throw new Refusal('conflict', 'The delivery is not dead.')
		const [row] = await tx
			.update(outbox)
			.set({ state: 'due', attempts: 0, nextAt: act.now, leasedUntil: null })
			.where(its)
			.returning()
		await recordAudit(tx, act, { action: 'delivery.replay', target: `delivery:${id}` })
		return toDelivery(row ?? before)
	})
	fleet.changes.outboxChanged()
	return delivery
}

async function loadWebhook(tx: Tx, id: string, expected: Expected): Promise<Webhook> {
	const [row] = await tx.select().from(webhooks).where(eq(webhooks.id, id))
	return requireRow(row, 'webhook', expected)
}

function toResource({ secret: _, ...row }: Webhook): WebhookResource {
	return row
}

function toDelivery(row: typeof outbox.$inferSelect): DeliveryResource {
	const { webhookId: _, body: __, leasedUntil: ___, ...rest } = row
	return rest
}
