import type { AuditResource } from '@ringfence/shared/contract/rest'
import { and, desc, eq, gte, lt } from 'drizzle-orm'
import { audits } from '../db/schema.ts'
import type { Db, Tx } from '../db/store.ts'
import { type Page, type PageRequest, readCursor, rowsWanted, toPage } from './paging.ts'
import { timeOrderedId } from './secrets.ts'

/** Who does something, and when: handed to every write. */
export interface Act {
	/** `user:<name>`, `key:<id>`, `system` */
	readonly actor: string
	readonly now: number
}

export interface Audit {
	/** `rule.update` */
	readonly action: string
	readonly target: string
	readonly before?: unknown
	readonly after?: unknown
}

/** Writes down who changed what, in the transaction of the change. Secrets and their hashes stay out of `before` and `after`. */
export async function recordAudit(tx: Tx, act: Act, audit: Audit): Promise<void> {
	await tx.insert(audits).values({
		id: timeOrderedId(act.now),
		at: act.now,
		actor: act.actor,
		action: audit.action,
		target: audit.target,
		before: audit.before ?? null,
		after: audit.after ?? null,
	})
}

export interface AuditQuery extends PageRequest {
	readonly actor?: string | undefined
	readonly target?: string | undefined
	readonly since?: number | undefined
}

/** Newest first. */
export async function listAudits(db: Db, query: AuditQuery): Promise<Page<AuditResource>> {
	const [id] = readCursor(query.cursor, ['string']) ?? []
	const rows = await db
		.select()
		.from(audits)
		.where(
			and(
				id === undefined ? undefined : lt(audits.id, String(id)),
				query.actor === undefined ? undefined : eq(audits.actor, query.actor),
				query.target === undefined ? undefined : eq(audits.target, query.target),
				query.since === undefined ? undefined : gte(audits.at, query.since),
			),
		)
		.orderBy(desc(audits.id))
		.limit(rowsWanted(query))
	return toPage(rows, query, (row) => [row.id])
}
