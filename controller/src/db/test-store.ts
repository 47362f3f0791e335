import { migrate } from './migrate.ts'
import { type OpenedStore, openStore } from './open-store.ts'

/** A store with all tables, for tests: in memory, or at a `file:` URL. */
export async function openTestStore(url = ':memory:'): Promise<OpenedStore> {
	const store = await openStore({ url })
	await migrate(store, decodeURIComponent(new URL('../../migrations', import.meta.url).pathname))
	return store
}
