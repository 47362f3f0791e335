import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { decodeMessage, encodeMessage } from '@ringfence/shared/contract/codec'
import { type EnrolResponse, enrolRequestSchema } from '@ringfence/shared/contract/enrol'
import {
	type Command,
	type CommandResult,
	commandResultSchema,
	type DocumentStatus,
	documentStatusSchema,
	type Head,
	type Hello,
	helloSchema,
	type Presence,
	presenceSchema,
	type SignedHead,
	type TelemetryAck,
	type WorkloadsReport,
	workloadsReportSchema,
} from '@ringfence/shared/contract/messages'
import { type AddressEntry, type PolicyEntry, shardOf } from '@ringfence/shared/contract/policy'
import {
	type TelemetryBatch,
	type TelemetryRecord,
	telemetryBatchSchema,
} from '@ringfence/shared/contract/telemetry'
import {
	agentTopics,
	controllerTopics,
	type DocumentName,
	parseTopic,
} from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { connectAsync, type MqttClient } from 'mqtt'

const CLUSTER = 'c1'
const KEY_ID = 'k1'

/** What to do with a batch: take and acknowledge it, take it and have the answer lost, not even hear it, refuse it. */
export type AckMode = 'ack' | 'ack-twice' | 'take-silently' | 'deaf' | 'reject'

/** A controller as the contract describes it, with its database in memory; real HTTP, real MQTT. */
export class FakeController {
	readonly #keys = generateKeyPairSync('ed25519')
	readonly #brokerUrl: string
	readonly #tokens = new Set<string>()
	#server: Server | undefined
	#client: MqttClient | undefined
	#boot = newBoot()
	#nodes = 0
	/** Last batch taken, by node and boot. */
	readonly #cursors = new Map<string, number>()
	#working: Promise<void> = Promise.resolve()

	ackMode: (batch: TelemetryBatch) => AckMode = () => 'ack'
	/** HTTP status and body for the next enrolments. */
	refusal: { status: number; body: string } | undefined
	enrolments = 0
	readonly records: TelemetryRecord[] = []
	readonly batches: TelemetryBatch[] = []
	/** Batches that the agent says it gave up. */
	batchesLost = 0
	readonly hellos: Hello[] = []
	readonly reports: WorkloadsReport[] = []
	readonly statuses: DocumentStatus[] = []
	readonly results: CommandResult[] = []
	readonly presences: Presence[] = []
	/** Messages that do not keep to the contract. */
	readonly faults: string[] = []

	constructor(brokerUrl: string) {
		this.#brokerUrl = brokerUrl
	}

	get url(): string {
		const address = this.#server?.address()
		if (typeof address !== 'object' || address === null) throw new Error('not listening')
		return `http://127.0.0.1:${address.port}`
	}

	get privateKey(): KeyObject {
		return this.#keys.privateKey
	}

