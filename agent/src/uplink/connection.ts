import type { Presence } from '@ringfence/shared/contract/messages'
import { agentTopics, controllerTopics } from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { connect, type IClientOptions, type MqttClient } from 'mqtt'
import { type Backoff, jitteredDelayMs } from './backoff.ts'
import type { Counters } from './counters.ts'
import type { Identity } from './identity.ts'
import type { Log } from './log.ts'
import type { Rejections } from './rejections.ts'
import { messageOf } from './uplink-error.ts'

export interface ConnectionOptions {
	readonly identity: Identity
	readonly boot: string
	readonly backoff: Backoff
	readonly counters: Counters
	readonly rejections: Rejections
	readonly log: Log
	/** Called when subscriptions stand: what is published from then on is heard, and so are the answers. */
	onUp(): void
	onDown(): void
	onMessage(topic: string, payload: Uint8Array, isRetained: boolean): void
}

const KEEPALIVE_SECONDS = 10
const CONNECT_TIMEOUT_MS = 10_000
const SUBSCRIBE_TIMEOUT_MS = 10_000
const STOP_TIMEOUT_MS = 2_000
/** A connection that held this long was a good one: the next failure counts as the first. */
const STABLE_MS = 5_000
/** Largest packet that is read. Version 5 tells the broker; earlier ones cannot, so the bytes are counted as well. */
const PACKET_BYTES_MAX = 5 * 1024 * 1024
/** A broker that stays away for one reason is complained of this often. */
const LOG_AGAIN_MS = 60_000
/** Messages handed to the client that the broker has not answered. Above it nothing more is published. */
const UNSETTLED_MAX = 128
/** [MQTT-3.9.3-2] */
const SUBSCRIPTION_FAILED = 128
/** CONNACK: unacceptable protocol version (MQTT 3.1.1 §3.2.2.3, MQTT 5 §3.2.2.2). */
const VERSION_REFUSALS = [1, 132]
/** Errors of `connect(2)` and of name resolution. */
const UNREACHABLE = [
	'ECONNREFUSED',
	'EHOSTUNREACH',
	'ENETUNREACH',
	'ENOTFOUND',
	'EAI_AGAIN',
	'ETIMEDOUT',
]

/**
 * The connection to the broker, made again whenever it ends. Every try is a new client with a clean session: nothing is
 * left over from an earlier one, because all that matters is sent again by those who own it.
 */
export class Connection {
	readonly #options: ConnectionOptions
	/** 5 (MQTT 5) or 4 (MQTT 3.1.1): what worked last, or what to try. */
	#protocolVersion: 4 | 5 = 5
	#isVersionKnown = false
	#isVersionRefused = false
	#client: MqttClient | undefined
	#isUp = false
	#isStopped = false
	#failures = 0
	#unsettled = 0
	#retryTimer: NodeJS.Timeout | undefined
	#lastError = ''
	/** Why there is no connection, as the log was told last, and when. */
	#logged = { why: '', at: 0 }
	/** The last try did not get as far as a broker. */
	#isUnreachable = false

	constructor(options: ConnectionOptions) {
		this.#options = options
	}

	get isUp(): boolean {
		return this.#isUp
	}

	start(): void {
		this.#open()
	}

	/**
	 * Hands a message to the broker, at least once. Nobody waits for the broker's answer: it is no delivery, and it never
	 * comes when the connection ends before.
	 * @returns false when there is no connection, or too much is unanswered
	 */
	publish(topic: string, payload: Uint8Array, isRetained = false): boolean {
		const client = this.#client
		if (!client || !this.#isUp || this.#unsettled >= UNSETTLED_MAX) {
			this.#options.counters.add('publishesRefused')
			return false
		}
		this.#send(client, topic, payload, isRetained)
		return true
	}

