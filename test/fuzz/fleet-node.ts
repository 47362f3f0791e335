import { readFileSync } from 'node:fs'
import { encodeMessage } from '@ringfence/shared/contract/codec'
import type { EnrolResponse } from '@ringfence/shared/contract/enrol'
import { type AgentTopics, agentTopics } from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { connectAsync, type MqttClient } from 'mqtt'
import type { Controller } from '../harness/controller.ts'

/** A node as its controller sees it: credentials, and whatever is said with them. */
export interface FleetNode extends Pick<EnrolResponse, 'node' | 'cluster'> {
	readonly topics: AgentTopics
	/** Connects once; rejects when the broker refuses. */
	connect(): Promise<MqttClient>
}

/** Enrols by REST, as an agent does. */
export async function enrolNode(controller: Controller, name: string): Promise<FleetNode> {
	const token = readFileSync(controller.tokenFile, 'utf8').trim()
	const answer = await fetch(`${controller.url}/v1/enroll`, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify({ token, name }),
	})
	if (!answer.ok) throw new Error(await answer.text())
	const { node, cluster, brokerUrl, brokerPassword } = (await answer.json()) as EnrolResponse
	return {
		node,
		cluster,
		topics: agentTopics(cluster, node),
		async connect() {
			const client = await connectAsync(
				brokerUrl,
				{
					protocolVersion: 4,
					reconnectPeriod: 0,
					clientId: node,
					username: node,
					password: brokerPassword,
				},
				false,
			)
			client.on('error', () => undefined)
			client.setMaxListeners(0)
			return client
		},
	}
}

/** Publishes with QoS 1: `refused` when the broker ends the connection over it. */
export function tryPublish(
	client: MqttClient,
	topic: string,
	payload: Uint8Array | string,
	retain = false,
): Promise<'taken' | 'refused'> {
	return new Promise((resolve) => {
		const refused = () => resolve('refused')
		client.once('close', refused)
		client.publish(topic, Buffer.from(payload), { qos: 1, retain }, (error) => {
			client.off('close', refused)
			resolve(error ? 'refused' : 'taken')
		})
	})
}

/** A conversation of a workload with one server outside. */
export function conversation(workload: string, at: number) {
	return {
		kind: 'conversation',
		workload,
		side: 'client',
		peerAddress: '203.0.113.9',
		protocol: 6,
		serverPort: 80,
		application: 'http',
		why: 'no rule (discover)',
		isFinal: true,
		action: 'learn',
		sessions: 1,
		clientPackets: 5,
		clientBytes: 500,
		serverPackets: 4,
		serverBytes: 4000,
		firstAt: at,
		lastAt: at,
	}
}

export interface BatchOptions {
	readonly boot: string
	readonly seq: number
	readonly floor?: number
	readonly records: readonly unknown[]
}

export function batch({ boot, seq, floor = 1, records }: BatchOptions): Promise<Uint8Array> {
	return encodeMessage({ v: CONTRACT_VERSION, boot, seq, floor, at: Date.now(), records })
}

export function workload(id: string, address: string, more: object = {}) {
	return {
		id,
		name: id,
		runtime: 'netns',
		service: id,
		domain: 'test',
		labels: {},
		interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', addresses: [`${address}/24`] }],
		startedAt: 1_790_000_000_000,
		...more,
	}
}
