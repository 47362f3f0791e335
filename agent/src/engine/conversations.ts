import { PROTOCOL } from '../packet/packet.ts'
import type { SessionStore, Totals } from '../session/session-store.ts'
import type { AddressTexts } from './address-texts.ts'
import type { Counts } from './counts.ts'
import type { ConversationEvent } from './engine.ts'
import type { EventList } from './event-list.ts'
import type { Flow, Inspection } from './inspection.ts'
import type { PolicyAsker } from './policy-asker.ts'

/** A session's first report waits this long for the application's name. */
const FIRST_REPORT_US = 5_000_000
/** Most conversations between two reports; beyond, all are reported early. */
const CONVERSATIONS_MAX = 65_536

/** Numbers of a session in `reported`. */
const STRIDE = 5
const CLIENT_PACKETS = 0
const CLIENT_BYTES = 1
const SERVER_PACKETS = 2
const SERVER_BYTES = 3
const FIRST_US = 4

/** A conversation while increments are added. */
type OpenConversation = { -readonly [Key in keyof ConversationEvent]: ConversationEvent[Key] }

/** What conversations are made of and where they go. */
export interface ConversationParts {
	readonly store: SessionStore<Inspection>
	readonly asker: PolicyAsker
	readonly counts: Counts
	readonly events: EventList
	readonly texts: AddressTexts
}

export interface ConversationLimits {
	readonly sessionsMax: number
	/** Without conversations nothing is kept for them. */
	readonly hasConversationEvents: boolean
	readonly reportIntervalUs: number
}

/**
 * Sums up what sessions carried, by conversation, for each report interval. Costs are in proportion to the sessions
 * that had packets: those stand in a list.
 */
