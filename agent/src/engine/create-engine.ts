import type { Detection } from '../dpi/detection.ts'
import { decode, OUTCOME, type Outcome } from '../packet/decode.ts'
import * as icmp from '../packet/icmp.ts'
import { Packet, PROTOCOL, WAY } from '../packet/packet.ts'
import { readQuoted } from '../packet/quoted.ts'
import type { CompiledPolicy } from '../policy/policy.ts'
import { SessionStore } from '../session/session-store.ts'
import { isNewConnection, track } from '../session/tcp-track.ts'
import { idleUs, SESSION_STATE } from '../session/timeouts.ts'
import { AddressTexts } from './address-texts.ts'
import { Conversations } from './conversations.ts'
import { newCounts } from './counts.ts'
import type {
	Engine,
	EngineCounters,
	EngineEvent,
	EngineOptions,
	EnginePort,
	Frame,
	Verdict,
} from './engine.ts'
import { EventList } from './event-list.ts'
import { type Flow, Inspection, resetInspection } from './inspection.ts'
import { localVerdict } from './local-traffic.ts'
import { addressSet, isLeaving, type OpenPort, preparePort } from './open-port.ts'
import { PolicyAsker } from './policy-asker.ts'
import { Recognizer } from './recognizer.ts'
import { SessionEvents } from './session-event.ts'
import { FRAGMENT, NOT_IP, PASSING, PORT_NOT_OPEN, RELATED, Verdicts } from './verdicts.ts'
import { Violations } from './violations.ts'

/** Makes an engine: all its memory is bounded by the options. */
export function createEngine(options: EngineOptions): Engine {
	return new PacketEngine(options)
}

class PacketEngine implements Engine {
	readonly #options: EngineOptions
	readonly #counts = newCounts()
	readonly #packet = new Packet()
	/** What an ICMP error quotes. */
	readonly #quoted = new Packet()
	readonly #ports = new Map<number, OpenPort>()
	readonly #store: SessionStore<Inspection>
	readonly #asker: PolicyAsker
	readonly #events: EventList
	readonly #sessionEvents: SessionEvents
	readonly #violations: Violations
	readonly #conversations: Conversations
	readonly #texts = new AddressTexts()
	readonly #recognizer = new Recognizer(this.#counts)
	readonly #verdicts = new Verdicts()
	/** The latest time seen. */
	#nowUs = 0

	constructor(options: EngineOptions) {
		const { sessionsMax } = options
		if (!Number.isInteger(sessionsMax) || sessionsMax < 1) {
			throw new RangeError(`sessionsMax ${sessionsMax}`)
		}
		this.#options = options
		this.#store = new SessionStore(sessionsMax, () => new Inspection())
		this.#asker = new PolicyAsker(this.#store)
		this.#events = new EventList(sessionsMax)
		const parts = {
			store: this.#store,
			asker: this.#asker,
			counts: this.#counts,
			events: this.#events,
			texts: this.#texts,
		}
		this.#sessionEvents = new SessionEvents(this.#store, parts.texts)
		this.#violations = new Violations(parts)
		this.#conversations = new Conversations(parts, options)
	}

