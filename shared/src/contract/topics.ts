/** MQTT topics. At most seven slashes, so that every common broker and its access rules can carry them. */

import { idSchema } from './text.ts'

export const DOCUMENTS = ['policy', 'addresses'] as const

/** A desired document: what a node must know, as signed head and shards. */
export type DocumentName = (typeof DOCUMENTS)[number]

export interface AgentTopics {
	/** Agent writes, once a connection: `Hello`. */
	readonly hello: string
	/** Agent writes: `WorkloadsReport`. */
	readonly workloads: string
	/** Agent writes: `TelemetryBatch`. */
	readonly telemetry: string
	/** Agent writes: `CommandResult`. */
	readonly result: string
	/** Agent writes, retained: `DocumentStatus`. */
	status(document: DocumentName): string
	/** Agent writes, retained, and leaves as its will: `Presence`. */
	readonly presence: string
	/** Agent reads: all that is below. */
	readonly downFilter: string
	/** Controller writes: `TelemetryAck`. */
	readonly ack: string
	/** Controller writes: `Command`. */
	readonly command: string
	/** Controller writes, retained: `SignedHead`. */
	head(document: DocumentName): string
	/** Controller writes, retained: shard bytes, named by the head's digest. */
	shard(document: DocumentName, index: number): string
}

export interface ControllerTopics {
	/** Controller writes, retained, and leaves as its will: `ControllerState`. Every agent reads it. */
	readonly state: string
	/** What controllers subscribe to. */
	readonly upFilter: string
	readonly presenceFilter: string
}

/** Topics between one node's agent and the controllers of a cluster. */
export function agentTopics(cluster: string, node: string): AgentTopics {
	const root = `rf/v1/${cluster}`
	const agent = `${root}/agent/${node}`
	return {
		hello: `${agent}/up/hello`,
		workloads: `${agent}/up/workloads`,
		telemetry: `${agent}/up/telemetry`,
		result: `${agent}/up/result`,
		status: (document) => `${agent}/up/status/${document}`,
		presence: `${root}/presence/${node}`,
		downFilter: `${agent}/down/#`,
		ack: `${agent}/down/ack`,
		command: `${agent}/down/command`,
		head: (document) => `${agent}/down/${document}/head`,
		shard: (document, index) => `${agent}/down/${document}/${index}`,
	}
}

export function controllerTopics(cluster: string): ControllerTopics {
	const root = `rf/v1/${cluster}`
	return {
		state: `${root}/ctl/state`,
		upFilter: `${root}/agent/+/up/#`,
		presenceFilter: `${root}/presence/+`,
	}
}

/** What a topic of the cluster is about: whose it is, and the path below `up`, `down` or `presence`. */
export interface TopicAddress {
	readonly direction: 'up' | 'down' | 'presence'
	readonly node: string
	/** `hello`, `status/policy`, …; empty for presence. */
	readonly channel: string
}

/** Takes a topic apart; undefined when it is none of an agent's topics in this cluster. */
export function parseTopic(cluster: string, topic: string): TopicAddress | undefined {
	const [rf, version, itsCluster, kind, name, direction, ...rest] = topic.split('/')
	if (rf !== 'rf' || version !== 'v1' || itsCluster !== cluster) return undefined
	const { data: node } = idSchema.safeParse(name)
	if (node === undefined) return undefined
	if (kind === 'presence' && direction === undefined) {
		return { direction: 'presence', node, channel: '' }
	}
	if (kind !== 'agent' || rest.length === 0) return undefined
	if (direction !== 'up' && direction !== 'down') return undefined
	return { direction, node, channel: rest.join('/') }
}
