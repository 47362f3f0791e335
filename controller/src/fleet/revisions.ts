import type { DocumentName } from '@ringfence/shared/contract/topics'
import { sql } from 'drizzle-orm'
import { settings } from '../db/schema.ts'
import type { Tx } from '../db/store.ts'

/**
 * Raises the fleet-wide generation of a desired document; call it in the transaction that changes what the document says,
 * and `changes.documentsChanged()` after the commit.
 * @returns the new generation
 */
export async function raiseGeneration(tx: Tx, document: DocumentName): Promise<number> {
	const [row] = await tx
		.insert(settings)
		.values({ key: generationKey(document), value: 1 })
		.onConflictDoUpdate({
			target: settings.key,
			set: { value: sql`json(${settings.value} + 1)`, revision: sql`${settings.revision} + 1` },
		})
		.returning({ value: settings.value })
	return Number(row?.value)
}

/** Key of the counter in `settings`. */
export function generationKey(document: DocumentName): string {
	return `generation.${document}`
}
