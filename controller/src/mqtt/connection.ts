import { connect, type IClientOptions, type MqttClient } from 'mqtt'
import type { OutgoingMessage, Send } from './outgoing.ts'

/** Time for TCP, CONNACK and each request after it. */
const REQUEST_MS = 10_000
const KEEPALIVE_SECONDS = 30
/** SUBACK return code (MQTT 3.1.1 §3.9.3) and first of the reason codes that are failures (MQTT 5 §2.4). */
const FAILURE_FROM = 0x80
/** CONNACK codes that mean "not this version of MQTT": 3.1.1 §3.2.2.3 and 5 §3.2.2.2. */
const VERSION_REFUSALS = [1, 0x84]

/** Why a connection ended of which nothing else is known. */
export const HUNG_UP = 'the broker closed the connection'

export type MqttVersion = 4 | 5

/** The broker could not be reached, refused us or did not answer. */
export class ConnectionError extends Error {
	readonly code: 'closed' | 'refused' | 'version' | 'forbidden' | 'timeout'

	constructor(code: ConnectionError['code'], message: string, options?: ErrorOptions) {
		super(message, options)
		this.code = code
	}
}

export interface ConnectionOptions {
	/** `mqtt://`, `mqtts://`, `ws://` or `wss://`. */
	readonly url: string
	readonly username?: string | undefined
	readonly password?: string | undefined
	readonly clientId: string
	/** PEM; the system's certificates unless given. */
	readonly ca?: string | undefined
	readonly filters: readonly string[]
	readonly will: OutgoingMessage
	/** May be called before the connection is handed out. */
	readonly onMessage: (message: OutgoingMessage) => void
	/** Gives up while connecting. */
	readonly signal: AbortSignal
}

export interface Connection {
	/** Resolves with the reason when it has ended. */
	readonly closed: Promise<string>
	readonly publish: Send
	/** Says DISCONNECT, so that the will stays unsaid. */
	end(): Promise<void>
	destroy(): void
}

/**
 * Makes one connection: resolves when the broker has accepted us and granted every filter. It never reconnects by itself.
 */
export async function openConnection(
	options: ConnectionOptions,
	version: MqttVersion,
): Promise<Connection> {
	const client = connect(options.url, clientOptions(options, version))
	const pending = new Set<() => void>()
	client.on('message', (topic, payload, packet) =>
		options.onMessage({ topic, payload, isRetained: packet.retain }),
	)
	const closed = untilClosed(client)
	const give = { up: () => client.end(true) }
	options.signal.addEventListener('abort', give.up)
	try {
		await untilAccepted(client, closed)
		await subscribe(client, closed, options.filters)
	} catch (error) {
		client.end(true)
		throw error
	} finally {
		options.signal.removeEventListener('abort', give.up)
	}
	void closed.then(() => {
		for (const ended of pending) ended()
		pending.clear()
	})
	return {
		closed,
		publish: (message) => publish(client, pending, message),
		end: () => within(client.endAsync()),
		destroy: () => void client.end(true),
	}
}

function clientOptions(options: ConnectionOptions, version: MqttVersion): IClientOptions {
	const { will } = options
	return {
		clientId: options.clientId,
		...(options.username === undefined ? {} : { username: options.username }),
		...(options.password === undefined ? {} : { password: options.password }),
		...(options.ca === undefined ? {} : { ca: options.ca }),
		protocolVersion: version,
		clean: true,
		keepalive: KEEPALIVE_SECONDS,
		connectTimeout: REQUEST_MS,
		reconnectPeriod: 0,
		resubscribe: false,
		queueQoSZero: false,
		will: {
			topic: will.topic,
			payload: Buffer.from(will.payload),
			qos: 1,
			retain: will.isRetained,
		},
	}
}

function untilClosed(client: MqttClient): Promise<string> {
	return new Promise((resolve) => {
		let why = HUNG_UP
		client.on('error', (error) => {
			why = error.message || why
		})
		const finish = () => {
			client.end(true)
			resolve(why)
		}
		client.once('close', finish)
		client.once('end', finish)
	})
}

function untilAccepted(client: MqttClient, closed: Promise<string>): Promise<void> {
	return new Promise((resolve, reject) => {
		client.once('connect', () => resolve())
		client.on('error', (error: Error & { readonly code?: unknown }) => {
			if (typeof error.code === 'number') reject(refusal(error.code, error))
		})
		void closed.then((why) => reject(new ConnectionError('closed', why)))
	})
}

function refusal(code: number, cause: Error): ConnectionError {
	const kind = VERSION_REFUSALS.includes(code) ? 'version' : 'refused'
	return new ConnectionError(kind, cause.message, { cause })
}

async function subscribe(
	client: MqttClient,
	closed: Promise<string>,
	filters: readonly string[],
): Promise<void> {
	const asked = client.subscribeAsync([...filters], { qos: 1 })
	const ended = closed.then((why) => {
		throw new ConnectionError('closed', why)
	})
	const granted = await within(Promise.race([asked, ended])).catch((error: unknown) => {
		if (error instanceof ConnectionError) throw error
		throw new ConnectionError('forbidden', `subscription refused: ${String(error)}`, {
			cause: error,
		})
	})
	const refused = granted.filter(({ qos }) => qos >= FAILURE_FROM)
	if (refused.length > 0 || granted.length < filters.length) {
		const names = refused.map(({ topic }) => topic).join(', ')
		throw new ConnectionError('forbidden', `the broker refuses subscriptions: ${names}`)
	}
}

function publish(
	client: MqttClient,
	pending: Set<() => void>,
	{ topic, payload, isRetained }: OutgoingMessage,
): Promise<'taken' | 'ended'> {
	return new Promise((resolve, reject) => {
		if (!client.connected) return resolve('ended')
		const ended = () => resolve('ended')
		pending.add(ended)
		const packet = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
		client.publish(topic, packet, { qos: 1, retain: isRetained }, (error) => {
			pending.delete(ended)
			if (!error) return resolve('taken')
			// Without a reason code it is the library that gives up, mostly because the connection ends.
			const isRefusal = 'code' in error && typeof error.code === 'number'
			if (isRefusal || (client.connected && !client.disconnecting)) reject(error)
			else resolve('ended')
		})
	})
}

/** A request of the client library may stay unsettled for ever after a close. */
function within<Result>(work: Promise<Result>): Promise<Result> {
	let timer: NodeJS.Timeout | undefined
	const late = new Promise<never>((_, reject) => {
		const error = new ConnectionError('timeout', 'the broker does not answer')
		timer = setTimeout(() => reject(error), REQUEST_MS)
	})
	return Promise.race([work, late]).finally(() => clearTimeout(timer))
}
