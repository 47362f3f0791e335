import type { ControllerState } from '@ringfence/shared/contract/messages'

/**
 * Tells when a controller began to listen after we spoke: what it missed must be said again. Broker and controller come
 * and go independently, and what a broker retained of the controller may be older than either.
 */
export class ControllerWatch {
	/** Run of the controller that listens, as far as this connection has shown. */
	#boot: string | undefined
	/** Whether something of this connection shows that it heard us. */
	#hasAnswered = false

	/** A connection was made: whoever listens hears the greeting that follows. */
	connected(): void {
		this.#boot = undefined
		this.#hasAnswered = false
	}

	/** The controller sent something to this node alone. */
	answered(): void {
		this.#hasAnswered = true
	}

	/**
	 * Takes what the controller says of itself.
	 * @param isRetained said before this connection subscribed, so the greeting came later
	 * @returns whether to say everything again
	 */
	observe(state: ControllerState, isRetained: boolean): boolean {
		if (!state.isUp) {
			this.#boot = undefined
			this.#hasAnswered = false
			return false
		}
		const isKnown = state.boot === this.#boot && this.#hasAnswered
		this.#boot = state.boot
		if (isRetained || isKnown) return false
		// A controller that repeats its state is greeted once.
		this.#hasAnswered = true
		return true
	}
}
