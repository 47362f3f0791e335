import type { ConversationRecord } from '@ringfence/shared/contract/telemetry'
import { type AddressWords, parseAddress } from '@ringfence/shared/net/address'
import { networkOf, parseCidr } from '@ringfence/shared/net/cidr'
import { eq, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { addresses, nodes, workloads } from '../../db/schema.ts'
import type { Tx } from '../../db/store.ts'
import { canonicalAddress, compareText, readFleetNetworks } from '../nodes/addresses.ts'

/** What naming, learning and events ask of a workload. */
export type WorkloadName = Pick<
	typeof workloads.$inferSelect,
	'id' | 'nodeId' | 'name' | 'service' | 'domain' | 'image' | 'labels' | 'groupName'
>

/** What a record says about its two ends. */
export type SessionEnds = Pick<
	ConversationRecord,
	'workload' | 'side' | 'peerAddress' | 'peerWorkload'
>

/** One end of a session, by name. */
export interface End {
	readonly kind: 'workload' | 'node' | 'external'
	/** `workload:<id>`, `node:<id>` or `external:<address>` */
	readonly endpoint: string
	readonly id: string
	/** Learned group, `nodes` or `external`. */
	readonly group: string
	readonly workload?: WorkloadName
	readonly node?: NodeName
	readonly address: string | undefined
}

export interface NodeName {
	readonly id: string
	readonly name: string
}

export type Named =
	| { readonly kind: 'named'; readonly own: End; readonly peer: End }
	/** Somebody must report first: `workload:<id>`, `address:<address>`. `own` is there when only the peer is missing. */
	| { readonly kind: 'waiting'; readonly waitsFor: string; readonly own?: End }
	| { readonly kind: 'refused'; readonly why: string }

/** Who is who, as far as some records need it. */
export class Directory {
	readonly #workloads: ReadonlyMap<string, WorkloadName>
	readonly #nodes: ReadonlyMap<string, NodeName>
	readonly #owners: ReadonlyMap<string, Owners>
	readonly #addresses: ReadonlyMap<string, readonly string[]>
	readonly #networks: NetworkSet

	constructor(parts: DirectoryParts) {
		this.#workloads = parts.workloads
		this.#nodes = parts.nodes
		this.#owners = parts.owners
		this.#addresses = parts.addresses
		this.#networks = parts.networks
	}

	/** Names both ends of a session that `nodeId` reports. */
	name(nodeId: string, ends: SessionEnds): Named {
		const peerAddress = canonicalAddress(ends.peerAddress) ?? ends.peerAddress
		const row = this.#workloads.get(ends.workload)
		if (!row) return { kind: 'waiting', waitsFor: `workload:${ends.workload}` }
		if (row.nodeId !== nodeId) return { kind: 'refused', why: 'the workload is on another node' }
		const own = this.#workloadEnd(row, this.#addressLike(row.id, peerAddress))
		const peer = this.#peer(nodeId, peerAddress, ends.peerWorkload)
		if (peer) return { kind: 'named', own, peer }
		return { kind: 'waiting', waitsFor: `address:${peerAddress}`, own }
	}

	/** Addresses in use by a workload. */
	addressesOf(workload: string): readonly string[] {
		return this.#addresses.get(workload) ?? []
	}

	/**
	 * The agent's own hint may be older than its session, and on two nodes an address can mean two workloads: those of the
	 * reporting node come first. A workload wins over a node.
	 */
	#peer(nodeId: string, address: string, hint: string | undefined): End | undefined {
		const hinted = hint === undefined ? undefined : this.#workloads.get(hint)
		const owners = this.#owners.get(address)
		const candidates = (owners?.workloads ?? []).flatMap((id) => this.#workloads.get(id) ?? [])
		const here = (row: WorkloadName | undefined) => (row?.nodeId === nodeId ? row : undefined)
		const row =
			here(hinted) ?? candidates.find((one) => one.nodeId === nodeId) ?? hinted ?? candidates[0]
		if (row) return this.#workloadEnd(row, address)
		const ownerNodes = owners?.nodes ?? []
		const node = ownerNodes.includes(nodeId) ? nodeId : ownerNodes[0]
		if (node !== undefined) return this.#nodeEnd(node, address)
		return this.#networks.has(address) ? undefined : externalEnd(address)
	}

	#workloadEnd(row: WorkloadName, address: string | undefined): End {
		return {
			kind: 'workload',
			endpoint: `workload:${row.id}`,
			id: row.id,
			group: row.groupName,
			workload: row,
			node: this.#nodes.get(row.nodeId) ?? { id: row.nodeId, name: row.nodeId },
			address,
		}
	}

	#nodeEnd(id: string, address: string): End {
		const node = this.#nodes.get(id) ?? { id, name: id }
		return { kind: 'node', endpoint: `node:${id}`, id, group: 'nodes', node, address }
	}

	/** The workload's address of the peer's family: a record does not tell which one it used. */
	#addressLike(workload: string, peer: string): string | undefined {
		const isV6 = peer.includes(':')
		return this.addressesOf(workload).find((address) => address.includes(':') === isV6)
	}
}

