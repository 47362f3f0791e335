import type { DocumentStatus, Hello, Presence } from '@ringfence/shared/contract/messages'
import type { DocumentName } from '@ringfence/shared/contract/topics'
import { and, eq, like, sql } from 'drizzle-orm'
import {
	addresses,
	ingestCursors,
	nodeDocuments,
	nodes,
	settings,
	workloads,
} from '../../db/schema.ts'
import { raiseEvents } from '../alerts/raise-events.ts'
import { type Act, recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { takeResolved } from '../intake/held.ts'
import { takeHeld } from '../intake/take-records.ts'
import { markEmptyGroups } from '../policy/learned-groups.ts'
import { type Expected, requireRow } from '../refusal.ts'
import { raiseGeneration } from '../revisions.ts'
import { runWork, type Work } from '../work.ts'
import { globalAddresses, readFleetNetworks, replaceAddresses } from './addresses.ts'
import { outrun } from './outrun.ts'

export type NodeRow = typeof nodes.$inferSelect

/** Reads a node; undefined when there is none of that id. */
export async function findNode({ tx }: Work, id: string): Promise<NodeRow | undefined> {
	const [row] = await tx.select().from(nodes).where(eq(nodes.id, id))
	return row
}

/** Takes what a connection or its will says. An old run's will does not bury a new run. */
export async function takePresence(work: Work, node: NodeRow, message: Presence): Promise<void> {
	if (!message.isUp && message.boot !== node.boot) return
	await work.tx
		.update(nodes)
		.set({
			boot: message.boot,
			isUp: message.isUp,
			...(message.isUp ? { lastSeenAt: work.now } : {}),
			...(message.isUp === node.isUp ? {} : { revision: sql`${nodes.revision} + 1` }),
		})
		.where(eq(nodes.id, node.id))
}

/** Takes an agent's first message: who it is, where it is, and what is in force there. */
export async function takeHello(work: Work, node: NodeRow, message: Hello): Promise<void> {
	const { tx, now, after } = work
	const { facts, boot } = message
	await tx
		.update(nodes)
		.set({
			facts,
			boot,
			isUp: true,
			lastSeenAt: now,
			helloAt: now,
			revision: sql`${nodes.revision} + 1`,
		})
		.where(eq(nodes.id, node.id))
	await keepApplied(work, node.id, message)
	await outrun(work, node, message.applied)
	const owned = globalAddresses(facts.interfaces)
	const changes = await replaceAddresses(tx, 'node', new Map([[node.id, owned]]))
	await raiseFor(work, changes)
	// Everything is published to it again: the broker may have lost what it kept.
	after.documentsChanged = true
	const resolved = owned.map(({ address }) => `address:${address}`)
	await takeHeld(work, await takeResolved(work, resolved))
}

/** Raises the generations of the documents that changed addresses are part of. */
export async function raiseFor(
	{ tx, after }: Work,
	changes: { readonly hasChanged: boolean; readonly hasNewNetworks: boolean },
): Promise<void> {
	if (changes.hasChanged) await raiseGeneration(tx, 'addresses')
	if (changes.hasNewNetworks) await raiseGeneration(tx, 'policy')
	after.documentsChanged ||= changes.hasChanged || changes.hasNewNetworks
}

/**
 * Takes what became of a desired document. A refusal is shown to people, once: the broker retains the last status, and
 * tells it again whenever a controller connects.
 */
export async function takeStatus(work: Work, node: NodeRow, status: DocumentStatus): Promise<void> {
	const { document, epoch, generation, state, at } = status
	const why = status.why ?? null
	const known = await findDocument(work, node.id, document)
	const isRepeated = known?.state === state && known.at === at && known.why === why
	if (isRepeated && known.epoch === epoch && known.generation === generation) return
	await keepDocument(work, node.id, { document, epoch, generation, state, why, at })
	if (state === 'applied') {
		await outrun(work, node, [{ document, epoch, generation }])
		return
	}
	await raiseEvents(work, [
		{
			kind: 'agent',
			name: 'document rejected',
			severity: 'high',
			at: work.now,
			count: 1,
			node,
			why: `${document} ${generation}: ${status.why ?? 'no reason given'}`,
			about: `${document} ${epoch} ${generation}`,
		},
	])
}

/** Takes notice of a message that could not be read. */
export async function takeRejected(
	work: Work,
	node: NodeRow,
	{ channel, why }: { readonly channel: string; readonly why: string },
): Promise<void> {
	await work.tx
		.update(nodes)
		.set({ rejected: sql`${nodes.rejected} + 1` })
		.where(eq(nodes.id, node.id))
	const place = channel.slice(0, 64)
	await raiseEvents(work, [
		{
			kind: 'agent',
			name: 'message rejected',
			severity: 'medium',
			at: work.now,
			count: 1,
			node,
			why: `${place}: ${why}`.slice(0, 1024),
			about: place,
		},
	])
}

/** Nodes whose removal the broker does not know of yet, in `settings`. */
const REMOVED_KEYS = 'removed.'

/**
 * Removes a node with its workloads and addresses, and its account at the broker. Its conversations and events stay until they
 * age. A broker that is away hears of it later: see `revokeRemoved`.
 * @throws Refusal `not-found` or `stale`
 */
export async function removeNode(
	fleet: Fleet,
	act: Act,
	{ id, expected }: { readonly id: string; readonly expected: Expected },
): Promise<void> {
	await runWork(fleet, async (work) => {
		const { tx, now, after } = work
		const { name } = requireRow(await findNode(work, id), 'node', expected)
		const networks = await readFleetNetworks(tx)
		await tx.delete(addresses).where(
			sql`(${addresses.ownerKind} = 'node' and ${addresses.ownerId} = ${id}) or
				(${addresses.ownerKind} = 'workload' and ${addresses.ownerId} in
					(select id from workloads where node_id = ${id}))`,
		)
		await tx.delete(workloads).where(eq(workloads.nodeId, id))
		await tx.delete(ingestCursors).where(eq(ingestCursors.nodeId, id))
		await tx.delete(nodes).where(eq(nodes.id, id))
		await tx.insert(settings).values({ key: REMOVED_KEYS + id, value: now })
		await markEmptyGroups(tx, now)
		await raiseGeneration(tx, 'addresses')
		if ((await readFleetNetworks(tx)).length !== networks.length)
			await raiseGeneration(tx, 'policy')
		await recordAudit(tx, act, { action: 'node.delete', target: `node:${id}`, before: { name } })
		after.documentsChanged = true
	})
	await revokeRemoved(fleet)
}

/** Takes the accounts of removed nodes away; what the broker does not take stays for the next call. */
export async function revokeRemoved(fleet: Fleet): Promise<void> {
	const { store, brokerAccounts, log } = fleet
	const rows = await store.db
		.select({ key: settings.key })
		.from(settings)
		.where(like(settings.key, `${REMOVED_KEYS}%`))
	for (const { key } of rows) {
		const node = key.slice(REMOVED_KEYS.length)
		try {
			await brokerAccounts.revoke(node)
		} catch (error) {
			log('warn', 'the broker still knows a removed node', { node, why: String(error) })
			return
		}
		await store.write((tx) => tx.delete(settings).where(eq(settings.key, key)))
	}
}

async function keepApplied(work: Work, nodeId: string, { applied }: Hello): Promise<void> {
	for (const { document, epoch, generation } of applied) {
		const row = await findDocument(work, nodeId, document)
		// What is in force does not undo the news that a later version was refused.
		const isRefusedLater =
			row?.state === 'rejected' && row.epoch === epoch && row.generation > generation
		if (isRefusedLater) continue
		const at = work.now
		await keepDocument(work, nodeId, {
			document,
			epoch,
			generation,
			state: 'applied',
			why: null,
			at,
		})
	}
}

async function findDocument(
	{ tx }: Work,
	nodeId: string,
	document: DocumentName,
): Promise<typeof nodeDocuments.$inferSelect | undefined> {
	const [row] = await tx
		.select()
		.from(nodeDocuments)
		.where(and(eq(nodeDocuments.nodeId, nodeId), eq(nodeDocuments.document, document)))
	return row
}

async function keepDocument(
	{ tx }: Work,
	nodeId: string,
	row: Omit<typeof nodeDocuments.$inferInsert, 'nodeId'>,
): Promise<void> {
	await tx
		.insert(nodeDocuments)
		.values({ nodeId, ...row })
		.onConflictDoUpdate({ target: [nodeDocuments.nodeId, nodeDocuments.document], set: row })
}
