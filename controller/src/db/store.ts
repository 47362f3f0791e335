import type { Client } from '@libsql/client'
import type { LibSQLDatabase } from 'drizzle-orm/libsql'
import type * as schema from './schema.ts'

export type Db = LibSQLDatabase<typeof schema>
/** Inside `Store.write`: the same query interface, in one transaction. */
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0]

/** The database: reads at any time, writes one after the other. */
export interface Store {
	/** For reads. Writing through it bypasses the writers' queue: don't. */
	readonly db: Db
	/** For statements that drizzle cannot say. */
	readonly client: Client
	/** Runs `work` in a write transaction when its turn comes; commits when it resolves, rolls back when it rejects. */
	write<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result>
	/** Waits for queued writes, then closes. */
	close(): Promise<void>
}