	openPort(port: EnginePort): void {
		if (this.#ports.has(port.id)) throw new RangeError(`port id ${port.id} is open already`)
		this.#ports.set(port.id, preparePort(port))
	}

	closePort(id: number, nowUs: number): void {
		this.#setTime(nowUs)
		for (const flow of this.#store.all()) {
			if (flow.port === id) this.#end(flow, 'port closed')
		}
		this.#ports.delete(id)
	}

	setOwnAddresses(id: number, addresses: EnginePort['ownAddresses'], nowUs: number): void {
		this.#setTime(nowUs)
		const port = this.#ports.get(id)
		if (port === undefined) return
		const changed = { ...port, own: addresses && addressSet(addresses) }
		this.#ports.set(id, changed)
		for (const flow of this.#store.all()) {
			const isOurs = flow.port === id && flow.owner.isForwarded && !this.#isForwarded(flow, changed)
			if (isOurs) this.#adopt(flow)
		}
	}

	inspect(frame: Readonly<Frame>, nowUs: number): Verdict {
		this.#setTime(nowUs)
		this.#counts.frames++
		this.#counts.bytes += frame.wireBytes
		const packet = this.#packet
		const outcome = decode(frame, packet)
		if (outcome !== OUTCOME.whole) {
			if (outcome !== OUTCOME.otherIp) return this.#refuse(outcome)
			this.#counts.otherIp++
		}
		if (packet.way === WAY.passing && this.#isTap(frame.port)) {
			this.#counts.passing++
			return PASSING
		}
		if (this.#isRelated(frame)) {
			this.#counts.related++
			return RELATED
		}
		const flow = this.#store.find(packet, frame.port)
		if (flow !== undefined && !this.#isOver(flow)) return this.#judge(flow, frame)
		if (flow !== undefined) this.#makeWay(flow, frame.port)
		return this.#inspectFirst(frame)
	}

	nextTimeoutUs(): number | undefined {
		return earliest(
			earliest(this.#store.nextTimerUs(), this.#violations.nextUs()),
			this.#conversations.nextUs(),
		)
	}

	handleTimeout(nowUs: number): void {
		this.#setTime(nowUs)
		this.#store.fireTimers(this.#nowUs, (flow) => this.#onTimer(flow))
		this.#violations.handleTimeout(this.#nowUs)
		this.#conversations.handleTimeout(this.#nowUs)
	}

	applyPolicy(policy: CompiledPolicy, nowUs: number): void {
		this.#setTime(nowUs)
		this.#verdicts.clear()
		this.#asker.apply(policy)
	}

	takeEvents(): readonly EngineEvent[] {
		return this.#events.take()
	}

	counters(): EngineCounters {
		return { ...this.#counts, eventsDropped: this.#events.dropped }
	}

	sessionsOpen(): number {
		return this.#store.size
	}

	flush(nowUs: number, isEnd: boolean): void {
		this.#setTime(nowUs)
		if (isEnd) {
			for (const flow of this.#store.all()) this.#end(flow, 'flush')
		}
		this.#violations.flush()
		this.#conversations.flush(this.#nowUs)
	}

	#setTime(nowUs: number): void {
		if (nowUs > this.#nowUs) this.#nowUs = nowUs
	}

	/** A frame that no session counts. */
	#refuse(outcome: Outcome): Verdict {
		switch (outcome) {
			case OUTCOME.fragment:
				this.#counts.fragments++
				return FRAGMENT
			case OUTCOME.malformedLink:
				this.#counts.malformedLink++
				break
			case OUTCOME.malformedIp:
				this.#counts.malformedIp++
				break
			case OUTCOME.malformedTransport:
				this.#counts.malformedTransport++
				break
			default:
				this.#counts.otherLink++
				return NOT_IP
		}
		return this.#verdicts.malformed(this.#packet.why)
	}

	/** Whether the session found has ended, and the packet in hand starts another. */
	#isOver(flow: Flow): boolean {
		if (this.#nowUs >= this.#store.deadlineUs(flow)) return true
		return flow.protocol === PROTOCOL.tcp && isNewConnection(flow, this.#packet)
	}

	/** Ends a session that is over; the look-up is then as if there had been none. */
	#makeWay(flow: Flow, port: number): void {
		this.#end(flow, flow.state === SESSION_STATE.halfClosed ? 'fin' : 'timeout')
		this.#store.find(this.#packet, port)
	}

	/**
	 * Whether the packet in hand is an ICMP error about a session: the network's answer to the session, and nobody's wish
	 * to talk. Where sessions are told one by one it has a row of its own.
	 */
	#isRelated({ view, port }: Readonly<Frame>): boolean {
		const packet = this.#packet
		const isIcmp = packet.protocol === (packet.isV6 ? PROTOCOL.icmpv6 : PROTOCOL.icmp)
		if (!isIcmp || this.#options.hasSessionEvents) return false
		if (!icmp.isError(packet.isV6, packet.icmpType)) return false
		return (
			readQuoted(view, packet, this.#quoted) && this.#store.find(this.#quoted, port) !== undefined
		)
	}

	/** No stack takes what is for somebody else; a capture file shows it on purpose. */
	#isTap(port: number): boolean {
		return this.#ports.get(port)?.workload !== undefined
	}

	/** A packet without a session starts one, unless it is of the link alone. */
	#inspectFirst(frame: Readonly<Frame>): Verdict {
		const port = this.#ports.get(frame.port)
		if (port === undefined) return PORT_NOT_OPEN
		const local = localVerdict(this.#packet)
		if (local !== undefined && !this.#options.hasSessionEvents) {
			this.#counts.local++
			return local
		}
		const inTheWay = this.#store.inTheWay()
		if (inTheWay !== undefined) this.#end(inTheWay, 'evicted')
		const flow = this.#store.open(this.#packet, frame.port, this.#nowUs)
		this.#counts.sessionsOpened++
		resetInspection(flow.owner)
		if (local !== undefined) {
			flow.owner.isLocal = true
			flow.owner.verdict = local
		}
		this.#begin(flow, port, frame)
		return this.#judge(flow, frame)
	}

	/** Fills the record of a session that starts, and asks the policy. */
	#begin(flow: Flow, port: OpenPort, frame: Readonly<Frame>): void {
		const { owner } = flow
		owner.workload = port.workload
		owner.isAtWorkload = port.workload !== undefined
		owner.isForwarded = this.#isForwarded(flow, port)
		owner.isReported = this.#isReported(flow)
		if (owner.isReported) this.#conversations.start(flow, this.#nowUs)
		owner.side = this.#sideOf(flow, port, frame)
		this.#recognizer.open(flow, this.#store.serverPort(flow))
		owner.isFinal = owner.detection === undefined
		this.#decide(flow)
	}

	#isReported({ owner }: Flow): boolean {
		return (
			this.#options.hasConversationEvents &&
			owner.isAtWorkload &&
			!owner.isLocal &&
			!owner.isForwarded
		)
	}

	#isForwarded(flow: Flow, { own }: OpenPort): boolean {
		if (own === undefined || flow.owner.isLocal) return false
		const client = this.#texts.ofClient(this.#store, flow)
		return !own.has(client) && !own.has(this.#texts.ofServer(this.#store, flow))
	}

	/** The session is the workload's own after all: its address was not known when it began. */
	#adopt(flow: Flow): void {
		flow.owner.isForwarded = false
		flow.owner.isReported = this.#isReported(flow)
		if (flow.owner.isReported) {
			this.#conversations.start(flow, this.#store.startUs(flow))
			if (!flow.owner.isListed) this.#conversations.list(flow, this.#store.startUs(flow))
		}
		this.#decide(flow)
	}

	/** Where the link does not tell which way a frame goes, the workload is taken for the client. */
	#sideOf(flow: Flow, port: OpenPort, frame: Readonly<Frame>): Inspection['side'] {
		const leaves = isLeaving(port, frame, this.#packet)
		if (leaves === undefined) return 'client'
		return leaves === this.#store.isFromClient(flow) ? 'client' : 'server'
	}

	/** Counts a packet of a session, reads it as far as anybody wants, and answers what policy says. */
	#judge(flow: Flow, frame: Readonly<Frame>): Verdict {
		const { owner } = flow
		const isFromClient = this.#store.isFromClient(flow)
		this.#store.count(flow, isFromClient, frame.wireBytes, this.#nowUs)
		if (owner.isLocal) this.#counts.local++
		if (owner.isForwarded) this.#counts.forwarded++
		if (owner.isReported && !owner.isListed) this.#conversations.list(flow, this.#nowUs)
		if (flow.protocol === PROTOCOL.tcp) this.#judgeTcp(flow, frame.view, isFromClient)
		else if (!isFromClient) this.#answer(flow)
		if (flow.protocol === PROTOCOL.udp) {
			this.#recognizer.datagram(flow, this.#packet, frame.view, isFromClient)
		}
		if (owner.detection !== undefined) this.#recognise(flow, owner.detection)
		if (owner.epoch !== this.#asker.epoch) this.#decide(flow)
		return owner.verdict
	}

	#judgeTcp(flow: Flow, view: DataView, isFromClient: boolean): void {
		const before = flow.state
		track(flow, this.#packet, isFromClient)
		this.#recognizer.segment(flow, this.#packet, view, isFromClient)
		if (flow.state === before) return
		this.#store.arm(flow, this.#nowUs + idleUs(flow.state), this.#nowUs)
		if (flow.state < SESSION_STATE.closed) return
		this.#store.setClosed(flow)
		this.#recognizer.finish(flow)
	}

	#answer(flow: Flow): void {
		flow.isAnswered = true
		if (flow.state === SESSION_STATE.oneWay) flow.state = SESSION_STATE.twoWay
	}

