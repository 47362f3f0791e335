import type { ConversationRecord, SessionAction } from '@ringfence/shared/contract/telemetry'
import { sql } from 'drizzle-orm'
import type { Tx } from '../../db/store.ts'
import type { End } from './directory.ts'

/** A record with the names of both its ends. */
export interface NamedConversation {
	readonly record: ConversationRecord
	readonly client: End
	readonly server: End
}

/** Nothing is decided by these: they may be counted under a name that is likely. */
const HARMLESS: readonly SessionAction[] = ['allow', 'learn', 'pending', 'open']

/** A record that is counted under the application of an earlier conversation; its own verdict says nothing about that. */
export interface CountedConversation extends NamedConversation {
	readonly isAdopted: boolean
}

/**
 * Sessions without a name of which recognition has not ended (their start was not seen, or nothing was said yet) are counted
 * with what the same ends last spoke at that port: a restarted agent would otherwise make a second conversation of each
 * connection that it finds in the middle.
 */
export async function adoptNames(
	tx: Tx,
	records: readonly NamedConversation[],
): Promise<CountedConversation[]> {
	const nameless = records.filter(isNameless)
	const names = nameless.length === 0 ? new Map<string, string>() : await lastNames(tx, nameless)
	return records.map((named) => {
		const application = isNameless(named) ? names.get(placeOf(named)) : undefined
		if (application === undefined) return { ...named, isAdopted: false }
		const record = { ...named.record, application: application as typeof named.record.application }
		return { ...named, record, isAdopted: true }
	})
}

function isNameless({ record }: NamedConversation): boolean {
	return record.application === undefined && !record.isFinal && HARMLESS.includes(record.action)
}

function placeOf({ record, client, server }: NamedConversation): string {
	return JSON.stringify([client.endpoint, server.endpoint, record.protocol, record.serverPort])
}

async function lastNames(
	tx: Tx,
	records: readonly NamedConversation[],
): Promise<Map<string, string>> {
	const places = [...new Set(records.map(placeOf))]
	// SQLite gives the other columns of a grouped row from the one that holds the maximum.
	const rows = await tx.all<{ place: string; application: string }>(sql`
		select k.value as place, c.application as application, max(c.last_at)
		from json_each(${`[${places.join(',')}]`}) as k
		cross join conversations as c on c.client = k.value->>0 and c.server = k.value->>1
			and c.protocol = k.value->>2 and c.server_port = k.value->>3 and c.application <> ''
		group by k.value`)
	return new Map(rows.map(({ place, application }) => [place, application]))
}
