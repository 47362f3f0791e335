import type { EngineEvent } from './engine.ts'

/** Room for events beside those that ending every session at once makes. */
const EVENTS_SPARE = 65_536

/** Events that wait to be taken, oldest first. Bounded; what finds it full is counted. */
export class EventList {
	readonly #eventsMax: number
	#events: EngineEvent[] = []
	dropped = 0

	/** @param sessionsMax ending all of them makes a session, a violation and a conversation event for each */
	constructor(sessionsMax: number) {
		this.#eventsMax = EVENTS_SPARE + 3 * sessionsMax
	}

	get isFull(): boolean {
		return this.#events.length >= this.#eventsMax
	}

	push(event: EngineEvent): void {
		if (this.isFull) this.dropped++
		else this.#events.push(event)
	}

	take(): readonly EngineEvent[] {
		const events = this.#events
		this.#events = []
		return events
	}
}
