import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import { eq, sql } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { migrate } from './migrate.ts'
import { openStore } from './open-store.ts'
import { settings } from './schema.ts'
import type { Store } from './store.ts'
import { openTestStore } from './test-store.ts'

const MIGRATIONS = new URL('../../migrations', import.meta.url).pathname

let folder: string

beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), 'ringfence-store-'))
})

afterEach(async () => {
	await rm(folder, { recursive: true })
})

describe.each(['memory', 'file'])('a store in %s', (kind) => {
	const url = () => (kind === 'file' ? `file:${join(folder, 'a.db')}` : ':memory:')
	const put = (store: Store, key: string) =>
		store.write(async (tx) => {
			await tx.insert(settings).values({ key, value: 1 })
		})
	const keys = async (store: Store) =>
		(await store.db.select({ key: settings.key }).from(settings)).map((row) => row.key)

	test('keeps what a transaction wrote', async () => {
		const store = await openTestStore(url())
		await put(store, 'a')
		expect(await keys(store)).toEqual(['a'])
		await store.close()
	})

	test('rolls back all of a transaction whose work rejects, and goes on', async () => {
		const store = await openTestStore(url())
		const failing = store.write(async (tx) => {
			await tx.insert(settings).values({ key: 'a', value: 1 })
			throw new Error('no')
		})
		await expect(failing).rejects.toThrow('no')
		await put(store, 'b')
		expect(await keys(store)).toEqual(['b'])
		await store.close()
	})

	test('runs writes that are asked for at once one after the other, with reads between', async () => {
		const store = await openTestStore(url())
		await put(store, 'n')
		const bump = () =>
			store.write(async (tx) => {
				const [row] = await tx.select().from(settings).where(eq(settings.key, 'n'))
				await Promise.resolve()
				await tx.update(settings).set({ value: Number(row?.value) + 1 })
			})
		await Promise.all([...Array(20)].flatMap(() => [bump(), keys(store)]))
		const [row] = await store.db.select().from(settings)
		expect(row?.value).toBe(21)
		await store.close()
	})

	test('checks foreign keys', async () => {
		const store = await openTestStore(url())
		const orphan = store.write((tx) =>
			tx.run(
				sql`insert into sessions (id, user_id, created_at, expires_at) values ('s', 'none', 0, 0)`,
			),
		)
		await expect(orphan).rejects.toThrow()
		await store.close()
	})

	test('waits for queued writes when it closes, and refuses later ones', async () => {
		const store = await openTestStore(url())
		const queued = put(store, 'a')
		const closed = store.close()
		await expect(queued).resolves.toBeUndefined()
		await closed
		await expect(put(store, 'b')).rejects.toMatchObject({ code: 'closed' })
	})
})

test('a file is in WAL mode and its reader refuses to write', async () => {
	const store = await openTestStore(`file:${join(folder, 'a.db')}`)
	const [mode] = await store.db.all<{ journal_mode: string }>(sql`pragma journal_mode`)
	expect(mode?.journal_mode).toBe('wal')
	await expect(store.db.insert(settings).values({ key: 'a', value: 1 })).rejects.toThrow()
	await store.close()
})

test('a second process that writes now and then only makes us wait', async () => {
	const url = `file:${join(folder, 'a.db')}`
	const [first, second] = [await openTestStore(url), await openTestStore(url)]
	const put = (store: Store, key: string) =>
		store.write(async (tx) => {
			await tx.insert(settings).values({ key, value: 1 })
		})
	for (let i = 0; i < 20; i++) {
		await put(first, `first${i}`)
		await put(second, `second${i}`)
	}
	expect(await first.db.$count(settings)).toBe(40)
	await first.close()
	await second.close()
})

describe('migrate', () => {
	test('does nothing the second time', async () => {
		const store = await openTestStore()
		await migrate(store, MIGRATIONS)
		expect(await store.db.$count(settings)).toBe(0)
		await store.close()
	})

	test('lets several controllers start on one empty database', async () => {
		const url = `file:${join(folder, 'a.db')}`
		const stores = await Promise.all([1, 2, 3].map(() => openStore({ url })))
		await Promise.all(stores.map((store) => migrate(store, MIGRATIONS)))
		for (const store of stores) {
			expect(await store.db.$count(settings)).toBe(0)
			await store.close()
		}
	})

	test('refuses a database that a later version has migrated further', async () => {
		const url = `file:${join(folder, 'a.db')}`
		await (await openTestStore(url)).close()
		const client = createClient({ url })
		await client.execute(
			"insert into __drizzle_migrations (hash, created_at) values ('x', 9999999999999)",
		)
		client.close()
		const store = await openStore({ url })
		await expect(migrate(store, MIGRATIONS)).rejects.toMatchObject({ code: 'newer' })
		await store.close()
	})
})
