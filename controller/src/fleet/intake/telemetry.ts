import type { TelemetryAck } from '@ringfence/shared/contract/messages'
import type { TelemetryBatch } from '@ringfence/shared/contract/telemetry'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { and, eq } from 'drizzle-orm'
import { ingestCursors, nodes } from '../../db/schema.ts'
import { raiseEvents } from '../alerts/raise-events.ts'
import type { NodeRow } from '../nodes/nodes.ts'
import type { Work } from '../work.ts'
import { addBounded } from './conversation-sums.ts'
import type { NodeName } from './directory.ts'
import { takeOverdue } from './held.ts'
import { takeHeld, takeRecords } from './take-records.ts'

/** That a node was seen is written at most this often. */
const SEEN_EVERY_MS = 10_000

/**
 * Takes a batch once, however often and in whatever order it comes: the cursor of its boot moves in the transaction
 * of its records. After a gap that the agent can still fill, nothing is taken: it sends again from the cursor on.
 */
export async function takeBatch(
	work: Work,
	node: NodeRow,
	batch: TelemetryBatch,
): Promise<TelemetryAck> {
	await keepSeen(work, node)
	const { boot, seq } = batch
	const cursor = await readCursor(work, node.id, boot)
	const ack = (upTo: number): TelemetryAck => ({ v: CONTRACT_VERSION, boot, seq: upTo })
	if (seq <= cursor) return ack(cursor)
	const oldest = Math.min(batch.floor, seq)
	const lost = Math.max(oldest - cursor - 1, 0)
	const isNext = seq === cursor + 1 + lost
	if (!isNext && lost === 0) return ack(cursor)
	const upTo = isNext ? seq : oldest - 1
	await moveCursor(work, node.id, { boot, seq: upTo, lost })
	if (lost > 0) await reportLost(work, node, lost)
	if (isNext) {
		await takeRecords(
			work,
			node,
			batch.records.map((record) => ({ record, heldAt: work.now })),
		)
	}
	await takeHeld(work, await takeOverdue(work))
	return ack(upTo)
}

async function keepSeen({ tx, now }: Work, { id, lastSeenAt }: NodeRow): Promise<void> {
	if (now - lastSeenAt < SEEN_EVERY_MS) return
	await tx.update(nodes).set({ lastSeenAt: now }).where(eq(nodes.id, id))
}

async function readCursor({ tx }: Work, nodeId: string, boot: string): Promise<number> {
	const [row] = await tx
		.select({ seq: ingestCursors.seq })
		.from(ingestCursors)
		.where(and(eq(ingestCursors.nodeId, nodeId), eq(ingestCursors.boot, boot)))
	return row?.seq ?? 0
}

async function moveCursor(
	{ tx, now }: Work,
	nodeId: string,
	{ boot, seq, lost }: { boot: string; seq: number; lost: number },
): Promise<void> {
	const key = and(eq(ingestCursors.nodeId, nodeId), eq(ingestCursors.boot, boot))
	const [row] = await tx.select({ lost: ingestCursors.lost }).from(ingestCursors).where(key)
	if (!row) await tx.insert(ingestCursors).values({ nodeId, boot, seq, lost, at: now })
	else {
		await tx
			.update(ingestCursors)
			.set({ seq, lost: addBounded(row.lost, lost), at: now })
			.where(key)
	}
}

async function reportLost(work: Work, node: NodeName, lost: number): Promise<void> {
	await raiseEvents(work, [
		{
			kind: 'agent',
			name: 'telemetry lost',
			severity: 'medium',
			at: work.now,
			count: lost,
			node,
			why: `${lost} batches were given up by the agent before they could be delivered`,
		},
	])
}
