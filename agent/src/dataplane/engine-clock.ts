/** Smaller steps back are the ordinary wobble of a disciplined clock; the engine holds its time over them. */
const STEP_US = 1_000_000

/**
 * Time for the engine: the wall clock, without its steps back. After one, engine time runs ahead of the wall clock
 * by `shiftUs`, so that time-outs and reports go on; a step forward is followed at once.
 */
export class EngineClock {
	/** Engine time less wall-clock time. */
	shiftUs = 0
	#latestUs = 0

	/** @param wallUs microseconds since 1970 by the wall clock */
	read(wallUs: number): number {
		const nowUs = wallUs + this.shiftUs
		if (nowUs < this.#latestUs - STEP_US) this.shiftUs += this.#latestUs - nowUs
		this.#latestUs = Math.max(this.#latestUs, wallUs + this.shiftUs)
		return this.#latestUs
	}

	/** Engine time of a frame that the kernel stamped: never later than the time last read, as stamps from before a step would be. */
	ofFrame(stampUs: number): number {
		return Math.min(stampUs + this.shiftUs, this.#latestUs)
	}
}