	/** @param port 0 for any */
	async listen(port = 0): Promise<void> {
		this.#server = createServer((request, response) => {
			const chunks: Buffer[] = []
			request.on('data', (chunk: Buffer) => chunks.push(chunk))
			request.on('end', () => {
				const { status, type, body } = this.#enrol(Buffer.concat(chunks).toString())
				response.writeHead(status, { 'content-type': type }).end(body)
			})
		})
		this.#server.listen(port, '127.0.0.1')
		await once(this.#server, 'listening')
	}

	newToken(): string {
		const token = `rft_${randomBytes(4).toString('hex')}_${randomBytes(8).toString('hex')}`
		this.#tokens.add(token)
		return token
	}

	async connect(): Promise<void> {
		const { state, upFilter, presenceFilter } = controllerTopics(CLUSTER)
		const client = await connectAsync(this.#brokerUrl, {
			protocolVersion: 4,
			reconnectPeriod: 50,
			resubscribe: false,
			will: { topic: state, payload: this.#state(false), qos: 1, retain: true },
		})
		this.#client = client
		client.on('message', (topic, payload) => {
			this.#working = this.#working.then(() => this.#receive(topic, payload))
		})
		const announce = async (): Promise<void> => {
			await client.subscribeAsync([upFilter, presenceFilter], { qos: 1 })
			await client.publishAsync(state, this.#state(true), { qos: 1, retain: true })
		}
		client.on('connect', () => {
			announce().catch(() => undefined)
		})
		await announce()
	}

	/** The controller's process dies: no goodbye, the database stays. */
	async kill(): Promise<void> {
		const client = this.#client
		this.#client = undefined
		if (!client) return
		const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
		client.options.reconnectPeriod = 0
		client.stream.destroy()
		await closed
		await client.endAsync(true)
	}

	/** A new process over the same database. */
	async restart(): Promise<void> {
		await this.kill()
		this.#boot = newBoot()
		await this.connect()
	}

	async stop(): Promise<void> {
		await this.#client?.endAsync(true)
		this.#client = undefined
		const server = this.#server
		if (!server) return
		server.close()
		server.closeAllConnections()
		await once(server, 'close')
	}

	async publish(topic: string, payload: Uint8Array | string, retain = false): Promise<void> {
		const bytes = typeof payload === 'string' ? payload : Buffer.from(payload)
		await this.#client?.publishAsync(topic, bytes, { qos: 1, retain })
	}

	async command(node: string, id: string, command: Command['command'], inMs = 10_000) {
		const message: Command = { v: CONTRACT_VERSION, id, expiresAt: Date.now() + inMs, command }
		await this.publish(agentTopics(CLUSTER, node).command, await encodeMessage(message))
	}

	async ack(node: string, ack: Omit<TelemetryAck, 'v'>): Promise<void> {
		const message: TelemetryAck = { v: CONTRACT_VERSION, ...ack }
		await this.publish(agentTopics(CLUSTER, node).ack, await encodeMessage(message))
	}

	/** Publishes shards, then the head. */
	async publishDocument(node: string, document: SignedDocument): Promise<void> {
		const topics = agentTopics(CLUSTER, node)
		const { name } = document
		for (const [index, shard] of document.shards.entries()) {
			await this.publish(topics.shard(name, index), shard, true)
		}
		await this.publish(topics.head(name), await encodeMessage(document.head), true)
	}

	sign(node: string, options: DocumentOptions): SignedDocument {
		return signDocument(this.#keys.privateKey, node, options)
	}

	response(node: string): EnrolResponse {
		const jwk = this.#keys.publicKey.export({ format: 'jwk' })
		return {
			node,
			cluster: CLUSTER,
			brokerUrl: this.#brokerUrl,
			brokerPassword: 'secret',
			controllerKey: Buffer.from(jwk.x ?? '', 'base64url').toString('base64'),
			keyId: KEY_ID,
		}
	}

	#enrol(body: string): { status: number; type: string; body: string } {
		const problem = 'application/problem+json'
		this.enrolments += 1
		if (this.refusal) return { type: problem, ...this.refusal }
		const request = enrolRequestSchema.parse(JSON.parse(body))
		if (!this.#tokens.delete(request.token)) {
			const text = JSON.stringify({ title: 'Unauthorized', status: 401, detail: 'unknown token' })
			return { status: 401, type: problem, body: text }
		}
		this.#nodes += 1
		const response = this.response(`n${this.#nodes}`)
		return { status: 201, type: 'application/json', body: JSON.stringify(response) }
	}

	#state(isUp: boolean): Buffer {
		return Buffer.from(
			JSON.stringify({ v: CONTRACT_VERSION, boot: this.#boot, isUp, at: Date.now() }),
		)
	}

	async #receive(topic: string, payload: Buffer): Promise<void> {
		const address = parseTopic(CLUSTER, topic)
		if (!address) {
			this.faults.push(`topic ${topic}`)
			return
		}
		const { node, direction, channel } = address
		if (direction === 'presence') await this.#note(presenceSchema, payload, this.presences)
		else if (channel === 'hello') await this.#note(helloSchema, payload, this.hellos)
		else if (channel === 'workloads') {
			await this.#note(workloadsReportSchema, payload, this.reports)
		} else if (channel.startsWith('status/')) {
			await this.#note(documentStatusSchema, payload, this.statuses)
		} else if (channel === 'result') {
			await this.#note(commandResultSchema, payload, this.results)
		} else if (channel === 'telemetry') await this.#take(node, payload)
		else this.faults.push(`channel ${channel}`)
	}

	async #note<Message>(
		schema: Parameters<typeof decodeMessage>[0],
		payload: Buffer,
		list: Message[],
	): Promise<void> {
		const message = await decodeMessage(schema, payload)
		if (message.ok) list.push(message.value as Message)
		else this.faults.push(message.why)
	}

	async #take(node: string, payload: Buffer): Promise<void> {
		const message = await decodeMessage(telemetryBatchSchema, payload)
		if (!message.ok) {
			this.faults.push(message.why)
			return
		}
		const batch = message.value
		const mode = this.ackMode(batch)
		if (mode === 'deaf') return
		const key = `${node}/${batch.boot}`
		const last = this.#cursors.get(key) ?? 0
		const expected = Math.max(last + 1, batch.floor)
		if (batch.seq > expected) {
			await this.ack(node, { boot: batch.boot, seq: last })
			return
		}
		if (batch.seq === expected) {
			this.batchesLost += expected - last - 1
			this.#cursors.set(key, batch.seq)
			if (mode !== 'reject') {
				this.batches.push(batch)
				this.records.push(...batch.records)
			}
		}
		const seq = Math.max(last, this.#cursors.get(key) ?? 0)
		if (mode === 'take-silently') return
		const rejected = mode === 'reject' ? { rejected: { seq: batch.seq, why: 'no' } } : {}
		await this.ack(node, { boot: batch.boot, seq, ...rejected })
		if (mode === 'ack-twice') await this.ack(node, { boot: batch.boot, seq })
	}
}

