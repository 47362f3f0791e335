/** Smaller steps are the ordinary wobble of a disciplined clock; the engine holds its time over those back. */
const STEP_US = 1_000_000

/**
 * Time for the engine: the wall clock without its steps. After one back, engine time is ahead of the wall clock by
 * `shiftUs`, so that time-outs and reports go on; after one forward it is behind, so that no session ends by it.
 */
export class EngineClock {
	/** Engine time less wall-clock time. */
	shiftUs = 0
	#latestUs = 0
	#steadyUs = 0

	/**
	 * @param wallUs microseconds since 1970 by the wall clock
	 * @param steadyUs microseconds by a clock that nobody sets
	 */
	read(wallUs: number, steadyUs: number): number {
		const isFirst = this.#latestUs === 0
		const expectedUs = this.#latestUs + steadyUs - this.#steadyUs
		this.#steadyUs = steadyUs
		const nowUs = wallUs + this.shiftUs
		if (nowUs < this.#latestUs - STEP_US) this.shiftUs += this.#latestUs - nowUs
		else if (!isFirst && nowUs > expectedUs + STEP_US) this.shiftUs -= nowUs - expectedUs
		this.#latestUs = Math.max(this.#latestUs, wallUs + this.shiftUs)
		return this.#latestUs
	}

	/** Engine time of a frame that the kernel stamped: never later than the time last read, as stamps from before a step would be. */
	ofFrame(stampUs: number): number {
		return Math.min(stampUs + this.shiftUs, this.#latestUs)
	}
}
