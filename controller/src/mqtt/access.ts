import { agentTopics, controllerTopics, DOCUMENTS } from '@ringfence/shared/contract/topics'

/** What one node's agent may do at the broker. All else is forbidden. */
export interface NodeAccess {
	/** Whether the agent may publish there, and whether the broker may keep it (retain). */
	mayPublish(topic: string, isRetained: boolean): boolean
	/** Filters reach no topic beyond the node's own: `#` and `$share` groups don't begin with its prefix. */
	maySubscribe(filter: string): boolean
	/** Checked again for each message on its way out. */
	mayReceive(topic: string): boolean
}

/**
 * Access rules of a node, from the topics of the contract. A node writes a closed set of topics, so what it can make the
 * broker retain is bounded; it reads what is below its own `down/` and the controller's state.
 * @param node an id that has passed `idSchema`: wildcards and slashes in it would widen the rules
 */
export function nodeAccess(cluster: string, node: string): NodeAccess {
	const topics = agentTopics(cluster, node)
	const { state } = controllerTopics(cluster)
	const down = topics.downFilter.slice(0, -1)
	const retained = new Set([topics.presence, ...DOCUMENTS.map((name) => topics.status(name))])
	const passing = new Set([topics.hello, topics.workloads, topics.telemetry, topics.result])
	const mayRead = (topicOrFilter: string) =>
		topicOrFilter === state || topicOrFilter.startsWith(down)
	return {
		mayPublish: (topic, isRetained) => retained.has(topic) || (passing.has(topic) && !isRetained),
		maySubscribe: mayRead,
		mayReceive: mayRead,
	}
}
