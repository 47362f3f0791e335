import {
	type SettingsPatch,
	type SettingsResource,
	settingsPatchSchema,
} from '@ringfence/shared/contract/rest'
import { eq } from 'drizzle-orm'
import { settings } from '../db/schema.ts'
import type { Db, Tx } from '../db/store.ts'
import { type Act, recordAudit } from './audits.ts'
import type { Fleet } from './fleet.ts'
import { type Expected, requireRow } from './refusal.ts'
import { raiseGeneration } from './revisions.ts'

export type FleetSettings = Omit<SettingsResource, 'revision'>

const DEFAULT_SETTINGS: FleetSettings = {
	newServiceMode: 'discover',
	unusedGroupAgingHours: 24,
	eventRetentionDays: 30,
	conversationRetentionDays: 30,
	workloadRetentionDays: 7,
	deliveryRetentionDays: 14,
	auditRetentionDays: 365,
}

/** Its row in `settings` holds what was changed; all else has its default. */
const KEY = 'fleet'

/** Settings of the fleet. */
export async function readSettings(db: Db | Tx): Promise<FleetSettings> {
	const { revision: _, ...values } = await readSettingsResource(db)
	return values
}

/** Settings with their revision; revision 1 before the first change. */
export async function readSettingsResource(db: Db | Tx): Promise<SettingsResource> {
	const [row] = await db.select().from(settings).where(eq(settings.key, KEY))
	const changed = settingsPatchSchema.safeParse(row?.value ?? {})
	return { ...DEFAULT_SETTINGS, ...definedOf(changed.data ?? {}), revision: row?.revision ?? 1 }
}

/** Changes settings. A new `newServiceMode` is part of the policy, so it raises the policy's generation. */
export async function patchSettings(
	fleet: Fleet,
	act: Act,
	patch: SettingsPatch,
	expected: Expected,
): Promise<SettingsResource> {
	const { before, after } = await fleet.store.write(async (tx) => {
		const before = requireRow(await readSettingsResource(tx), 'settings', expected)
		const after = { ...before, ...definedOf(patch), revision: before.revision + 1 }
		const { revision, ...value } = after
		await tx
			.insert(settings)
			.values({ key: KEY, value, revision })
			.onConflictDoUpdate({ target: settings.key, set: { value, revision } })
		await recordAudit(tx, act, { action: 'settings.update', target: 'settings', before, after })
		if (before.newServiceMode !== after.newServiceMode) await raiseGeneration(tx, 'policy')
		return { before, after }
	})
	if (before.newServiceMode !== after.newServiceMode) fleet.changes.documentsChanged()
	return after
}

/** A patch without the keys that are present but undefined. */
function definedOf(patch: SettingsPatch): Partial<FleetSettings> {
	return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined))
}