	/** Asks for all retained messages again ([MQTT-3.8.4-3]: a repeated SUBSCRIBE has them sent again). */
	refetch(): void {
		if (!this.#client || !this.#isUp) return
		this.#client.subscribe(this.#topics().downFilter, { qos: 1 }, () => undefined)
	}

	/** Says goodbye, so that the will stays unsent, and closes; bounded in time. */
	async stop(): Promise<void> {
		this.#isStopped = true
		clearTimeout(this.#retryTimer)
		const client = this.#client
		if (!client) return
		if (this.#isUp) await this.#farewell(client)
		client.end(true)
		this.#down()
	}

	#open(): void {
		if (this.#isStopped) return
		this.#lastError = ''
		this.#isUnreachable = false
		this.#isVersionRefused = false
		try {
			this.#client = connect(this.#options.identity.brokerUrl, this.#clientOptions())
			this.#listen(this.#client)
		} catch (error) {
			this.#lastError = messageOf(error)
			this.#retryLater()
		}
	}

	#listen(client: MqttClient): void {
		const version = this.#protocolVersion
		let connectedAt: number | undefined
		boundPackets(client, () => {
			this.#options.rejections.add('tooLarge', '', 'packet exceeds the limit')
			client.end(true)
		})
		client.on('message', (topic, payload, packet) => {
			if (this.#client === client) this.#options.onMessage(topic, payload, packet.retain)
		})
		client.on('connect', () => {
			connectedAt = Date.now()
			this.#isVersionKnown = true
			this.#subscribe(client).catch((error: unknown) => {
				this.#lastError = messageOf(error)
				client.end(true)
			})
		})
		client.on('error', (error) => {
			this.#lastError = messageOf(error)
			this.#classify(version, error)
			client.end(true)
		})
		client.on('disconnect', (packet) => {
			this.#lastError = `the broker ended the connection, reason ${packet.reasonCode ?? 'none'}`
		})
		client.once('close', () => this.#closed(client, connectedAt))
		client.once('end', () => this.#closed(client, connectedAt))
	}

	#clientOptions(): IClientOptions {
		const { node, brokerPassword } = this.#options.identity
		const isV5 = this.#protocolVersion === 5
		return {
			protocolVersion: this.#protocolVersion,
			clientId: node,
			username: node,
			password: brokerPassword,
			clean: true,
			keepalive: KEEPALIVE_SECONDS,
			connectTimeout: CONNECT_TIMEOUT_MS,
			reconnectPeriod: 0,
			resubscribe: false,
			queueQoSZero: false,
			will: {
				topic: this.#topics().presence,
				payload: this.#presence(false),
				qos: 1,
				retain: true,
			},
			...(isV5 ? { properties: { maximumPacketSize: PACKET_BYTES_MAX } } : {}),
		}
	}

	#topics() {
		return agentTopics(this.#options.identity.cluster, this.#options.identity.node)
	}

	#presence(isUp: boolean): Buffer {
		const presence: Presence = {
			v: CONTRACT_VERSION,
			boot: this.#options.boot,
			isUp,
			at: Date.now(),
		}
		return Buffer.from(JSON.stringify(presence))
	}

	async #subscribe(client: MqttClient): Promise<void> {
		const { state } = controllerTopics(this.#options.identity.cluster)
		const filters = [this.#topics().downFilter, state]
		const granted = await settled(client.subscribeAsync(filters, { qos: 1 }), SUBSCRIBE_TIMEOUT_MS)
		const refused = granted.find((grant) => grant.qos >= SUBSCRIPTION_FAILED)
		if (refused) throw new Error(`the broker refuses the subscription to ${refused.topic}`)
		if (this.#client !== client || this.#isStopped) return
		this.#isUp = true
		this.#logged = { why: '', at: 0 }
		const { counters, log, identity } = this.#options
		counters.set('isConnected', 1)
		if (counters.get('connects') > 0) counters.add('reconnects')
		counters.add('connects')
		log('info', 'connected to the broker', {
			brokerUrl: withoutSecrets(identity.brokerUrl),
			protocolVersion: this.#protocolVersion,
		})
		this.#send(client, this.#topics().presence, this.#presence(true), true)
		this.#options.onUp()
	}

	#send(client: MqttClient, topic: string, payload: Uint8Array, isRetained: boolean): void {
		this.#unsettled += 1
		client.publish(topic, Buffer.from(payload), { qos: 1, retain: isRetained }, (error) => {
			if (this.#client !== client) return
			this.#unsettled -= 1
			if (error && this.#isUp) {
				this.#options.counters.add('publishesRefused')
				const fields = { topic, why: messageOf(error) }
				this.#options.log('warn', 'the broker does not take a message', fields)
			}
		})
	}

	/** Tells failures of the network from those that another protocol version may cure. */
	#classify(version: 4 | 5, error: Error): void {
		const code = 'code' in error ? error.code : undefined
		if (typeof code === 'string') this.#isUnreachable = UNREACHABLE.includes(code)
		if (typeof code !== 'number' || !VERSION_REFUSALS.includes(code)) return
		this.#isVersionKnown = true
		this.#isVersionRefused = true
		this.#protocolVersion = version === 5 ? 4 : 5
	}

	#closed(client: MqttClient, connectedAt: number | undefined): void {
		if (this.#client !== client) return
		const wasStable = connectedAt !== undefined && Date.now() - connectedAt >= STABLE_MS
		if (wasStable) this.#failures = 0
		this.#down()
		if (this.#isStopped) return
		if (this.#isVersionRefused && this.#protocolVersion === 4) {
			this.#open()
			return
		}
		if (connectedAt === undefined) this.#options.counters.add('connectFailures')
		// Some old brokers hang up or answer nonsense: until a version has worked, the two take turns.
		if (!this.#isVersionKnown && !this.#isUnreachable) {
			this.#protocolVersion = this.#protocolVersion === 5 ? 4 : 5
		}
		this.#retryLater()
	}

	#retryLater(): void {
		const waitMs = jitteredDelayMs(this.#options.backoff, this.#failures)
		this.#failures += 1
		this.#logRetry(waitMs)
		this.#retryTimer = setTimeout(() => this.#open(), waitMs)
	}

	/** The same reason again and again is told once in a while. */
	#logRetry(waitMs: number): void {
		const why = this.#lastError || 'the connection was closed'
		const isNews = why !== this.#logged.why || Date.now() - this.#logged.at >= LOG_AGAIN_MS
		if (isNews) this.#logged = { why, at: Date.now() }
		this.#options.log(isNews ? 'warn' : 'debug', 'not connected to the broker; it is tried again', {
			brokerUrl: withoutSecrets(this.#options.identity.brokerUrl),
			why,
			tries: this.#failures,
			waitMs: Math.round(waitMs),
		})
	}

	#down(): void {
		const wasUp = this.#isUp
		this.#client = undefined
		this.#isUp = false
		this.#unsettled = 0
		this.#options.counters.set('isConnected', 0)
		if (wasUp) this.#options.onDown()
	}