export interface SignedDocument {
	readonly name: DocumentName
	readonly head: SignedHead
	readonly shards: readonly Uint8Array[]
}

export type DocumentOptions = {
	readonly epoch?: number
	readonly generation: number
	readonly shardCount?: number
	readonly cluster?: string
} & (
	| { readonly name: 'policy'; readonly entries: readonly PolicyEntry[] }
	| { readonly name: 'addresses'; readonly entries: readonly AddressEntry[] }
)

/** Splits entries into shards and signs the head over them. */
export function signDocument(
	key: KeyObject,
	node: string,
	options: DocumentOptions,
): SignedDocument {
	const count = options.shardCount ?? 16
	const contents = Array.from({ length: count }, (): Record<string, unknown> => ({}))
	for (const entry of options.entries) {
		const entryKey = keyOf(entry)
		const content = contents[shardOf(entryKey, count)]
		if (content) content[entryKey] = entry
	}
	return signShards(key, node, { ...options, contents })
}

/** Signs whatever is given as shards, right or wrong. */
export function signShards(
	key: KeyObject,
	node: string,
	options: Pick<DocumentOptions, 'name' | 'epoch' | 'generation' | 'cluster'> & {
		readonly contents: readonly unknown[]
		/** The shards' bytes, where they are not the contents as JSON. */
		readonly bytes?: readonly Buffer[]
	},
): SignedDocument {
	const shards =
		options.bytes ?? options.contents.map((content) => Buffer.from(JSON.stringify(content)))
	const head: Head = {
		v: CONTRACT_VERSION,
		cluster: options.cluster ?? CLUSTER,
		node,
		document: options.name,
		epoch: options.epoch ?? 1,
		generation: options.generation,
		at: Date.now(),
		shards: shards.map((shard) => createHash('sha256').update(shard).digest('hex')),
	}
	const body = JSON.stringify(head)
	const signature = sign(null, Buffer.from(body), key).toString('base64')
	return {
		name: options.name,
		head: { v: CONTRACT_VERSION, body, signature, keyId: KEY_ID },
		shards,
	}
}

function keyOf(entry: PolicyEntry | AddressEntry): string {
	if ('network' in entry) return entry.network
	if (entry.kind === 'settings') return 'settings'
	return entry.kind === 'group' ? `group:${entry.name}` : `rule:${entry.id}`
}

function newBoot(): string {
	return randomBytes(8).toString('hex')
}