export class Conversations {
	readonly #store: SessionStore<Inspection>
	readonly #asker: PolicyAsker
	readonly #counts: Counts
	readonly #events: EventList
	readonly #texts: AddressTexts
	readonly #intervalUs: number
	/** What has been reported of each session: four totals, and the time of the first packet that is not. */
	readonly #reported: Float64Array
	/** Indexes of sessions with something to report. */
	readonly #listed: Int32Array
	#listedCount = 0
	readonly #open = new Map<string, OpenConversation>()
	#dueUs: number | undefined = undefined
	readonly #totals: Totals = {
		clientPackets: 0,
		clientBytes: 0,
		serverPackets: 0,
		serverBytes: 0,
	}

	constructor(
		{ store, asker, counts, events, texts }: ConversationParts,
		limits: ConversationLimits,
	) {
		this.#store = store
		this.#asker = asker
		this.#counts = counts
		this.#events = events
		this.#texts = texts
		this.#intervalUs = limits.reportIntervalUs
		const sessionsMax = limits.hasConversationEvents ? limits.sessionsMax : 0
		this.#reported = new Float64Array(sessionsMax * STRIDE)
		this.#listed = new Int32Array(sessionsMax)
	}

	/** A session is reported from `nowUs` on. */
	start(flow: Flow, nowUs: number): void {
		const at = flow.index * STRIDE
		this.#reported.fill(0, at, at + STRIDE)
		this.#reported[at + FIRST_US] = nowUs
	}

	/** The session has something to report that it had not before. */
	list(flow: Flow, nowUs: number): void {
		flow.owner.isListed = true
		this.#reported[flow.index * STRIDE + FIRST_US] = nowUs
		this.#listed[this.#listedCount++] = flow.index
		this.#dueUs ??= nowUs + this.#intervalUs
	}

	/**
	 * Adds what the session carried since the last time, under what it is at this moment.
	 * @returns false when there is no room: nothing is added, and it counts as unreported still
	 */
	add(flow: Flow, nowUs: number): boolean {
		const { owner } = flow
		this.#store.totals(flow, this.#totals)
		const at = flow.index * STRIDE
		const reported = this.#reported
		const packets = this.#totals.clientPackets + this.#totals.serverPackets
		if (packets === (reported[at + CLIENT_PACKETS] ?? 0) + (reported[at + SERVER_PACKETS] ?? 0)) {
			return true
		}
		const conversation = this.#conversationOf(flow)
		if (conversation === undefined) return false
		this.#addIncrements(conversation, at)
		if (!owner.isCounted) conversation.sessions++
		conversation.firstUs = Math.min(conversation.firstUs, reported[at + FIRST_US] ?? nowUs)
		conversation.lastUs = Math.max(conversation.lastUs, this.#store.lastUs(flow))
		conversation.host = owner.host ?? conversation.host
		owner.isCounted = true
		reported[at + FIRST_US] = nowUs
		this.#dueUs ??= nowUs + this.#intervalUs
		return true
	}

	/** The session's last increments, under what it is at its end. Without room for them they are lost, and counted. */
	addLast(flow: Flow, nowUs: number): void {
		if (!this.add(flow, nowUs)) this.#counts.conversationsDropped++
	}

	nextUs(): number | undefined {
		return this.#dueUs
	}

	handleTimeout(nowUs: number): void {
		if (this.#dueUs === undefined || nowUs < this.#dueUs) return
		this.#collect(nowUs, false)
		this.#emit()
		const isIdle = this.#listedCount === 0 && this.#open.size === 0
		this.#dueUs = isIdle ? undefined : nowUs + this.#intervalUs
	}

	/** Reports everything, also of sessions whose first report would wait. */
	flush(nowUs: number): void {
		this.#collect(nowUs, true)
		this.#emit()
		if (this.#listedCount === 0 && this.#open.size === 0) this.#dueUs = undefined
	}

	/** Adds up the listed sessions; those whose first report waits, or that found no room, stay listed. */
	#collect(nowUs: number, isAll: boolean): void {
		let kept = 0
		for (let i = 0; i < this.#listedCount; i++) {
			const index = this.#listed[i] ?? 0
			const flow = this.#store.recordAt(index)
			if (flow === undefined) continue
			if (flow.isOpen && !this.#isAdded(flow, nowUs, isAll)) this.#listed[kept++] = index
			else flow.owner.isListed = false
		}
		this.#listedCount = kept
	}

	#isAdded(flow: Flow, nowUs: number, isAll: boolean): boolean {
		const { isFinal, isCounted, isReported } = flow.owner
		if (!isReported) return true
		const waits = !isFinal && !isCounted && nowUs < this.#store.startUs(flow) + FIRST_REPORT_US
		if (waits && !isAll) return false
		return this.add(flow, nowUs)
	}

	/** Conversations that find no room in the list of events wait for the next report, and go on growing. */
	#emit(): void {
		for (const [key, conversation] of this.#open) {
			if (this.#events.isFull) return
			this.#events.push(conversation)
			this.#open.delete(key)
		}
	}

	/** Adds what is in `#totals` and not reported yet; it then is. */
	#addIncrements(conversation: OpenConversation, at: number): void {
		const reported = this.#reported
		const { clientPackets, clientBytes, serverPackets, serverBytes } = this.#totals
		conversation.clientPackets += clientPackets - (reported[at + CLIENT_PACKETS] ?? 0)
		conversation.clientBytes += clientBytes - (reported[at + CLIENT_BYTES] ?? 0)
		conversation.serverPackets += serverPackets - (reported[at + SERVER_PACKETS] ?? 0)
		conversation.serverBytes += serverBytes - (reported[at + SERVER_BYTES] ?? 0)
		reported[at + CLIENT_PACKETS] = clientPackets
		reported[at + CLIENT_BYTES] = clientBytes
		reported[at + SERVER_PACKETS] = serverPackets
		reported[at + SERVER_BYTES] = serverBytes
	}

	/** The open conversation of the session's key; undefined when there is no room for another. */
	#conversationOf(flow: Flow): OpenConversation | undefined {
		const key = this.#keyOf(flow)
		const known = this.#open.get(key)
		if (known) return known
		if (this.#open.size >= CONVERSATIONS_MAX) this.#emit()
		if (this.#open.size >= CONVERSATIONS_MAX) return undefined
		const made = this.#newConversation(flow)
		this.#open.set(key, made)
		return made
	}

	/** Kept with the session: most report the same again and again. */
	#keyOf(flow: Flow): string {
		const { owner } = flow
		const isFinal = isLearnable(flow)
		if (owner.key !== undefined && owner.isKeyFinal === isFinal) return owner.key
		const { workload, side, application, decision } = owner
		const peer = this.#texts.of(this.#asker.peerAddress(flow))
		const peerWorkload = this.#asker.peerWorkload(flow)
		const port = this.#store.serverPort(flow)
		const { action, rule } = decision
		owner.isKeyFinal = isFinal
		owner.key = `${workload} ${side} ${peer} ${peerWorkload} ${flow.protocol} ${port} ${application} ${isFinal} ${action} ${rule}`
		return owner.key
	}

	#newConversation(flow: Flow): OpenConversation {
		const { workload, side, application, decision, host } = flow.owner
		return {
			kind: 'conversation',
			workload: workload ?? '',
			side,
			peerAddress: this.#texts.of(this.#asker.peerAddress(flow)),
			peerWorkload: this.#asker.peerWorkload(flow),
			protocol: flow.protocol,
			serverPort: this.#store.serverPort(flow),
			application,
			isFinal: isLearnable(flow),
			action: decision.action,
			rule: decision.rule,
			why: decision.why,
			sessions: 0,
			clientPackets: 0,
			clientBytes: 0,
			serverPackets: 0,
			serverBytes: 0,
			firstUs: this.#reported[flow.index * STRIDE + FIRST_US] ?? 0,
			lastUs: 0,
			host,
		}
	}
}

/**
 * Recognition has ended, and the server accepted: an attempt that nobody answered says nothing about who may talk. Nor does a
 * session without a name whose start, which would have told it, was not seen.
 */
function isLearnable({ owner, protocol, isAnswered, isMidstream }: Flow): boolean {
	if (!owner.isFinal || (isMidstream && owner.application === undefined)) return false
	return protocol !== PROTOCOL.tcp || isAnswered
}
