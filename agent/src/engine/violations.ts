import type { SessionStore } from '../session/session-store.ts'
import type { AddressTexts } from './address-texts.ts'
import type { ViolationEvent } from './engine.ts'
import type { EventList } from './event-list.ts'
import type { Flow, Inspection } from './inspection.ts'
import type { PolicyAsker } from './policy-asker.ts'

/** A violation waits this long for the application's name. */
const HOLD_US = 1_000_000
/** Repeats are counted for this long, then told as one event. */
const REPEAT_US = 5_000_000
/** Most kinds of violation whose repeats are counted at once; beyond, the oldest is told early. */
const REPEATS_MAX = 4096

interface Repeats {
	/** The event told first. */
	readonly event: ViolationEvent
	readonly endUs: number
	count: number
	lastUs: number
}

/** What violations are made of and where they go. */
export interface ViolationParts {
	readonly store: SessionStore<Inspection>
	readonly asker: PolicyAsker
	readonly events: EventList
	readonly texts: AddressTexts
}

/** Raises one event for each session that violates policy, and one for many of the same kind. */
export class Violations {
	readonly #store: SessionStore<Inspection>
	readonly #asker: PolicyAsker
	readonly #events: EventList
	readonly #texts: AddressTexts
	/** By kind, in order of their end. */
	readonly #repeats = new Map<string, Repeats>()

	constructor({ store, asker, events, texts }: ViolationParts) {
		this.#store = store
		this.#asker = asker
		this.#events = events
		this.#texts = texts
	}

	/** Raises the session's violation if there is one and its time has come; else sees to it that its time comes. */
	consider(flow: Flow, nowUs: number): void {
		const { decision, isRaised, isReported, isFinal } = flow.owner
		if (isRaised || !isReported) return
		if (decision.action !== 'violate' && decision.action !== 'deny') return
		const dueUs = this.#store.startUs(flow) + HOLD_US
		if (!isFinal && nowUs < dueUs) {
			this.#store.arm(flow, dueUs, nowUs)
			return
		}
		flow.owner.isRaised = true
		this.#raise(flow, decision.action, nowUs)
	}

	nextUs(): number | undefined {
		for (const repeats of this.#repeats.values()) return repeats.endUs
		return undefined
	}

	/** Tells repeats whose time has come; while there are some, the next ones wait again. */
	handleTimeout(nowUs: number): void {
		for (const [kind, repeats] of this.#repeats) {
			if (repeats.endUs > nowUs) return
			this.#tell(kind, repeats)
			if (repeats.count > 0) this.#wait(kind, repeats.event, nowUs)
		}
	}

	/** Tells all repeats that wait. */
	flush(): void {
		for (const [kind, repeats] of this.#repeats) this.#tell(kind, repeats)
	}

	#raise(flow: Flow, action: ViolationEvent['action'], nowUs: number): void {
		const kind = this.#kindOf(flow)
		const repeats = this.#repeats.get(kind)
		if (repeats) {
			repeats.count++
			repeats.lastUs = nowUs
			return
		}
		const event = this.#eventOf(flow, action, nowUs)
		this.#events.push(event)
		this.#makeRoom()
		this.#wait(kind, event, nowUs)
	}

	#makeRoom(): void {
		if (this.#repeats.size < REPEATS_MAX) return
		for (const [kind, repeats] of this.#repeats) {
			this.#tell(kind, repeats)
			return
		}
	}

	#wait(kind: string, event: ViolationEvent, nowUs: number): void {
		this.#repeats.set(kind, { event, endUs: nowUs + REPEAT_US, count: 0, lastUs: nowUs })
	}

	#tell(kind: string, { event, count, lastUs }: Repeats): void {
		this.#repeats.delete(kind)
		if (count > 0) this.#events.push({ ...event, atUs: lastUs, count })
	}

	#kindOf(flow: Flow): string {
		const { workload, side, application, decision } = flow.owner
		const peer = this.#texts.of(this.#asker.peerAddress(flow))
		const port = this.#store.serverPort(flow)
		const { action, rule } = decision
		return `${workload} ${side} ${peer} ${flow.protocol} ${port} ${application} ${action} ${rule}`
	}

	#eventOf(flow: Flow, action: ViolationEvent['action'], nowUs: number): ViolationEvent {
		const { workload, side, application, decision, host } = flow.owner
		return {
			kind: 'violation',
			clientAddress: this.#texts.ofClient(this.#store, flow),
			clientPort: this.#store.clientPort(flow),
			serverAddress: this.#texts.ofServer(this.#store, flow),
			serverPort: this.#store.serverPort(flow),
			protocol: flow.protocol,
			atUs: nowUs,
			workload: workload ?? '',
			side,
			peerWorkload: this.#asker.peerWorkload(flow),
			application,
			action,
			rule: decision.rule,
			why: decision.why,
			host,
			count: 1,
		}
	}
}
