import type { DocumentStatus, Hello, Presence } from '@ringfence/shared/contract/messages'
import { and, eq, sql } from 'drizzle-orm'
import { addresses, ingestCursors, nodeDocuments, nodes, workloads } from '../db/schema.ts'
import { globalAddresses, readFleetNetworks, replaceAddresses } from './addresses.ts'
import type { Fleet } from './fleet.ts'
import { takeResolved } from './held.ts'
import { markEmptyGroups } from './learned-groups.ts'
import { raiseEvents } from './raise-events.ts'
import { Refusal } from './refusal.ts'
import { raiseGeneration } from './revisions.ts'
import { takeHeld } from './take-records.ts'
import { runWork, type Work } from './work.ts'

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

/** Takes what became of a desired document. A refusal is shown to people. */
export async function takeStatus(work: Work, node: NodeRow, status: DocumentStatus): Promise<void> {
	const { document, epoch, generation, state, at } = status
	await keepDocument(work, node.id, {
		document,
		epoch,
		generation,
		state,
		why: status.why ?? null,
		at,
	})
	if (state === 'applied') return
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

/**
 * Removes a node with its account, workloads and addresses. Its conversations and events stay until they age.
 * @throws Refusal `not-found`
 */
export async function removeNode(fleet: Fleet, id: string): Promise<void> {
	await runWork(fleet, async (work) => {
		const { tx, now, after } = work
		if (!(await findNode(work, id))) throw new Refusal('not-found', 'There is no such node.')
		const networks = await readFleetNetworks(tx)
		await tx.delete(addresses).where(
			sql`(${addresses.ownerKind} = 'node' and ${addresses.ownerId} = ${id}) or
				(${addresses.ownerKind} = 'workload' and ${addresses.ownerId} in
					(select id from workloads where node_id = ${id}))`,
		)
		await tx.delete(workloads).where(eq(workloads.nodeId, id))
		await tx.delete(ingestCursors).where(eq(ingestCursors.nodeId, id))
		await tx.delete(nodes).where(eq(nodes.id, id))
		await markEmptyGroups(tx, now)
		await raiseGeneration(tx, 'addresses')
		if ((await readFleetNetworks(tx)).length !== networks.length)
			await raiseGeneration(tx, 'policy')
		after.documentsChanged = true
	})
	await fleet.brokerAccounts.revoke(id)
}

async function keepApplied(work: Work, nodeId: string, { applied }: Hello): Promise<void> {
	for (const { document, epoch, generation } of applied) {
		const [row] = await work.tx
			.select()
			.from(nodeDocuments)
			.where(and(eq(nodeDocuments.nodeId, nodeId), eq(nodeDocuments.document, document)))
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
