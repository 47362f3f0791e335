import { encodeMessage } from '@ringfence/shared/contract/codec'
import type { ControllerState } from '@ringfence/shared/contract/messages'
import { controllerTopics } from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import type { Bus, Clock, Log } from '../fleet/fleet.ts'
import { retryDelayMs } from './backoff.ts'
import {
	type Connection,
	ConnectionError,
	HUNG_UP,
	type MqttVersion,
	openConnection,
} from './connection.ts'
import { PAYLOAD_BYTES_MAX } from './limits.ts'
import { createOutgoing, type Outgoing, type OutgoingMessage, PublishError } from './outgoing.ts'

/** The controller's state is said again this often: a broker may lose what it retains. */
const STATE_EVERY_MS = 60_000
/** A connection that held this long ends a row of failures. */
const SETTLED_MS = 5000
/** Of failures in a row, every so many are worth a warning: about one a minute. */
const WARN_EVERY = 12
/** For the last words at the end. */
const GOODBYE_MS = 1500

export interface BusOptions {
	readonly url: string
	readonly username?: string | undefined
	readonly password?: string | undefined
	/** PEM of the authority that signs the broker's certificate, if not one of the system's. */
	readonly ca?: string | undefined
	/** Unique among the controllers of a broker: another client with the same id pushes this one out. */
	readonly clientId: string
	/** `auto`: MQTT 5, or 3.1.1 where the broker doesn't speak it. */
	readonly version: 'auto' | MqttVersion
	readonly cluster: string
	/** Filters beyond those for what agents say. */
	readonly filters?: readonly string[]
	readonly clock: Clock
	readonly log: Log
	/** Called for every message, also of filters beyond. Must not throw and must not wait. */
	readonly onMessage: (message: OutgoingMessage) => void
	/** Subscriptions are in force and the state is published: what the broker should retain can be published anew. */
	readonly onConnected: () => void
	/** In [0, 1). */
	readonly random?: () => number
	/** Identity of each connection. */
	readonly newBoot: () => string
}

export interface RunningBus extends Bus {
	isConnected(): boolean
	/** Says that the controller is gone, then disconnects. What still waits to be published is rejected. */
	stop(): Promise<void>
}

/**
 * The controller's connection to the broker; makes it again whenever it is lost.
 *
 * Every connection has a new `boot` in its state and will. Sessions are clean, so whatever agents sent while nobody was
 * subscribed is lost, and a new boot is what makes them say hello and send again. It is published only after the
 * subscriptions are granted. The will of an earlier connection carries an earlier boot and cannot bury this one.
 */
export function startBus(options: BusOptions): RunningBus {
	const life: Life = {
		stop: new AbortController(),
		version: options.version === 4 ? 4 : 5,
		failures: 0,
	}
	const outgoing = createOutgoing(() => life.session?.connection.destroy())
	const running = keepConnected(options, life, outgoing)
	return {
		isConnected: () => life.session !== undefined,
		publish(topic, payload, { isRetained }) {
			if (payload.length > PAYLOAD_BYTES_MAX) {
				const why = `${payload.length} bytes for ${topic} are more than a message may have`
				return Promise.reject(new PublishError('too-large', why))
			}
			return outgoing.push({ topic, payload, isRetained })
		},
		async stop() {
			life.stop.abort()
			outgoing.stop()
			await life.session?.goodbye()
			await running
		},
	}
}

interface Life {
	readonly stop: AbortController
	version: MqttVersion
	/** In a row. */
	failures: number
	session?: { readonly connection: Connection; readonly goodbye: () => Promise<void> } | undefined
}

async function keepConnected(options: BusOptions, life: Life, outgoing: Outgoing): Promise<void> {
	const { signal } = life.stop
	while (!signal.aborted) {
		try {
			const why = await holdConnection(options, life, outgoing)
			if (!signal.aborted) options.log('warn', 'broker connection lost', { why })
		} catch (error) {
			if (!signal.aborted) noteFailure(options, life, error)
		}
		await pause(retryDelayMs(life.failures, (options.random ?? Math.random)()), signal)
	}
}

/** @returns why the connection ended */
async function holdConnection(
	options: BusOptions,
	life: Life,
	outgoing: Outgoing,
): Promise<string> {
	const topics = controllerTopics(options.cluster)
	const boot = options.newBoot()
	const state = async (isUp: boolean): Promise<OutgoingMessage> => {
		const message: ControllerState = { v: CONTRACT_VERSION, boot, isUp, at: options.clock.now() }
		return { topic: topics.state, payload: await encodeMessage(message), isRetained: true }
	}
	const filters = [topics.upFilter, topics.presenceFilter, ...(options.filters ?? [])]
	const { signal } = life.stop
	const will = await state(false)
	const connection = await openConnection({ ...options, filters, will, signal }, life.version)
	const sayState = async () => connection.publish(await state(true))
	const since = options.clock.now()
	const timer = setInterval(() => {
		sayState().catch((error: unknown) => {
			options.log('warn', 'cannot publish the state', { error: String(error) })
			connection.destroy()
		})
	}, STATE_EVERY_MS)
	try {
		await sayState()
		life.session = {
			connection,
			goodbye: async () => {
				await atMost(GOODBYE_MS, state(false).then(connection.publish))
				await atMost(GOODBYE_MS, connection.end())
				connection.destroy()
			},
		}
		outgoing.attach(connection.publish)
		options.log('info', 'broker connected', { url: options.url, mqtt: life.version })
		if (signal.aborted) await life.session.goodbye()
		else options.onConnected()
		const why = await connection.closed
		life.failures = options.clock.now() - since < SETTLED_MS ? life.failures + 1 : 0
		return why
	} finally {
		clearInterval(timer)
		life.session = undefined
		outgoing.detach()
		connection.destroy()
	}
}

/** Tries the other version of MQTT when this one is refused, or the broker hangs up without a word. */
function noteFailure(options: BusOptions, life: Life, error: unknown): void {
	const why = error instanceof Error ? error.message : String(error)
	const code = error instanceof ConnectionError ? error.code : undefined
	const isWordless = code === 'closed' && why === HUNG_UP
	if (options.version === 'auto' && (code === 'version' || isWordless)) {
		life.version = life.version === 5 ? 4 : 5
		if (code === 'version' && life.version === 4) return
	}
	const level = life.failures % WARN_EVERY === 0 ? 'warn' : 'debug'
	options.log(level, 'no broker connection', { url: options.url, why, code })
	life.failures += 1
}

function atMost(ms: number, work: Promise<unknown>): Promise<void> {
	return new Promise((resolve) => {
		const timer = setTimeout(resolve, ms)
		work
			.catch(() => undefined)
			.finally(() => {
				clearTimeout(timer)
				resolve()
			})
	})
}

/** Resolves after the time or as soon as the signal is given. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		if (signal.aborted) return resolve()
		const finish = () => {
			clearTimeout(timer)
			signal.removeEventListener('abort', finish)
			resolve()
		}
		const timer = setTimeout(finish, ms)
		signal.addEventListener('abort', finish)
	})
}
