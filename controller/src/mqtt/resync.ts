import { encodeMessage } from '@ringfence/shared/contract/codec'
import type { Command } from '@ringfence/shared/contract/messages'
import { agentTopics } from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import type { Bus, Clock, Log } from '../fleet/fleet.ts'

/** What went wrong has time to pass, and a node is asked no more often. */
const AFTER_MS = 10_000
/** Later the agent has said it all again for another reason. */
const EXPIRES_MS = 60_000
/** Nodes that wait to be asked. */
const NODES_MAX = 20_000

export interface Resync {
	/** What the node said once is lost: it is asked to say it again, soon and once for all that is lost until then. */
	ask(node: string): void
	stop(): void
}

/** Gets said again what agents say only once: who they are, and which workloads they have. */
export function createResync(options: {
	readonly cluster: string
	readonly bus: Bus
	readonly clock: Clock
	readonly log: Log
}): Resync {
	const timers = new Map<string, NodeJS.Timeout>()

	async function send(node: string): Promise<void> {
		const now = options.clock.now()
		const command: Command = {
			v: CONTRACT_VERSION,
			id: `resync-${now}`,
			expiresAt: now + EXPIRES_MS,
			command: { kind: 'resync' },
		}
		const { command: topic } = agentTopics(options.cluster, node)
		await options.bus.publish(topic, await encodeMessage(command), { isRetained: false })
	}

	return {
		ask(node) {
			if (timers.has(node) || timers.size >= NODES_MAX) return
			const timer = setTimeout(() => {
				timers.delete(node)
				send(node).catch((error: unknown) => {
					// Without a broker the agent has lost us too, and says hello when it finds us again.
					options.log('debug', 'a node could not be asked again', { node, error: String(error) })
				})
			}, AFTER_MS)
			timer.unref()
			timers.set(node, timer)
		},
		stop() {
			for (const timer of timers.values()) clearTimeout(timer)
			timers.clear()
		},
	}
}
