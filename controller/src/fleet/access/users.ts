import type { UserResource } from '@ringfence/shared/contract/rest'
import { and, asc, eq, gt, ne } from 'drizzle-orm'
import { type Role, sessions, users } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'
import { type Act, recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { type Expected, Refusal, requireRow } from '../refusal.ts'
import { randomId } from '../secrets.ts'
import { hashPassword } from './passwords.ts'

type User = typeof users.$inferSelect

/** By name. */
export async function listUsers(db: Db, query: PageRequest): Promise<Page<UserResource>> {
	const [name] = readCursor(query.cursor, ['string']) ?? []
	const rows = await db
		.select()
		.from(users)
		.where(name === undefined ? undefined : gt(users.name, String(name)))
		.orderBy(asc(users.name))
		.limit(rowsWanted(query))
	return mapPage(
		toPage(rows, query, (row) => [row.name]),
		toResource,
	)
}

export async function getUser(db: Db, id: string): Promise<UserResource> {
	const [row] = await db.select().from(users).where(eq(users.id, id))
	return toResource(requireRow(row, 'user', '*'))
}

export interface NewUser {
	readonly name: string
	readonly role: Role
	readonly password: string
	readonly passwordIterations?: number | undefined
}

/** @throws Refusal `conflict` when the name is taken */
export async function createUser(fleet: Fleet, act: Act, user: NewUser): Promise<UserResource> {
	const { name, role } = user
	const passwordHash = await hashPassword(user.password, user.passwordIterations)
	return fleet.store.write(async (tx) => {
		const [namesake] = await tx.select().from(users).where(eq(users.name, name))
		if (namesake) throw new Refusal('conflict', `There is a user ${name} already.`)
		const row = { id: randomId(), name, role, passwordHash, createdAt: act.now }
		const [made] = await tx.insert(users).values(row).returning()
		const after = toResource(requireRow(made, 'user', '*'))
		await recordAudit(tx, act, { action: 'user.create', target: `user:${name}`, after })
		return after
	})
}

export interface UserChange {
	readonly role?: Role | undefined
	readonly password?: string | undefined
	readonly passwordIterations?: number | undefined
}

/** Changes role or password; either ends the user's sessions. */
export async function patchUser(
	fleet: Fleet,
	act: Act,
	{ id, expected }: { readonly id: string; readonly expected: Expected },
	change: UserChange,
): Promise<UserResource> {
	const { role, password } = change
	const passwordHash =
		password === undefined ? undefined : await hashPassword(password, change.passwordIterations)
	return fleet.store.write(async (tx) => {
		const before = await loadUser(tx, id, expected)
		if (role !== undefined && role !== 'admin') await requireOtherAdmin(tx, before)
		const [row] = await tx
			.update(users)
			.set({
				revision: before.revision + 1,
				...(role && { role }),
				...(passwordHash && { passwordHash, failures: 0, lockedUntil: null }),
			})
			.where(eq(users.id, id))
			.returning()
		await tx.delete(sessions).where(eq(sessions.userId, id))
		const after = toResource(requireRow(row, 'user', '*'))
		await recordAudit(tx, act, {
			action: 'user.update',
			target: `user:${before.name}`,
			before: toResource(before),
			after: { ...after, isPasswordChanged: passwordHash !== undefined },
		})
		return after
	})
}

/** @throws Refusal `conflict` for the last admin */
export async function deleteUser(
	fleet: Fleet,
	act: Act,
	{ id, expected }: { readonly id: string; readonly expected: Expected },
): Promise<void> {
	await fleet.store.write(async (tx) => {
		const before = await loadUser(tx, id, expected)
		await requireOtherAdmin(tx, before)
		await tx.delete(users).where(eq(users.id, id))
		await recordAudit(tx, act, {
			action: 'user.delete',
			target: `user:${before.name}`,
			before: toResource(before),
		})
	})
}

async function loadUser(tx: Tx, id: string, expected: Expected): Promise<User> {
	const [row] = await tx.select().from(users).where(eq(users.id, id))
	return requireRow(row, 'user', expected)
}

/** Somebody must be able to manage users. */
async function requireOtherAdmin(tx: Tx, user: User): Promise<void> {
	if (user.role !== 'admin') return
	const [other] = await tx
		.select({ id: users.id })
		.from(users)
		.where(and(eq(users.role, 'admin'), ne(users.id, user.id)))
		.limit(1)
	if (!other) throw new Refusal('conflict', `${user.name} is the last admin.`)
}

function toResource(row: User): UserResource {
	const { id, name, role, lockedUntil, createdAt, revision } = row
	return { id, name, role, lockedUntil, createdAt, revision }
}