	async #farewell(client: MqttClient): Promise<void> {
		const { presence } = this.#topics()
		const goodbye = client
			.publishAsync(presence, this.#presence(false), { qos: 1, retain: true })
			.then(() => client.endAsync())
		await settled(goodbye, STOP_TIMEOUT_MS).catch(() => undefined)
	}
}

/** Ends up in `onExceeded` when more bytes arrive than a packet may have without one being complete. */
function boundPackets(client: MqttClient, onExceeded: () => void): void {
	let bytes = 0
	client.stream.on('data', (chunk: Uint8Array) => {
		bytes += chunk.length
		if (bytes > PACKET_BYTES_MAX) onExceeded()
	})
	client.on('packetreceive', () => {
		bytes = 0
	})
}

/** The promise, or an error after a time: the client's promises stay open when the connection ends. */
async function settled<Value>(promise: Promise<Value>, timeoutMs: number): Promise<Value> {
	let timer: NodeJS.Timeout | undefined
	const timeout = new Promise<never>((_, reject) => {
		timer = setTimeout(() => reject(new Error('no answer from the broker')), timeoutMs)
	})
	try {
		return await Promise.race([promise, timeout])
	} finally {
		clearTimeout(timer)
	}
}

function withoutSecrets(brokerUrl: string): string {
	const url = new URL(brokerUrl)
	url.username = ''
	url.password = ''
	return url.href
}
