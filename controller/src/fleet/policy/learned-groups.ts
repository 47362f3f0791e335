import { shardOf } from '@ringfence/shared/contract/policy'
import { sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { groups } from '../../db/schema.ts'
import type { Tx } from '../../db/store.ts'
import { readSettings } from '../settings.ts'

/** Longest name of a group in the contract. */
const NAME_CHARS_MAX = 256

/** Whitespace, slashes, and what is no visible character (controls, lone surrogates, unassigned): not allowed in a group's name. */
const UNFIT = /[\s/\p{C}]/gu

/**
 * Name of the group of all workloads of a service in a domain: `rf.<service>.<domain>`.
 * Workloads choose these words. A name that had to be changed ends with a digest of the original, so that two services
 * do not become one by it.
 */
export function learnedGroupName(service: string, domain: string): string {
	const plain = `rf.${service}.${domain}`
	const fit = plain.replace(UNFIT, '_')
	if (fit === plain && fit.length <= NAME_CHARS_MAX) return fit
	const digest = shardOf(plain, 0x1_0000_0000).toString(16).padStart(8, '0')
	return `${sliceWhole(fit, NAME_CHARS_MAX - 9)}~${digest}`
}

/** The first `units` UTF-16 units, or one less where that would cut a character in two. */
function sliceWhole(text: string, units: number): string {
	const isCut = /[\ud800-\udbff]$/.test(text.slice(0, units))
	return text.slice(0, isCut ? units - 1 : units)
}

/**
 * Makes the groups that do not exist yet, in the mode of new services, and revives those that were empty.
 * @returns whether there is a new group
 */
export async function fillGroups(
	tx: Tx,
	names: ReadonlySet<string>,
	now: number,
): Promise<boolean> {
	const { newServiceMode } = await readSettings(tx)
	const rows = [...names].map((name) => ({
		name,
		kind: 'learned' as const,
		mode: newServiceMode,
		createdAt: now,
	}))
	let made = 0
	for (let at = 0; at < rows.length; at += 500) {
		const inserted = await tx
			.insert(groups)
			.values(rows.slice(at, at + 500))
			.onConflictDoNothing()
			.returning({ name: groups.name })
		made += inserted.length
	}
	await tx
		.update(groups)
		.set({ emptySince: null, revision: sql`${groups.revision} + 1` })
		.where(sql`${groups.emptySince} is not null and ${groups.name} in ${jsonList(names)}`)
	return made > 0
}

/** Notes since when learned groups have no running workload. */
export async function markEmptyGroups(tx: Tx, now: number): Promise<void> {
	await tx
		.update(groups)
		.set({ emptySince: now, revision: sql`${groups.revision} + 1` })
		.where(
			sql`${groups.kind} = 'learned' and ${groups.emptySince} is null and not exists
				(select 1 from workloads where group_name = ${groups.name} and gone_at is null)`,
		)
}
