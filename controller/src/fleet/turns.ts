/** Work that a turn of the event loop may hold, in comparisons of a rule's port: some milliseconds. */
const TURN_WORK_MAX = 20_000

/** Long work in turns, so that others get theirs, and with an end. */
export class Turns {
	readonly #workMax: number
	#turnWork = 0
	#work = 0

	/** @param workMax what all turns together may hold */
	constructor(workMax: number) {
		this.#workMax = workMax
	}

	get isOver(): boolean {
		return this.#work >= this.#workMax
	}

	/** Counts work; true when it is time to `pause`. */
	add(work: number): boolean {
		this.#work += work
		this.#turnWork += work
		return this.#turnWork >= TURN_WORK_MAX
	}

	/** Lets others have their turn. */
	async pause(): Promise<void> {
		this.#turnWork = 0
		await new Promise((resolve) => setTimeout(resolve, 0))
	}
}
