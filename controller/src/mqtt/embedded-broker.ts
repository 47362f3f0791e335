import { randomBytes, timingSafeEqual } from 'node:crypto'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { idSchema } from '@ringfence/shared/contract/text'
import { Aedes, type AuthenticateError, type Client, type Connection } from 'aedes'
import type { BrokerAccounts, Log } from '../fleet/fleet.ts'
import { type NodeAccess, nodeAccess } from './access.ts'
import { type BrokerPeers, createBrokerPeers, PEER_QUEUE_BYTES_MAX } from './broker-peers.ts'
import { createTally, type Tally } from './tally.ts'

/** One connection per node, by its client id. */
const CONNECTIONS_MAX = 10_000
/** A client that is gone is noticed within one and a half times its keep-alive, so it must have one. */
const KEEPALIVE_SECONDS_MAX = 300
/** Distinct filters of one connection. */
const FILTERS_MAX = 32
/** How long retained messages wait for a reader that has fallen behind. */
const DRAIN_MS = 30_000
/** Return codes of CONNACK (MQTT 3.1.1 §3.2.2.3). */
const IDENTIFIER_REJECTED = 2
const SERVER_UNAVAILABLE = 3
const BAD_CREDENTIALS = 4
const UNACCEPTABLE_PROTOCOL = 1
/** The broker library's own. */
const KEEPALIVE_REFUSED = 6
/** No node id begins like this, so no node can have the name. */
const CONTROLLER_USER = '$controller'

export interface EmbeddedBrokerOptions {
	readonly host: string
	/** 0 for any free port. */
	readonly port: number
	readonly cluster: string
	readonly checkPassword: (node: string, password: string) => Promise<boolean>
	readonly log: Log
	readonly nowMs: () => number
}

export interface EmbeddedBroker {
	readonly port: number
	/** How this process connects. The password lives as long as the broker. */
	readonly controller: { readonly username: string; readonly password: string }
	/** Accounts need no provisioning: the broker asks `checkPassword`. Revoking ends the connection. */
	readonly accounts: BrokerAccounts
	counters(): Readonly<Record<string, number>>
	close(): Promise<void>
}

interface Context {
	readonly aedes: Aedes
	readonly options: EmbeddedBrokerOptions
	readonly controllerPassword: string
	readonly peers: BrokerPeers
	readonly tally: Tally
}

/**
 * An MQTT 3.1.1 broker inside the controller, for fleets of one machine or a few. Sessions end with their connection and
 * retained messages live in memory: the controller publishes them again whenever it connects.
 * Rejects when the address cannot be bound.
 */
export async function startEmbeddedBroker(options: EmbeddedBrokerOptions): Promise<EmbeddedBroker> {
	const tally = createTally('broker refused', options.log, options.nowMs)
	const peers = createBrokerPeers(tally)
	const aedes = new Aedes({
		keepaliveLimit: KEEPALIVE_SECONDS_MAX,
		drainTimeout: DRAIN_MS,
		maxTopicLevels: 16,
	})
	const controllerPassword = randomBytes(32).toString('base64url')
	const context = { aedes, options, controllerPassword, peers, tally }
	installAuthentication(context)
	installAuthorization(context)
	countErrors(context)
	await aedes.listen()
	const server = createServer((socket) => peers.accept(aedes, socket))
	server.maxConnections = CONNECTIONS_MAX
	server.on('drop', () => tally.count('too-many-connections'))
	try {
		await listen(server, options)
	} catch (error) {
		aedes.close()
		throw error
	}
	return {
		port: (server.address() as AddressInfo).port,
		controller: { username: CONTROLLER_USER, password: controllerPassword },
		accounts: {
			provision: () => Promise.resolve(),
			revoke: async (node) => peers.cut(node, 'revoked'),
		},
		counters: tally.counters,
		async close() {
			const closed = new Promise<void>((resolve) => server.close(() => resolve()))
			await new Promise<void>((resolve) => aedes.close(resolve))
			peers.destroyAll()
			await closed
		},
	}
}

function installAuthentication(context: Context): void {
	const { aedes, options, peers, tally } = context
	aedes.preConnect = (_client, packet, done) => {
		// A session kept for an absent client would queue without bound.
		packet.clean = true
		done(null, true)
	}
	aedes.authenticate = (client, username, password, done) => {
		const claim = { id: client.id, username: username ?? '', password: password?.toString() ?? '' }
		const refuse = (returnCode: number, why: string) => {
			tally.count(why, claim.username)
			const peer = peers.of(client)
			if (peer !== undefined) peer.isCounted = true
			done(Object.assign(new Error(why), { returnCode }) as AuthenticateError, null)
		}
		identify(context, claim).then(
			(found) => {
				if (typeof found === 'number') return refuse(found, 'credentials')
				peers.welcome(client, found)
				done(null, true)
			},
			(error: unknown) => {
				options.log('error', 'broker cannot check a password', { error: String(error) })
				refuse(SERVER_UNAVAILABLE, 'password-check')
			},
		)
	}
}

