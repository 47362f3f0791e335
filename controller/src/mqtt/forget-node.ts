import { agentTopics, DOCUMENTS } from '@ringfence/shared/contract/topics'
import type { Bus } from '../fleet/fleet.ts'

/** A head names at most so many shards. */
const SHARDS_MAX = 16

/** Clears what a broker retains of a removed node: its documents, and what its agent left. */
export async function forgetNode(bus: Bus, cluster: string, node: string): Promise<void> {
	const topics = agentTopics(cluster, node)
	const retained = DOCUMENTS.flatMap((document) => [
		topics.status(document),
		topics.head(document),
		...Array.from({ length: SHARDS_MAX }, (_, index) => topics.shard(document, index)),
	])
	await Promise.all(
		[topics.presence, ...retained].map((topic) =>
			bus.publish(topic, new Uint8Array(), { isRetained: true }),
		),
	)
}
