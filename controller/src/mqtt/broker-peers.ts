import type { Socket } from 'node:net'
import type { Aedes, Client } from 'aedes'
import type { NodeAccess } from './access.ts'
import { type GuardedStream, guardStream } from './guarded-stream.ts'
import { PACKET_BYTES_MAX } from './limits.ts'
import type { Tally } from './tally.ts'

/** What waits for a node that reads slowly. Beyond it the connection is cut; the agent fetches the retained state anew. */
export const PEER_QUEUE_BYTES_MAX = 8 * 1024 * 1024
/** Connections that have not shown credentials yet; one more ends the oldest. */
const STRANGERS_MAX = 256

/** A connection, from TCP accept on. */
interface Peer {
	readonly guard: GuardedStream
	/** Undefined until the credentials are accepted. */
	access: NodeAccess | 'all' | undefined
	/** Distinct filters asked for so far. */
	readonly filters: Set<string>
	/** Its end is counted already. */
	isCounted: boolean
}

export interface BrokerPeers {
	accept(aedes: Aedes, socket: Socket): void
	of(client: Client): Peer | undefined
	/** The credentials are good: from here on the peer may send large packets and stay. */
	welcome(client: Client, access: NodeAccess | 'all'): void
	/** Ends the connection of that client id, if there is one. */
	cut(id: string, why: string): void
	destroyAll(): void
}

export function createBrokerPeers(tally: Tally): BrokerPeers {
	const byClient = new WeakMap<Client, Peer>()
	const byId = new Map<string, Client>()
	const strangers = new Set<Peer>()
	const sockets = new Set<Socket>()

	function evictOldestStranger(): void {
		const [oldest] = strangers
		if (strangers.size > STRANGERS_MAX) oldest?.guard.cut('too-many-strangers')
	}

	return {
		accept(aedes, socket) {
			socket.setNoDelay(true)
			const guard = guardStream(socket, {
				packetBytesMax: PACKET_BYTES_MAX,
				queueBytesMax: PEER_QUEUE_BYTES_MAX,
				onCut(why) {
					peer.isCounted = true
					tally.count(why, socket.remoteAddress)
				},
			})
			const peer: Peer = { guard, access: undefined, filters: new Set(), isCounted: false }
			const client = aedes.handle(guard.stream)
			byClient.set(client, peer)
			sockets.add(socket)
			strangers.add(peer)
			guard.stream.once('close', () => {
				strangers.delete(peer)
				if (byId.get(client.id) === client) byId.delete(client.id)
			})
			socket.once('close', () => sockets.delete(socket))
			evictOldestStranger()
		},
		of: (client) => byClient.get(client),
		welcome(client, access) {
			const peer = byClient.get(client)
			if (peer === undefined || peer.guard.stream.destroyed) return
			strangers.delete(peer)
			peer.access = access
			peer.guard.welcome()
			// The broker ends the earlier connection of an id as well, but misses it when that one is just closing.
			byId.get(client.id)?.close()
			byId.set(client.id, client)
		},
		cut(id, why) {
			const client = byId.get(id)
			if (client !== undefined) byClient.get(client)?.guard.cut(why)
		},
		destroyAll() {
			for (const socket of sockets) socket.destroy()
		},
	}
}