export function externalEnd(address: string): End {
	return {
		kind: 'external',
		endpoint: `external:${address}`,
		id: address,
		group: 'external',
		address,
	}
}

interface Owners {
	readonly workloads: string[]
	readonly nodes: string[]
}

interface DirectoryParts {
	readonly workloads: ReadonlyMap<string, WorkloadName>
	readonly nodes: ReadonlyMap<string, NodeName>
	readonly owners: ReadonlyMap<string, Owners>
	readonly addresses: ReadonlyMap<string, readonly string[]>
	readonly networks: NetworkSet
}

/** Reads what naming the ends of these records takes: a handful of queries for any number of records. */
export async function readDirectory(tx: Tx, records: readonly SessionEnds[]): Promise<Directory> {
	const peers = new Set(records.map((one) => canonicalAddress(one.peerAddress) ?? one.peerAddress))
	const owners = await readOwners(tx, peers)
	const ids = new Set(records.flatMap((one) => [one.workload, one.peerWorkload ?? one.workload]))
	for (const { workloads: list } of owners.values()) for (const id of list) ids.add(id)
	const { id, nodeId, name, service, domain, image, labels, groupName } = workloads
	const rows = await tx
		.select({ id, nodeId, name, service, domain, image, labels, groupName })
		.from(workloads)
		.where(sql`${workloads.id} in ${jsonList(ids)}`)
	const owned = await tx
		.select({ id: addresses.ownerId, address: addresses.address })
		.from(addresses)
		.where(sql`${eq(addresses.ownerKind, 'workload')} and ${addresses.ownerId} in ${jsonList(ids)}`)
		.orderBy(addresses.address)
	const nodeIds = new Set(rows.map((row) => row.nodeId))
	for (const { nodes: list } of owners.values()) for (const id of list) nodeIds.add(id)
	const names = await tx
		.select({ id: nodes.id, name: nodes.name })
		.from(nodes)
		.where(sql`${nodes.id} in ${jsonList(nodeIds)}`)
	const isAllOwned = [...peers].every((peer) => owners.has(peer))
	return new Directory({
		workloads: new Map(rows.map((row) => [row.id, row])),
		nodes: new Map(names.map((row) => [row.id, row])),
		owners,
		addresses: groupBy(owned),
		networks: new NetworkSet(isAllOwned ? [] : await readFleetNetworks(tx)),
	})
}

async function readOwners(tx: Tx, peers: ReadonlySet<string>): Promise<Map<string, Owners>> {
	const rows = await tx
		.select()
		.from(addresses)
		.where(sql`${addresses.address} in ${jsonList(peers)}`)
	const owners = new Map<string, Owners>()
	for (const row of rows.sort((a, b) => compareText(a.ownerId, b.ownerId))) {
		const its = owners.get(row.address) ?? { workloads: [], nodes: [] }
		owners.set(row.address, its)
		if (row.ownerKind === 'workload') its.workloads.push(row.ownerId)
		else its.nodes.push(row.ownerId)
	}
	return owners
}

function groupBy(rows: readonly { id: string; address: string }[]): Map<string, string[]> {
	const byId = new Map<string, string[]>()
	for (const { id, address } of rows) {
		const its = byId.get(id)
		if (its) its.push(address)
		else byId.set(id, [address])
	}
	return byId
}

/** Networks by prefix length: a look-up costs one step for each distinct length, not for each network. */
class NetworkSet {
	readonly #keys = new Set<string>()
	readonly #lengths = new Set<number>()

	constructor(networks: readonly string[]) {
		for (const text of networks) {
			const cidr = parseCidr(text)
			if (!cidr) continue
			this.#keys.add(keyOf(cidr.words, cidr.bits))
			this.#lengths.add(cidr.bits)
		}
	}

	has(address: string): boolean {
		const words = parseAddress(address)
		if (!words) return false
		return [...this.#lengths].some((bits) => this.#keys.has(keyOf(networkOf(words, bits), bits)))
	}
}

function keyOf(words: AddressWords, bits: number): string {
	return `${words.join('.')}/${bits}`
}
