/** Resolution: a timer fires up to this much late, never early. */
export const TICK_US = 100_000

/** One revolution is 27 minutes, beyond the longest idle time-out. A later deadline fires after one revolution and is armed again. */
const SLOTS = 16_384
const NONE = -1

/**
 * One timer for each session index. Arming takes constant time and never postpones: an owner whose deadline moved
 * on arms again when the timer fires, so that a packet costs nothing.
 */
export class TimerWheel {
	readonly #heads = new Int32Array(SLOTS).fill(NONE)
	/** One bit a slot: whether it holds any. */
	readonly #occupied = new Uint32Array(SLOTS / 32)
	readonly #next: Int32Array
	readonly #previous: Int32Array
	/** Tick at which an index fires; 0 when it is not armed. */
	readonly #due: Float64Array
	#tick = 0
	#armed = 0

	constructor(entriesMax: number) {
		this.#next = new Int32Array(entriesMax)
		this.#previous = new Int32Array(entriesMax)
		this.#due = new Float64Array(entriesMax)
	}

	/** Makes `index` fire at `atUs` or before; a timer already armed for earlier stays. */
	arm(index: number, atUs: number, nowUs: number): void {
		if (this.#armed === 0) this.#tick = Math.floor(nowUs / TICK_US)
		const wanted = Math.max(Math.ceil(atUs / TICK_US), this.#tick + 1)
		const tick = Math.min(wanted, this.#tick + SLOTS - 1)
		const due = this.#due[index] ?? 0
		if (due !== 0) {
			if (due <= tick) return
			this.disarm(index)
		}
		this.#link(index, tick)
	}

	disarm(index: number): void {
		const due = this.#due[index] ?? 0
		if (due === 0) return
		this.#due[index] = 0
		this.#armed--
		const next = this.#next[index] ?? NONE
		const previous = this.#previous[index] ?? NONE
		if (next !== NONE) this.#previous[next] = previous
		if (previous !== NONE) this.#next[previous] = next
		else this.#setHead(due % SLOTS, next)
	}

	/** When the next timer fires; undefined when none is armed. */
	nextUs(): number | undefined {
		if (this.#armed === 0) return undefined
		const slot = this.#nextOccupied((this.#tick + 1) % SLOTS)
		const ahead = (slot - (this.#tick % SLOTS) + SLOTS) % SLOTS
		return (this.#tick + ahead) * TICK_US
	}

	/** Fires what is due: `fire` may arm and disarm the index it is given, and no other. */
	advance(nowUs: number, fire: (index: number) => void): void {
		const to = Math.floor(nowUs / TICK_US)
		if (to <= this.#tick) return
		if (this.#armed > 0 && to - this.#tick >= SLOTS) {
			this.#sweep(to, fire)
			return
		}
		while (this.#armed > 0) {
			const slot = this.#nextOccupied((this.#tick + 1) % SLOTS)
			const tick = this.#tick + ((slot - (this.#tick % SLOTS) + SLOTS) % SLOTS)
			if (tick > to) break
			this.#tick = tick
			this.#fireSlot(slot, fire)
		}
		this.#tick = to
	}

	/** Time went on by a revolution or more: everything armed is due. */
	#sweep(to: number, fire: (index: number) => void): void {
		const from = this.#tick + 1
		this.#tick = to
		for (let i = 0; i < SLOTS; i++) this.#fireSlot((from + i) % SLOTS, fire)
	}

	#fireSlot(slot: number, fire: (index: number) => void): void {
		let index = this.#heads[slot] ?? NONE
		this.#setHead(slot, NONE)
		for (let at = index; at !== NONE; at = this.#next[at] ?? NONE) {
			this.#due[at] = 0
			this.#armed--
		}
		while (index !== NONE) {
			const next = this.#next[index] ?? NONE
			fire(index)
			index = next
		}
	}

	#link(index: number, tick: number): void {
		const slot = tick % SLOTS
		const head = this.#heads[slot] ?? NONE
		this.#due[index] = tick
		this.#next[index] = head
		this.#previous[index] = NONE
		if (head !== NONE) this.#previous[head] = index
		this.#setHead(slot, index)
		this.#armed++
	}

	#setHead(slot: number, index: number): void {
		this.#heads[slot] = index
		const word = slot >>> 5
		const bit = 1 << (slot & 31)
		const bits = this.#occupied[word] ?? 0
		this.#occupied[word] = index === NONE ? bits & ~bit : bits | bit
	}

	/** First occupied slot from `slot` on, around the wheel; there must be one. */
	#nextOccupied(slot: number): number {
		let word = slot >>> 5
		let bits = (this.#occupied[word] ?? 0) & (-1 << (slot & 31))
		for (let i = 0; bits === 0 && i < this.#occupied.length; i++) {
			word = (word + 1) % this.#occupied.length
			bits = this.#occupied[word] ?? 0
		}
		return word * 32 + (31 - Math.clz32(bits & -bits))
	}
}
