import { and, eq, lte, ne, sql } from 'drizzle-orm'
import { sessions, users } from '../../db/schema.ts'
import type { Tx } from '../../db/store.ts'
import { type Act, recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { Refusal } from '../refusal.ts'
import { randomSecret, sha256Hex } from '../secrets.ts'
import { hashPassword, isPassword, PASSWORD_ITERATIONS, pretendPassword } from './passwords.ts'

/** A session ends after this much idleness, and at the latest after `SESSION_MS_MAX`. */
export const SESSION_IDLE_MS = 12 * 3_600_000
export const SESSION_MS_MAX = 7 * 86_400_000
/** Use moves the end only by this much or more: one write an hour. */
export const SESSION_EXTEND_MS = 3_600_000

const FREE_FAILURES = 5
const FIRST_LOCK_MS = 30_000
const LOCK_MS_MAX = 15 * 60_000
const STRANGERS_MAX = 10_000

type User = typeof users.$inferSelect

/** Failures of names that nobody has: they lock like real ones, so that a lock tells nothing. */
export interface Strangers {
	readonly failures: Map<string, { count: number; lockedUntil: number | null }>
}

export function createStrangers(): Strangers {
	return { failures: new Map() }
}

export interface SignInOptions {
	readonly strangers: Strangers
	/** Less than `PASSWORD_ITERATIONS` only in tests. */
	readonly passwordIterations?: number | undefined
}

export interface SignedIn {
	readonly user: User
	/** `rfs_…`; only its hash is kept. */
	readonly token: string
	readonly expiresAt: number
}

/**
 * Opens a session for a name and password. Wrong name and wrong password look and last the same.
 * @throws Refusal `denied`, or `locked` after `FREE_FAILURES` failures in a row
 */
export async function signIn(
	fleet: Fleet,
	{ name, password }: { readonly name: string; readonly password: string },
	{ strangers, passwordIterations = PASSWORD_ITERATIONS }: SignInOptions,
): Promise<SignedIn> {
	const now = fleet.clock.now()
	const [user] = await fleet.store.db.select().from(users).where(eq(users.name, name))
	refuseLocked(user?.lockedUntil ?? strangers.failures.get(name)?.lockedUntil ?? null, now)
	if (!user) {
		await pretendPassword(password, passwordIterations)
		countStranger(strangers, name, now)
		throw wrong()
	}
	const isRight = await isPassword(password, user.passwordHash)
	const token = `rfs_${randomSecret()}`
	const expiresAt = now + SESSION_IDLE_MS
	const session = { id: await sha256Hex(token), userId: user.id, createdAt: now, expiresAt }
	const lockedUntil = await fleet.store.write((tx) =>
		isRight ? openSession(tx, session, user.passwordHash) : countFailure(tx, user.id, now),
	)
	if (!isRight) {
		fleet.log('warn', 'sign-in failed', { name, lockedUntil })
		throw wrong()
	}
	refuseLocked(lockedUntil, now)
	return { user, token, expiresAt }
}

/** Ends a session; nothing happens when it has ended already. */
export async function signOut(fleet: Fleet, token: string): Promise<void> {
	const id = await sha256Hex(token)
	await fleet.store.write((tx) => tx.delete(sessions).where(eq(sessions.id, id)))
}

/** Changes a user's own password and ends all other sessions of that user. */
export async function changePassword(
	fleet: Fleet,
	act: Act,
	change: {
		readonly userId: string
		readonly current: string
		readonly next: string
		/** The session to keep. */
		readonly token: string
		readonly passwordIterations?: number | undefined
	},
): Promise<void> {
	const { userId } = change
	const [user] = await fleet.store.db.select().from(users).where(eq(users.id, userId))
	if (!user) throw new Refusal('not-found', 'There is no such user.')
	refuseLocked(user.lockedUntil, act.now)
	if (!(await isPassword(change.current, user.passwordHash))) {
		await fleet.store.write((tx) => countFailure(tx, userId, act.now))
		throw new Refusal('invalid', 'not the current password', { pointer: '/current' })
	}
	const passwordHash = await hashPassword(change.next, change.passwordIterations)
	const kept = await sha256Hex(change.token)
	await fleet.store.write(async (tx) => {
		const its = and(eq(users.id, userId), eq(users.passwordHash, user.passwordHash))
		const revision = sql`${users.revision} + 1`
		const changed = await tx.update(users).set({ passwordHash, revision }).where(its)
		if (changed.rowsAffected === 0) {
			throw new Refusal('stale', 'Somebody else has changed the password meanwhile.')
		}
		await tx.delete(sessions).where(and(eq(sessions.userId, userId), ne(sessions.id, kept)))
		await recordAudit(tx, act, { action: 'user.password', target: `user:${user.name}` })
	})
}

/** How long a name is locked after so many failures in a row: 30 s, doubling up to a quarter of an hour. */
function lockMs(failures: number): number {
	if (failures < FREE_FAILURES) return 0
	return Math.min(FIRST_LOCK_MS * 2 ** Math.min(failures - FREE_FAILURES, 20), LOCK_MS_MAX)
}

function wrong(): Refusal {
	return new Refusal('denied', 'Wrong name or password.')
}

function refuseLocked(lockedUntil: number | null, now: number): void {
	if (lockedUntil === null || lockedUntil <= now) return
	const retryAfterSeconds = Math.ceil((lockedUntil - now) / 1000)
	throw new Refusal('locked', `Too many failures; try again in ${retryAfterSeconds} s.`, {
		retryAfterSeconds,
	})
}

/** @returns until when the user is locked: set by attempts that ran beside this one */
async function openSession(
	tx: Tx,
	session: typeof sessions.$inferInsert,
	/** What the password was compared with: it may have been changed meanwhile. */
	passwordHash: string,
): Promise<number | null> {
	const now = session.createdAt
	const [user] = await tx.select().from(users).where(eq(users.id, session.userId))
	if (user?.passwordHash !== passwordHash) throw wrong()
	if (user.lockedUntil !== null && user.lockedUntil > now) return user.lockedUntil
	await tx.update(users).set({ failures: 0, lockedUntil: null }).where(eq(users.id, user.id))
	await tx.delete(sessions).where(lte(sessions.expiresAt, now))
	await tx.insert(sessions).values(session)
	const act = { actor: `user:${user.name}`, now }
	await recordAudit(tx, act, { action: 'session.create', target: `user:${user.name}` })
	return null
}

async function countFailure(tx: Tx, userId: string, now: number): Promise<number | null> {
	const [user] = await tx.select().from(users).where(eq(users.id, userId))
	const failures = (user?.failures ?? 0) + 1
	const lock = lockMs(failures)
	const lockedUntil = lock > 0 ? now + lock : null
	await tx.update(users).set({ failures, lockedUntil }).where(eq(users.id, userId))
	return lockedUntil
}

/** The oldest stranger gives way when there are too many. */
function countStranger({ failures }: Strangers, name: string, now: number): void {
	const count = (failures.get(name)?.count ?? 0) + 1
	const lock = lockMs(count)
	failures.delete(name)
	failures.set(name, { count, lockedUntil: lock > 0 ? now + lock : null })
	const [oldest] = failures.keys()
	if (failures.size > STRANGERS_MAX && oldest !== undefined) failures.delete(oldest)
}