	/** Takes over what recognition found out, acts on it, and lets go of it when it is done. */
	#recognise(flow: Flow, detection: Detection): void {
		const { owner } = flow
		const { application, isFinal } = detection
		owner.host = detection.facts.host
		owner.detail = detection.facts.detail
		if (application !== owner.application || isFinal !== owner.isFinal) {
			if (owner.isCounted) this.#conversations.add(flow, this.#nowUs)
			owner.application = application
			owner.isFinal = isFinal
			this.#decide(flow)
		}
		if (detection.isDone) this.#recognizer.release(flow)
	}

	/** Asks the policy. What a conversation already counts stays under what the session was until then. */
	#decide(flow: Flow): void {
		const { owner } = flow
		const decision = this.#asker.ask(flow)
		if (decision !== owner.decision && owner.isCounted) {
			this.#conversations.add(flow, this.#nowUs)
		}
		owner.epoch = this.#asker.epoch
		owner.key = undefined
		owner.decision = decision
		if (!owner.isLocal) owner.verdict = this.#verdicts.of(decision)
		this.#violations.consider(flow, this.#nowUs)
	}

	#onTimer(flow: Flow): void {
		const deadlineUs = this.#store.deadlineUs(flow)
		if (this.#nowUs >= deadlineUs) {
			this.#end(flow, 'timeout')
			return
		}
		this.#violations.consider(flow, this.#nowUs)
		this.#store.arm(flow, deadlineUs, this.#nowUs)
	}

	/** Ends a session: recognition, report, event, and the record is free. */
	#end(flow: Flow, reason: string): void {
		const { detection } = flow.owner
		if (detection !== undefined) {
			this.#recognizer.finish(flow)
			this.#recognise(flow, detection)
		}
		if (flow.owner.isReported) this.#conversations.addLast(flow, this.#nowUs)
		if (this.#options.hasSessionEvents) this.#events.push(this.#sessionEvents.of(flow, reason))
		if (reason === 'evicted' && flow.state < SESSION_STATE.closed) this.#counts.sessionsEvicted++
		this.#store.close(flow)
		this.#counts.sessionsClosed++
	}
}

function earliest(a: number | undefined, b: number | undefined): number | undefined {
	if (a === undefined || b === undefined) return a ?? b
	return Math.min(a, b)
}