/** What these credentials may do, or the return code that refuses them. */
async function identify(
	{ options, controllerPassword }: Context,
	claim: { readonly id: string; readonly username: string; readonly password: string },
): Promise<NodeAccess | 'all' | number> {
	if (claim.username === CONTROLLER_USER) {
		return isEqual(claim.password, controllerPassword) ? 'all' : BAD_CREDENTIALS
	}
	if (!idSchema.safeParse(claim.username).success) return BAD_CREDENTIALS
	// Otherwise one node could push another (or the controller) out by taking its client id.
	if (claim.id !== claim.username) return IDENTIFIER_REJECTED
	const isGood = await options.checkPassword(claim.username, claim.password)
	return isGood ? nodeAccess(options.cluster, claim.username) : BAD_CREDENTIALS
}

/** Compares without telling by its duration where the first difference is. */
function isEqual(left: string, right: string): boolean {
	const [a, b] = [Buffer.from(left), Buffer.from(right)]
	return a.length === b.length && timingSafeEqual(a, b)
}

function installAuthorization({ aedes, peers, tally }: Context): void {
	aedes.authorizePublish = (client, packet, done) => {
		const peer = client === null ? undefined : peers.of(client)
		const isAllowed =
			peer?.access === 'all' ||
			(packet.qos < 2 && peer?.access?.mayPublish(packet.topic, packet.retain) === true)
		if (isAllowed) return done(null)
		tally.count('forbidden-publish', `${client?.id} ${packet.topic}`)
		if (peer !== undefined) peer.isCounted = true
		done(new Error('forbidden'))
	}
	aedes.authorizeSubscribe = (client, subscription, done) => {
		const peer = peers.of(client)
		peer?.filters.add(subscription.topic)
		const isAllowed =
			peer?.access === 'all' ||
			(peer?.access?.maySubscribe(subscription.topic) === true && peer.filters.size <= FILTERS_MAX)
		if (!isAllowed) {
			peer?.filters.delete(subscription.topic)
			tally.count('forbidden-subscribe', `${client.id} ${subscription.topic}`)
		}
		done(null, isAllowed ? subscription : null)
	}
	aedes.authorizeForward = (client, packet) => {
		const peer = peers.of(client)
		if (peer?.access === 'all') return packet
		if (peer?.access?.mayReceive(packet.topic) !== true) return null
		if (!packet.retain && !hasRoom(client.conn, packet.payload.length)) {
			peer.guard.cut('slow-reader')
			return null
		}
		return packet
	}
}

/**
 * Whether a live message fits in what may wait for this reader. If it didn't, the broker would make its sender wait, and with
 * it everyone the controller has messages for. Retained messages wait by themselves, at most `DRAIN_MS`.
 */
function hasRoom(conn: Connection, bytes: number): boolean {
	return conn.writableLength + bytes + 1024 < PEER_QUEUE_BYTES_MAX
}

/** Counts connections that the broker ends: protocol errors and time-outs. What the network does is no refusal. */
function countErrors({ aedes, peers, tally }: Context): void {
	const count = (client: Client, error: Error & { code?: unknown; errorCode?: number }) => {
		const peer = peers.of(client)
		if (peer === undefined || peer.isCounted || error.code !== undefined) return
		// Clients that prefer MQTT 5 try it first; that is no refusal worth a line.
		if (error.errorCode === UNACCEPTABLE_PROTOCOL) return
		peer.isCounted = true
		tally.count(reasonOf(error), error.message)
	}
	aedes.on('connectionError', count)
	aedes.on('clientError', count)
}

function reasonOf(error: Error & { readonly errorCode?: number }): string {
	if (error.errorCode === KEEPALIVE_REFUSED) return 'keepalive'
	return error.message === 'keep alive timeout' ? 'keepalive-timeout' : 'malformed'
}

function listen(server: Server, { host, port }: EmbeddedBrokerOptions): Promise<void> {
	return new Promise((resolve, reject) => {
		server.once('error', reject)
		server.listen(port, host, () => {
			server.off('error', reject)
			resolve()
		})
	})
}
