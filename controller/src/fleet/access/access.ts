import { eq, sql } from 'drizzle-orm'
import { apiKeys, type Role, sessions, users } from '../../db/schema.ts'
import { recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { isEqualText, randomId, randomSecret, sha256Hex } from '../secrets.ts'
import { hashPassword } from './passwords.ts'
import { SESSION_EXTEND_MS, SESSION_IDLE_MS, SESSION_MS_MAX } from './sign-in.ts'

/** Who a request comes from. */
export interface Principal {
	readonly kind: 'user' | 'key'
	readonly id: string
	readonly name: string
	readonly role: Role
	readonly expiresAt: number | null
	/** As audits name it: `user:<name>`, `key:<id>`. */
	readonly actor: string
}

const RANKS: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 }

/** Whether a role may do what needs `wanted`. */
export function isAllowed(role: Role, wanted: Role): boolean {
	return RANKS[role] >= RANKS[wanted]
}

/** A key's last use is written at most this often. */
const LAST_USED_EVERY_MS = 60_000

/** Longest credential worth a look. */
const CREDENTIAL_CHARS_MAX = 200

/**
 * Tells whose credential it is: an API key `rfk_<id>_<secret>` or a session `rfs_<secret>`.
 * @returns undefined for one that is unknown, wrong or expired
 */
export async function authenticate(
	fleet: Fleet,
	credential: string,
): Promise<Principal | undefined> {
	if (credential.length > CREDENTIAL_CHARS_MAX) return undefined
	const [kind, ...rest] = credential.split('_')
	if (kind === 'rfs') return authenticateSession(fleet, credential)
	const [id, ...secret] = rest
	if (kind !== 'rfk' || !id) return undefined
	return authenticateKey(fleet, id, secret.join('_'))
}

async function authenticateKey(
	fleet: Fleet,
	id: string,
	secret: string,
): Promise<Principal | undefined> {
	const now = fleet.clock.now()
	const [row] = await fleet.store.db.select().from(apiKeys).where(eq(apiKeys.id, id))
	if (!row || !isEqualText(await sha256Hex(secret), row.secretHash)) return undefined
	if (row.expiresAt !== null && row.expiresAt <= now) return undefined
	if ((row.lastUsedAt ?? 0) <= now - LAST_USED_EVERY_MS) {
		await fleet.store.write((tx) =>
			tx.update(apiKeys).set({ lastUsedAt: now }).where(eq(apiKeys.id, id)),
		)
	}
	const { name, role, expiresAt } = row
	return { kind: 'key', id, name, role, expiresAt, actor: `key:${id}` }
}

async function authenticateSession(fleet: Fleet, token: string): Promise<Principal | undefined> {
	const now = fleet.clock.now()
	const id = await sha256Hex(token)
	const [row] = await fleet.store.db
		.select()
		.from(sessions)
		.innerJoin(users, eq(users.id, sessions.userId))
		.where(eq(sessions.id, id))
	if (!row || row.sessions.expiresAt <= now) return undefined
	const { createdAt } = row.sessions
	const extended = Math.min(now + SESSION_IDLE_MS, createdAt + SESSION_MS_MAX)
	if (extended - row.sessions.expiresAt >= SESSION_EXTEND_MS) {
		await fleet.store.write((tx) =>
			tx.update(sessions).set({ expiresAt: extended }).where(eq(sessions.id, id)),
		)
	}
	const { name, role } = row.users
	const expiresAt = Math.max(extended, row.sessions.expiresAt)
	return { kind: 'user', id: row.users.id, name, role, expiresAt, actor: `user:${name}` }
}

/**
 * Makes user `admin` with a generated password when there is no user at all.
 * @returns its name and password, this once; undefined when somebody can sign in already
 */
export async function ensureAdmin(
	fleet: Fleet,
	options: { readonly passwordIterations?: number } = {},
): Promise<{ name: string; password: string } | undefined> {
	const name = 'admin'
	const password = randomSecret(18)
	const now = fleet.clock.now()
	if (await hasUsers(fleet)) return undefined
	const passwordHash = await hashPassword(password, options.passwordIterations)
	const isMade = await fleet.store.write(async (tx) => {
		const [count] = await tx.select({ users: sql<number>`count(*)` }).from(users)
		if (count && count.users > 0) return false
		const id = randomId()
		await tx.insert(users).values({ id, name, passwordHash, role: 'admin', createdAt: now })
		const act = { actor: 'system', now }
		await recordAudit(tx, act, { action: 'user.create', target: `user:${name}` })
		return true
	})
	return isMade ? { name, password } : undefined
}

async function hasUsers(fleet: Fleet): Promise<boolean> {
	const rows = await fleet.store.db.select({ id: users.id }).from(users).limit(1)
	return rows.length > 0
}
