import { sql } from 'drizzle-orm'
import { settings } from '../../db/schema.ts'
import type { Fleet } from '../fleet.ts'
import {
	findNode,
	type NodeRow,
	takeHello,
	takePresence,
	takeRejected,
	takeStatus,
} from '../nodes/nodes.ts'
import { takeWorkloads } from '../nodes/workloads.ts'
import { Refusal } from '../refusal.ts'
import { runWork, type Work } from '../work.ts'
import type { Intake } from './intake.ts'
import { takeBatch } from './telemetry.ts'

/** Counter of messages from nodes that are none, in `settings`. */
export const UNKNOWN_NODES_KEY = 'refused.unknown-nodes'

/**
 * The way in for what agents tell. Each call is one transaction, or throws and has changed nothing; a message from an
 * unknown node throws `Refusal` with code `not-found` after it is counted.
 */
export function createIntake(fleet: Fleet): Intake {
	const take = <Result>(id: string, handle: (work: Work, node: NodeRow) => Promise<Result>) =>
		takeFrom(fleet, id, handle)
	return {
		presence: (node, message) => take(node, (work, row) => takePresence(work, row, message)),
		hello: (node, message) => take(node, (work, row) => takeHello(work, row, message)),
		workloads: (node, message) => take(node, (work, row) => takeWorkloads(work, row, message)),
		telemetry: (node, message) => take(node, (work, row) => takeBatch(work, row, message)),
		status: (node, message) => take(node, (work, row) => takeStatus(work, row, message)),
		result: (node, { id, ok, why }) =>
			take(node, async () => fleet.log(ok ? 'info' : 'warn', 'command result', { node, id, why })),
		rejected: (node, channel, why) =>
			take(node, (work, row) => takeRejected(work, row, { channel, why })),
	}
}

async function takeFrom<Result>(
	fleet: Fleet,
	id: string,
	handle: (work: Work, node: NodeRow) => Promise<Result>,
): Promise<Result> {
	const taken = await runWork(fleet, async (work) => {
		const node = await findNode(work, id)
		if (node) return { result: await handle(work, node) }
		await countUnknown(work)
		return undefined
	})
	if (taken) return taken.result
	throw new Refusal('not-found', `There is no node ${id}.`)
}

async function countUnknown({ tx }: Work): Promise<void> {
	await tx
		.insert(settings)
		.values({ key: UNKNOWN_NODES_KEY, value: 1 })
		.onConflictDoUpdate({
			target: settings.key,
			set: { value: sql`json(${settings.value} + 1)` },
		})
}
