import { MAPPED_PREFIX } from '@ringfence/shared/net/address'
import type { Cidr } from '@ringfence/shared/net/cidr'

/** Words of a key: four of the address, then the prefix length. */
const KEY_WORDS = 5

/** Prefix length of `::ffff:0:0/96`, below which no IPv4 network lies. */
const V4_BITS_MIN = 96

/**
 * Longest-prefix match from networks to numbers. One open-addressed hash over (network, length) in typed arrays, at
 * most half full; a look-up tries the lengths that occur in the address's family, longest first: at most 33 probes
 * for IPv4 and 129 for IPv6, however many networks there are. It allocates nothing.
 */
export class PrefixMap {
	readonly #keys: Int32Array
	readonly #values: Int32Array
	/** Per hash slot: entry index + 1, or 0 when free. */
	readonly #slots: Int32Array
	readonly #probe = new Int32Array(KEY_WORDS)
	readonly #networksMax: number
	#networks = 0
	/** Prefix lengths that occur, longest first. */
	#v4Bits: readonly number[] = []
	#v6Bits: readonly number[] = []

	constructor(networksMax: number) {
		this.#networksMax = networksMax
		this.#keys = new Int32Array(networksMax * KEY_WORDS)
		this.#values = new Int32Array(networksMax)
		this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(networksMax, 1) * 2)))
	}

	/** Adds a network, or gives it another value. @param value not negative */
	set({ words, bits }: Cidr, value: number): void {
		this.#aim(words[0], words[1], words[2], words[3])
		this.#mask(bits)
		const slot = this.#slotOfProbe()
		const found = this.#slots[slot] ?? 0
		if (found > 0) {
			this.#values[found - 1] = value
			return
		}
		if (this.#networks === this.#networksMax) throw new RangeError('more networks than announced')
		this.#keys.set(this.#probe, this.#networks * KEY_WORDS)
		this.#values[this.#networks] = value
		this.#networks++
		this.#slots[slot] = this.#networks
		this.#addLength({ words, bits })
	}

	/** Value of exactly this network, or -1. */
	get({ words, bits }: Cidr): number {
		this.#aim(words[0], words[1], words[2], words[3])
		this.#mask(bits)
		return this.#valueOfProbe()
	}

	/**
	 * Value of the most specific network that contains the address, or -1. Families are apart: `::/0` holds no IPv4 address.
	 */
	find(w0: number, w1: number, w2: number, w3: number): number {
		const lengths = isMapped(w0, w1, w2) ? this.#v4Bits : this.#v6Bits
		this.#aim(w0, w1, w2, w3)
		for (let i = 0; i < lengths.length; i++) {
			// Lengths fall, so each mask only clears bits of the one before it.
			this.#mask(lengths[i] ?? 0)
			const value = this.#valueOfProbe()
			if (value >= 0) return value
		}
		return -1
	}

	#addLength({ words, bits }: Cidr): void {
		const isV4 = isMapped(words[0], words[1], words[2]) && bits >= V4_BITS_MIN
		const lengths = isV4 ? this.#v4Bits : this.#v6Bits
		if (lengths.includes(bits)) return
		const longer = [...lengths, bits].sort((a, b) => b - a)
		if (isV4) this.#v4Bits = longer
		else this.#v6Bits = longer
	}

	#aim(w0: number, w1: number, w2: number, w3: number): void {
		const probe = this.#probe
		probe[0] = w0
		probe[1] = w1
		probe[2] = w2
		probe[3] = w3
	}

	#mask(bits: number): void {
		const probe = this.#probe
		for (let i = 0; i < 4; i++) {
			const keep = bits - i * 32
			if (keep >= 32) continue
			probe[i] = keep <= 0 ? 0 : (probe[i] ?? 0) & (-1 << (32 - keep))
		}
		probe[4] = bits
	}

	#valueOfProbe(): number {
		const found = this.#slots[this.#slotOfProbe()] ?? 0
		return found > 0 ? (this.#values[found - 1] ?? -1) : -1
	}

	/** The slot that holds the probe, or the free one where it belongs. */
	#slotOfProbe(): number {
		const slots = this.#slots
		const last = slots.length - 1
		let slot = hash(this.#probe) & last
		for (;;) {
			const entry = slots[slot] ?? 0
			if (entry === 0 || this.#isProbe((entry - 1) * KEY_WORDS)) return slot
			slot = (slot + 1) & last
		}
	}

	#isProbe(at: number): boolean {
		const keys = this.#keys
		const probe = this.#probe
		return (
			keys[at + 3] === probe[3] &&
			keys[at + 4] === probe[4] &&
			keys[at + 2] === probe[2] &&
			keys[at + 1] === probe[1] &&
			keys[at] === probe[0]
		)
	}
}

function isMapped(w0: number, w1: number, w2: number): boolean {
	return w0 === 0 && w1 === 0 && w2 === MAPPED_PREFIX
}

/** Mixes every word as MurmurHash3's 32-bit variant does; networks differ in few bits, often the high ones. */
function hash(key: Int32Array): number {
	let mixed = 0
	for (let i = 0; i < KEY_WORDS; i++) {
		mixed = Math.imul(mixed ^ (key[i] ?? 0), 0xcc9e2d51)
		mixed = Math.imul(mixed ^ (mixed >>> 15), 0x1b873593)
	}
	mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
	return mixed ^ (mixed >>> 13)
}
