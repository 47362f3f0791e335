import { eq } from 'drizzle-orm'
import { groups, settings } from '../db/schema.ts'
import type { Db, Tx } from '../db/store.ts'
import type { Fleet } from './fleet.ts'
import { fromBase64, sha256Hex, toBase64 } from './secrets.ts'
import { readSettings } from './settings.ts'

/** What makes this fleet itself: made once with the database, the same on every controller. */
export interface Cluster {
	/** `c-<8 hexadecimal digits>`, part of every topic. */
	readonly id: string
	/** When the database was made, or found to be restored: what is newer is a higher epoch. */
	readonly epoch: number
	readonly keyId: string
	/** Raw Ed25519 public key, base64: agents pin it. */
	readonly controllerKey: string
	/** Ed25519 signature (RFC 8032) over the UTF-8 bytes of a text, base64. */
	sign(text: string): Promise<string>
}

interface ClusterRow {
	readonly id: string
	readonly epoch: number
	readonly keyId: string
	readonly controllerKey: string
	/** PKCS #8, base64. It never leaves the database and this process. */
	readonly privateKey: string
	/** When `epoch` was raised; absent until then. */
	readonly raisedAt?: number
}

const KEY = 'cluster'

/** Reads the cluster, making it first, with the reserved groups, in an empty database. */
export async function ensureCluster(fleet: Pick<Fleet, 'store' | 'clock'>): Promise<Cluster> {
	const { db } = fleet.store
	const row = (await findRow(db)) ?? (await makeCluster(fleet))
	const key = await crypto.subtle.importKey('pkcs8', fromBase64(row.privateKey), 'Ed25519', false, [
		'sign',
	])
	const { id, epoch, keyId, controllerKey } = row
	const sign = async (text: string) =>
		toBase64(
			new Uint8Array(await crypto.subtle.sign('Ed25519', key, new TextEncoder().encode(text))),
		)
	return { id, epoch, keyId, controllerKey, sign }
}

async function makeCluster({ store, clock }: Pick<Fleet, 'store' | 'clock'>): Promise<ClusterRow> {
	const made: ClusterRow = {
		id: `c-${randomHex(4)}`,
		epoch: clock.now(),
		...(await makeSigningKey()),
	}
	return store.write(async (tx) => {
		await tx.insert(settings).values({ key: KEY, value: made }).onConflictDoNothing()
		await makeReservedGroups(tx, clock.now())
		// Another controller may have been quicker: its row counts.
		return (await findRow(tx)) ?? made
	})
}

/** The epoch, and when it was raised last. */
export async function readVersion(
	db: Db | Tx,
): Promise<{ readonly epoch: number; readonly raisedAt: number }> {
	const row = await findRow(db)
	return { epoch: row?.epoch ?? 0, raisedAt: row?.raisedAt ?? 0 }
}

/** Begins a higher epoch: agents take every document of it, whatever they ran before. */
export async function raiseEpoch(tx: Tx, epoch: number, now: number): Promise<void> {
	const row = await findRow(tx)
	if (!row) return
	const value: ClusterRow = { ...row, epoch, raisedAt: now }
	await tx.update(settings).set({ value }).where(eq(settings.key, KEY))
}

async function findRow(db: Db | Tx): Promise<ClusterRow | undefined> {
	const [row] = await db.select().from(settings).where(eq(settings.key, KEY))
	return row && (row.value as ClusterRow)
}

async function makeSigningKey() {
	const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])
	if (!('publicKey' in pair)) throw new TypeError('Ed25519 makes a pair of keys')
	const raw = await crypto.subtle.exportKey('raw', pair.publicKey)
	const controllerKey = toBase64(new Uint8Array(raw))
	const pkcs8 = await crypto.subtle.exportKey('pkcs8', pair.privateKey)
	return {
		keyId: `k-${(await sha256Hex(controllerKey)).slice(0, 8)}`,
		controllerKey,
		privateKey: toBase64(new Uint8Array(pkcs8)),
	}
}

async function makeReservedGroups(tx: Tx, now: number): Promise<void> {
	const { newServiceMode } = await readSettings(tx)
	const reserved = { kind: 'reserved' as const, createdAt: now }
	await tx
		.insert(groups)
		.values([
			{ name: 'nodes', mode: newServiceMode, ...reserved },
			{ name: 'containers', ...reserved },
			{ name: 'external', ...reserved },
		])
		.onConflictDoNothing()
}

/** Random bytes as lower-case hexadecimal digits, two a byte. */
export function randomHex(bytes: number): string {
	return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) =>
		byte.toString(16).padStart(2, '0'),
	).join('')
}
