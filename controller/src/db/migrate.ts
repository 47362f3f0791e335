import { sql } from 'drizzle-orm'
import { type MigrationMeta, readMigrationFiles } from 'drizzle-orm/migrator'
import { StoreError } from './errors.ts'
import type { OpenedStore } from './open-store.ts'
import type { Db } from './store.ts'

/** The table that drizzle-kit keeps too, so that its own tools understand the database. */
const TABLE = '__drizzle_migrations'

/**
 * Brings the database to the newest migration of `folder` (drizzle-kit's). Reads files, so only hosts with a disk call it.
 * Refuses a database that a later version has migrated further: its tables may not mean what this code thinks.
 */
export async function migrate(store: OpenedStore, folder: string): Promise<void> {
	const known = readMigrationFiles({ migrationsFolder: folder })
	const newest = known.at(-1)?.folderMillis ?? 0
	const applied = await lastApplied(store.db)
	if (applied > newest) {
		throw new StoreError('a later version of the controller wrote the database', { code: 'newer' })
	}
	if (applied === newest) return
	try {
		await store.migrate(statementsAfter(known, applied))
	} catch (error) {
		// Another controller that starts at the same time may have been quicker.
		if ((await lastApplied(store.db)) !== newest) throw error
	}
}

/** `created_at` of the newest migration in the database; 0 when there is none. */
async function lastApplied(db: Db): Promise<number> {
	const [table] = await db.all<{ name: string }>(
		sql`select name from sqlite_master where type = 'table' and name = ${TABLE}`,
	)
	if (!table) return 0
	const [row] = await db.all<{ at: number | null }>(
		sql`select max(created_at) as at from ${sql.identifier(TABLE)}`,
	)
	return Number(row?.at ?? 0)
}

function statementsAfter(known: readonly MigrationMeta[], applied: number) {
	const missing = known.filter((migration) => migration.folderMillis > applied)
	return [
		`create table if not exists ${TABLE} (id integer primary key, hash text not null, created_at numeric)`,
		...missing.flatMap((migration) => [
			...migration.sql,
			{
				sql: `insert into ${TABLE} (hash, created_at) values (?, ?)`,
				args: [migration.hash, migration.folderMillis],
			},
		]),
	]
}
