import { MAPPED_PREFIX } from '@ringfence/shared/net/address'
import type { Packet } from '../packet/packet.ts'

/** Most entries of one hash chain: bounds the look-up when someone makes 5-tuples that collide. */
export const CHAIN_MAX = 64

/** Words of a key: 4 of the low end's address, 4 of the high end's, ports, meta; then hash and next in chain. */
const STRIDE = 12
const HIGH_ADDRESS = 4
const PORTS = 8
const META = 9
const HASH = 10
const NEXT = 11
const NONE = -1

/**
 * Finds a session's index by port, addresses, transport ports and protocol, from both directions in one look-up: the
 * lower end always stands first. Chained hashing over typed arrays: heads, then one 48-byte row a session.
 */
export class SessionTable {
	readonly #heads: Int32Array
	readonly #rows: Int32Array
	readonly #mask: number

	/** Key of the last packet that was not found. The words of the high end follow those of the low end. */
	readonly #key = new Int32Array(STRIDE)

	/** Entries passed by the last look-up that found nothing. */
	chainLength = 0
	/** Whether the source of the packet last given is the session's low end. */
	isFromLow = true

	constructor(sessionsMax: number) {
		let buckets = 16
		while (buckets < sessionsMax * 2) buckets *= 2
		this.#mask = buckets - 1
		this.#heads = new Int32Array(buckets).fill(NONE)
		this.#rows = new Int32Array(sessionsMax * STRIDE)
	}

	/** Index of the packet's session, or -1. */
	find(packet: Packet, port: number): number {
		return packet.isV6 ? this.#find6(packet, port) : this.#find4(packet, port)
	}

	/** Enters the session `index` under the packet's key, which must not be in the table. */
	insert(index: number, packet: Packet, port: number): void {
		this.find(packet, port)
		const at = index * STRIDE
		this.#rows.set(this.#key, at)
		const bucket = (this.#key[HASH] ?? 0) & this.#mask
		this.#rows[at + NEXT] = this.#heads[bucket] ?? NONE
		this.#heads[bucket] = index
	}

	/** After `find` found nothing: the entry to close so that its chain stays short; -1 when it is short. */
	excess(): number {
		if (this.chainLength < CHAIN_MAX) return NONE
		let index = this.#heads[(this.#key[HASH] ?? 0) & this.#mask] ?? NONE
		for (let next = index; next !== NONE; next = this.#word(next, NEXT)) index = next
		return index
	}

	remove(index: number): void {
		const bucket = this.#word(index, HASH) & this.#mask
		const after = this.#word(index, NEXT)
		let at = this.#heads[bucket] ?? NONE
		if (at === index) {
			this.#heads[bucket] = after
			return
		}
		while (this.#word(at, NEXT) !== index) at = this.#word(at, NEXT)
		this.#rows[at * STRIDE + NEXT] = after
	}

	/** Fills `out` with the address of the low or high end: the words of `shared/net/address`, signed. */
	readAddress(index: number, isLow: boolean, out: Int32Array): void {
		const rows = this.#rows
		const at = index * STRIDE + (isLow ? 0 : HIGH_ADDRESS)
		const isV6 = (this.#word(index, META) & IS_V6) !== 0
		out[0] = isV6 ? (rows[at] ?? 0) : 0
		out[1] = isV6 ? (rows[at + 1] ?? 0) : 0
		out[2] = isV6 ? (rows[at + 2] ?? 0) : MAPPED_PREFIX
		out[3] = rows[at + 3] ?? 0
	}

	/** Transport port of the low or high end. */
	transportPort(index: number, isLow: boolean): number {
		const ports = this.#word(index, PORTS)
		return isLow ? ports >>> 16 : ports & 0xffff
	}

	#word(index: number, word: number): number {
		return this.#rows[index * STRIDE + word] ?? NONE
	}

	#find4(packet: Packet, port: number): number {
		const { source3: source, destination3: destination, sourcePort, destinationPort } = packet
		const isLow = source === destination ? sourcePort <= destinationPort : source < destination
		const low = isLow ? source : destination
		const high = isLow ? destination : source
		const ports = isLow
			? (sourcePort << 16) | destinationPort
			: (destinationPort << 16) | sourcePort
		const meta = metaOf(packet, port)
		const hash = mix(mix(mix(mix(0, low), high), ports), meta)
		this.isFromLow = isLow
		const rows = this.#rows
		let length = 0
		let index = this.#heads[hash & this.#mask] ?? NONE
		while (index !== NONE) {
			const at = index * STRIDE
			if (
				rows[at + PORTS] === ports &&
				rows[at + 3] === low &&
				rows[at + 7] === high &&
				rows[at + META] === meta
			) {
				return index
			}
			length++
			index = rows[at + NEXT] ?? NONE
		}
		this.chainLength = length
		const key = this.#key
		key[3] = low
		key[7] = high
		key[PORTS] = ports
		key[META] = meta
		key[HASH] = hash
		return NONE
	}

	#find6(packet: Packet, port: number): number {
		const key = this.#key
		const isLow = isSourceLow(packet)
		const source = isLow ? 0 : HIGH_ADDRESS
		const destination = isLow ? HIGH_ADDRESS : 0
		key[source] = packet.source0
		key[source + 1] = packet.source1
		key[source + 2] = packet.source2
		key[source + 3] = packet.source3
		key[destination] = packet.destination0
		key[destination + 1] = packet.destination1
		key[destination + 2] = packet.destination2
		key[destination + 3] = packet.destination3
		key[PORTS] = isLow
			? (packet.sourcePort << 16) | packet.destinationPort
			: (packet.destinationPort << 16) | packet.sourcePort
		key[META] = metaOf(packet, port)
		let hash = 0
		for (let i = 0; i < HASH; i++) hash = mix(hash, key[i] ?? 0)
		key[HASH] = hash
		this.isFromLow = isLow
		return this.#walk6(hash)
	}

	#walk6(hash: number): number {
		let length = 0
		let index = this.#heads[hash & this.#mask] ?? NONE
		while (index !== NONE && !this.#isKeyAt(index * STRIDE)) {
			length++
			index = this.#word(index, NEXT)
		}
		this.chainLength = length
		return index
	}

	#isKeyAt(at: number): boolean {
		for (let i = HASH; i >= 0; i--) {
			if (this.#rows[at + i] !== this.#key[i]) return false
		}
		return true
	}
}

const IS_V6 = 0x100

/** Most port ids: they share a word with protocol and family. */
export const PORT_ID_MAX = 0x3fffff

function metaOf(packet: Packet, port: number): number {
	return (port << 9) | (packet.isV6 ? IS_V6 : 0) | packet.protocol
}

function isSourceLow(packet: Packet): boolean {
	if (packet.source0 !== packet.destination0) return packet.source0 < packet.destination0
	if (packet.source1 !== packet.destination1) return packet.source1 < packet.destination1
	if (packet.source2 !== packet.destination2) return packet.source2 < packet.destination2
	if (packet.source3 !== packet.destination3) return packet.source3 < packet.destination3
	return packet.sourcePort <= packet.destinationPort
}

/** One round of MurmurHash3's 32-bit mixing, with its finalizer's shifts folded in so that low bits depend on all. */
function mix(hash: number, word: number): number {
	let k = Math.imul(word, 0xcc9e2d51)
	k = (k << 15) | (k >>> 17)
	let h = hash ^ Math.imul(k, 0x1b873593)
	h = Math.imul(h ^ (h >>> 15), 0x85ebca6b)
	return h ^ (h >>> 13)
}
