import { type Client, createClient, type InStatement } from '@libsql/client'
import { drizzle } from 'drizzle-orm/libsql'
import { StoreError } from './errors.ts'
import { gateReads } from './read-gate.ts'
import * as schema from './schema.ts'
import type { Db, Store, Tx } from './store.ts'

export interface StoreOptions {
	/** `file:<path>`, `:memory:`, or `http(s)://`, `libsql://` of a server. */
	readonly url: string
	readonly authToken?: string
}

/** A store whose tables can still be changed. */
export interface OpenedStore extends Store {
	/** Runs statements in one transaction with foreign keys off, as rebuilding a table needs (sqlite.org/lang_altertable.html §7). */
	migrate(statements: readonly InStatement[]): Promise<void>
}

/** How long a statement waits for a lock that another process holds. The wait blocks the event loop. */
const BUSY_TIMEOUT_MS = 5000

/**
 * Opens the database; `migrate` must follow before it is used.
 * A file has two connections, since a PRAGMA holds for one connection only: a writer, and a reader that refuses to write.
 */
export async function openStore(options: StoreOptions): Promise<OpenedStore> {
	if (options.url === ':memory:') return openMemory()
	return options.url.startsWith('file:') ? openFile(options.url) : openRemote(options)
}

async function openFile(url: string): Promise<OpenedStore> {
	const open = () => createClient({ url, timeout: BUSY_TIMEOUT_MS, concurrency: 1 })
	const writer = open()
	const prepareWriter = async () => {
		// NORMAL loses no committed transaction when the process dies, only when the machine does (sqlite.org/wal.html).
		for (const pragma of ['journal_mode = WAL', 'synchronous = NORMAL', 'foreign_keys = ON'])
			await writer.execute(`PRAGMA ${pragma}`)
	}
	await prepareWriter()
	const reader = open()
	await reader.execute('PRAGMA query_only = ON')
	return new LibsqlStore({ reader, writer, prepareWriter, isGated: false })
}

async function openRemote({ url, authToken }: StoreOptions): Promise<OpenedStore> {
	const client = createClient({ url, ...(authToken ? { authToken } : {}) })
	return new LibsqlStore({
		reader: client,
		writer: client,
		prepareWriter: async () => {},
		isGated: false,
	})
}

/** One connection for all: a read would meet the open transaction, so it waits for its end. */
async function openMemory(): Promise<OpenedStore> {
	const client = createClient({ url: ':memory:' })
	await client.execute('PRAGMA foreign_keys = ON')
	return new LibsqlStore({
		reader: client,
		writer: client,
		prepareWriter: async () => {},
		isGated: true,
	})
}

interface Connections {
	readonly reader: Client
	readonly writer: Client
	/** Sets what a fresh connection of the writer needs. */
	readonly prepareWriter: () => Promise<void>
	readonly isGated: boolean
}

class LibsqlStore implements OpenedStore {
	readonly db: Db
	readonly client: Client
	readonly #writerDb: Db
	readonly #connections: Connections
	#tail: Promise<unknown> = Promise.resolve()
	#isClosed = false

	constructor(connections: Connections) {
		this.#connections = connections
		this.client = connections.isGated
			? gateReads(connections.reader, () => this.#tail)
			: connections.reader
		this.db = drizzle(this.client, { schema })
		this.#writerDb = drizzle(connections.writer, { schema })
	}

	write<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
		return this.#queued(() => this.#transact(work))
	}

	migrate(statements: readonly InStatement[]): Promise<void> {
		return this.#queued(async () => {
			await this.#connections.writer.migrate([...statements])
		})
	}

	async close(): Promise<void> {
		this.#isClosed = true
		await this.#tail
		const { reader, writer } = this.#connections
		reader.close()
		if (writer !== reader) writer.close()
	}

	#queued<Result>(work: () => Promise<Result>): Promise<Result> {
		if (this.#isClosed)
			return Promise.reject(new StoreError('the store is closed', { code: 'closed' }))
		const turn = this.#tail.then(work)
		this.#tail = turn.catch(() => {})
		return turn
	}

	async #transact<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
		try {
			return await this.#writerDb.transaction(work)
		} catch (error) {
			if (!isLockTrouble(error)) throw error
			// A connection that once saw SQLITE_BUSY may refuse every later commit (libsql-client-ts #352): take a fresh one.
			await this.#connections.writer.reconnect()
			await this.#connections.prepareWriter()
			throw new StoreError('another process holds the database', { code: 'busy', cause: error })
		}
	}
}

/** Walks the causes: drizzle wraps what the driver throws. */
function isLockTrouble(error: unknown): boolean {
	for (let at = error; at instanceof Error; at = at.cause) {
		if (/SQLITE_BUSY|database is locked|SQL statements in progress/.test(at.message)) return true
	}
	return false
}
