import type { ApiKeyResource } from '@ringfence/shared/contract/rest'
import { asc, eq, gt } from 'drizzle-orm'
import { apiKeys, type Role } from '../../db/schema.ts'
import type { Db } from '../../db/store.ts'
import { type Act, recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { type Expected, Refusal, requireRow } from '../refusal.ts'
import { randomId, randomSecret, sha256Hex } from '../secrets.ts'

/** By id. */
export async function listApiKeys(db: Db, query: PageRequest): Promise<Page<ApiKeyResource>> {
	const [id] = readCursor(query.cursor, ['string']) ?? []
	const rows = await db
		.select()
		.from(apiKeys)
		.where(id === undefined ? undefined : gt(apiKeys.id, String(id)))
		.orderBy(asc(apiKeys.id))
		.limit(rowsWanted(query))
	return mapPage(
		toPage(rows, query, (row) => [row.id]),
		toResource,
	)
}

export async function getApiKey(db: Db, id: string): Promise<ApiKeyResource> {
	const [row] = await db.select().from(apiKeys).where(eq(apiKeys.id, id))
	return toResource(requireRow(row, 'API key', '*'))
}

export interface NewApiKey {
	readonly name: string
	readonly role: Role
	readonly expiresAt?: number | undefined
}

/** @returns the key itself too, which nobody can read again */
export async function createApiKey(
	fleet: Fleet,
	act: Act,
	{ name, role, expiresAt = undefined }: NewApiKey,
): Promise<ApiKeyResource & { key: string }> {
	if (expiresAt !== undefined && expiresAt <= act.now) {
		throw new Refusal('invalid', 'is in the past', { pointer: '/expiresAt' })
	}
	const id = randomId()
	const secret = randomSecret()
	const secretHash = await sha256Hex(secret)
	const row = { id, name, role, secretHash, createdAt: act.now, expiresAt: expiresAt ?? null }
	return fleet.store.write(async (tx) => {
		const [made] = await tx.insert(apiKeys).values(row).returning()
		const after = toResource(requireRow(made, 'API key', '*'))
		await recordAudit(tx, act, { action: 'api-key.create', target: `key:${id}`, after })
		return { ...after, key: `rfk_${id}_${secret}` }
	})
}

export async function deleteApiKey(
	fleet: Fleet,
	act: Act,
	{ id, expected }: { readonly id: string; readonly expected: Expected },
): Promise<void> {
	await fleet.store.write(async (tx) => {
		const [row] = await tx.select().from(apiKeys).where(eq(apiKeys.id, id))
		const before = toResource(requireRow(row, 'API key', expected))
		await tx.delete(apiKeys).where(eq(apiKeys.id, id))
		await recordAudit(tx, act, { action: 'api-key.delete', target: `key:${id}`, before })
	})
}

function toResource(row: typeof apiKeys.$inferSelect): ApiKeyResource {
	const { id, name, role, createdAt, expiresAt, lastUsedAt, revision } = row
	return { id, name, role, createdAt, expiresAt, lastUsedAt, revision }
}
