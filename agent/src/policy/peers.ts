import type { AddressEntry } from '@ringfence/shared/contract/policy'
import { type Cidr, parseCidr } from '@ringfence/shared/net/cidr'
import type { Identities, Identity } from './identity.ts'
import type { PolicyQuery } from './policy.ts'
import { PrefixMap } from './prefix-map.ts'
import { PolicyRejected } from './rejected.ts'

/** Who is behind an address. */
interface Peer {
	readonly identity: Identity
	/** Id of the most specific workload entry that covers the address. */
	readonly workload: string | undefined
}

/** Group of everybody whom neither the address map nor the fleet's networks cover. */
const EXTERNAL = 'external'

/**
 * Address to peer. Every network is resolved once: its own groups and those of all networks around it, so that the
 * most specific match alone answers.
 */
export class PeerIndex {
	readonly #networks: PrefixMap
	readonly #peers: readonly Peer[]
	readonly #external: Peer

	constructor(
		entries: readonly PlacedEntry[],
		fleetNetworks: readonly string[],
		identities: Identities,
	) {
		this.#external = {
			identity: identities.intern([identities.group(EXTERNAL)], true),
			workload: undefined,
		}
		const networks = collect(entries, fleetNetworks)
		this.#networks = new PrefixMap(networks.length)
		const peers: Peer[] = []
		this.#peers = peers
		for (const network of networks) {
			const peer = resolve(network, this.#around(network.cidr), identities)
			this.#networks.set(network.cidr, peers.push(peer) - 1)
		}
	}

	/** The peer of a query. */
	find(query: Readonly<PolicyQuery>): Peer {
		const index = this.#networks.find(query.peer0, query.peer1, query.peer2, query.peer3)
		return this.#peers[index] ?? this.#external
	}

	/** What an entry's network resolved to, with the groups of all networks around it. */
	at(cidr: Cidr): Peer {
		return this.#peers[this.#networks.get(cidr)] ?? this.#external
	}

	/** The nearest network around this one; networks are added from the widest to the narrowest. */
	#around({ words }: Cidr): Peer | undefined {
		return this.#peers[this.#networks.find(words[0], words[1], words[2], words[3])]
	}
}

/** An address entry with its network read. */
export interface PlacedEntry {
	readonly entry: AddressEntry
	readonly cidr: Cidr
}

/** Reads the networks of entries. */
export function placeEntries(entries: Iterable<AddressEntry>): PlacedEntry[] {
	return Array.from(entries, (entry) => ({ entry, cidr: networkOfText(entry.network) }))
}

interface Network {
	readonly cidr: Cidr
	readonly entries: AddressEntry[]
}

/** All networks, each once, the widest first. A network of the fleet may come without entries. */
function collect(entries: readonly PlacedEntry[], fleetNetworks: readonly string[]): Network[] {
	const networks: Network[] = []
	const indexes = new PrefixMap(entries.length + fleetNetworks.length)
	const at = (cidr: Cidr): Network => {
		const known = networks[indexes.get(cidr)]
		if (known) return known
		const network = { cidr, entries: [] }
		indexes.set(cidr, networks.push(network) - 1)
		return network
	}
	for (const { entry, cidr } of entries) at(cidr).entries.push(entry)
	for (const text of fleetNetworks) at(networkOfText(text))
	return networks.sort((a, b) => a.cidr.bits - b.cidr.bits)
}

function networkOfText(text: string): Cidr {
	const cidr = parseCidr(text)
	if (!cidr) throw new PolicyRejected(`${text} is not a network`)
	return cidr
}

/**
 * The most specific network decides whether a peer is known: an entry names it; a bare network of the fleet only says
 * that somebody there will be named. Groups of wider entries hold for both.
 */
function resolve(network: Network, around: Peer | undefined, identities: Identities): Peer {
	const groups = new Set(around?.identity.groups)
	for (const entry of network.entries) {
		for (const name of entry.groups) groups.add(identities.group(name))
	}
	const workload = workloadOf(network.entries) ?? around?.workload
	return { identity: identities.intern(groups, network.entries.length > 0), workload }
}

/** The smallest id, so that it is one whatever the order in which shards were put together. */
function workloadOf(entries: readonly AddressEntry[]): string | undefined {
	let smallest: string | undefined
	for (const { kind, id } of entries) {
		if (kind === 'workload' && (smallest === undefined || id < smallest)) smallest = id
	}
	return smallest
}
