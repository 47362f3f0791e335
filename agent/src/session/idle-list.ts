/**
 * Session indexes in the order they were last active: two lists, so that closed sessions give way before open ones.
 * Doubly linked through typed arrays; every operation takes constant time.
 */
export class IdleList {
	readonly #next: Int32Array
	readonly #previous: Int32Array
	readonly #openHead: number
	readonly #closedHead: number

	constructor(sessionsMax: number) {
		this.#next = new Int32Array(sessionsMax + 2)
		this.#previous = new Int32Array(sessionsMax + 2)
		this.#openHead = sessionsMax
		this.#closedHead = sessionsMax + 1
		for (const head of [this.#openHead, this.#closedHead]) {
			this.#next[head] = head
			this.#previous[head] = head
		}
	}

	/** Enters `index` as the most recently active of the open ones. */
	add(index: number): void {
		this.#link(index, this.#openHead)
	}

	/** Makes an open one the most recently active. */
	touch(index: number): void {
		this.remove(index)
		this.#link(index, this.#openHead)
	}

	/** Moves an open one to the closed ones, as the last to give way. */
	close(index: number): void {
		this.remove(index)
		this.#link(index, this.#closedHead)
	}

	remove(index: number): void {
		const next = this.#next[index] ?? 0
		const previous = this.#previous[index] ?? 0
		this.#next[previous] = next
		this.#previous[next] = previous
	}

	/** The one that gives way first: the longest closed, else the longest idle; -1 when there is none. */
	longestIdle(): number {
		const closed = this.#previous[this.#closedHead] ?? 0
		if (closed !== this.#closedHead) return closed
		const open = this.#previous[this.#openHead] ?? 0
		return open === this.#openHead ? -1 : open
	}

	#link(index: number, head: number): void {
		const first = this.#next[head] ?? 0
		this.#next[index] = first
		this.#previous[index] = head
		this.#previous[first] = index
		this.#next[head] = index
	}
}
