import type { EnrolRequest, EnrolResponse } from '@ringfence/shared/contract/enrol'
import { and, eq, gt, sql } from 'drizzle-orm'
import { enrolTokens, nodes } from '../../db/schema.ts'
import { ensureCluster, randomHex } from '../cluster.ts'
import type { Fleet } from '../fleet.ts'
import { Refusal } from '../refusal.ts'
import { isEqualText, randomId, randomSecret, sha256Hex } from '../secrets.ts'

export interface EnrolToken {
	/** `rft_<id>_<secret>`; only the secret's digest is kept. */
	readonly token: string
	readonly expiresAt: number
	readonly uses: number
}

const TOKEN = /^rft_([a-z0-9]{1,32})_([A-Za-z0-9_-]{20,100})$/

/** Makes a token with which `uses` agents may enrol within `ttlMs`. */
export async function createEnrolToken(
	fleet: Fleet,
	{ ttlMs, uses }: { readonly ttlMs: number; readonly uses: number },
): Promise<EnrolToken> {
	const [id, secret, now] = [randomId(), randomSecret(), fleet.clock.now()]
	const secretHash = await sha256Hex(secret)
	const expiresAt = now + ttlMs
	await fleet.store.write(async (tx) => {
		await tx
			.insert(enrolTokens)
			.values({ id, secretHash, createdAt: now, expiresAt, usesLeft: uses })
	})
	return { token: `rft_${id}_${secret}`, expiresAt, uses }
}

/**
 * Trades one use of a token for a node of its own with a broker account.
 * @throws Refusal `denied`, the same for every reason, when the token does not hold
 */
export async function enrol(fleet: Fleet, request: EnrolRequest): Promise<EnrolResponse> {
	const cluster = await ensureCluster(fleet)
	const [node, brokerPassword] = [`n-${randomHex(6)}`, randomSecret()]
	await addNode(fleet, request, { node, secretHash: await sha256Hex(brokerPassword) })
	try {
		await fleet.brokerAccounts.provision(node, brokerPassword)
	} catch (error) {
		await undoEnrolment(fleet, request, node)
		throw error
	}
	fleet.changes.documentsChanged()
	return {
		node,
		cluster: cluster.id,
		brokerUrl: fleet.brokerUrl(),
		brokerPassword,
		controllerKey: cluster.controllerKey,
		keyId: cluster.keyId,
	}
}

/** Whether the broker may let this node in. Unknown nodes and wrong passwords take the same way. */
export async function checkBrokerPassword(
	fleet: Fleet,
	node: string,
	password: string,
): Promise<boolean> {
	const given = await sha256Hex(password)
	const [row] = await fleet.store.db
		.select({ secretHash: nodes.secretHash })
		.from(nodes)
		.where(eq(nodes.id, node))
	return isEqualText(given, row?.secretHash ?? '') && row !== undefined
}

async function addNode(
	fleet: Fleet,
	{ token, name }: EnrolRequest,
	{ node, secretHash }: { node: string; secretHash: string },
): Promise<void> {
	const [, id, secret] = TOKEN.exec(token) ?? []
	if (id === undefined || secret === undefined) throw noGoodToken()
	const tokenHash = await sha256Hex(secret)
	const now = fleet.clock.now()
	await fleet.store.write(async (tx) => {
		const taken = await tx
			.update(enrolTokens)
			.set({ usesLeft: sql`${enrolTokens.usesLeft} - 1` })
			.where(
				and(
					eq(enrolTokens.id, id),
					eq(enrolTokens.secretHash, tokenHash),
					gt(enrolTokens.usesLeft, 0),
					gt(enrolTokens.expiresAt, now),
				),
			)
			.returning({ id: enrolTokens.id })
		if (taken.length === 0) throw noGoodToken()
		await tx.insert(nodes).values({ id: node, name, secretHash, enrolledAt: now, lastSeenAt: now })
	})
}

/** The broker refused the account: the node is none, and the token's use is given back. */
async function undoEnrolment(fleet: Fleet, { token }: EnrolRequest, node: string): Promise<void> {
	const [, id = ''] = TOKEN.exec(token) ?? []
	await fleet.store.write(async (tx) => {
		await tx.delete(nodes).where(eq(nodes.id, node))
		await tx
			.update(enrolTokens)
			.set({ usesLeft: sql`${enrolTokens.usesLeft} + 1` })
			.where(eq(enrolTokens.id, id))
	})
}

function noGoodToken(): Refusal {
	return new Refusal('denied', 'The token is unknown, expired or used up.')
}
