import { type Packet, PROTOCOL } from '../packet/packet.ts'
import { SYN } from '../packet/tcp.ts'
import { IdleList } from './idle-list.ts'
import { Session } from './session.ts'
import { SessionTable } from './session-table.ts'
import { isSenderClient } from './tcp-track.ts'
import { firstState, idleUs, SESSION_STATE } from './timeouts.ts'
import { TimerWheel } from './timer-wheel.ts'
import { resetWing } from './wing.ts'

/** Numbers of a session in `totals`: one cache line each. */
const STRIDE = 8
const CLIENT_PACKETS = 0
const CLIENT_BYTES = 1
const SERVER_PACKETS = 2
const SERVER_BYTES = 3
const START_US = 4
const LAST_US = 5
const TOUCHED_US = 6

/** The order of idle sessions is kept to this resolution, so that a busy one moves ten times a second at most. */
const TOUCH_US = 100_000

/** What a session has carried, as link-layer bytes on the wire. A record that is filled again. */
export interface Totals {
	clientPackets: number
	clientBytes: number
	serverPackets: number
	serverBytes: number
}

/** The sessions of an engine: found by packet, bounded in number, with one timer each. Holds no policy and no parser. */
export class SessionStore<Owner> {
	readonly #table: SessionTable
	readonly #idle: IdleList
	readonly #wheel: TimerWheel
	readonly #newOwner: () => Owner
	readonly #sessions: Session<Owner>[] = []
	readonly #free: number[] = []
	readonly #totals: Float64Array
	readonly #sessionsMax: number
	#open = 0

	constructor(sessionsMax: number, newOwner: () => Owner) {
		this.#sessionsMax = sessionsMax
		this.#newOwner = newOwner
		this.#table = new SessionTable(sessionsMax)
		this.#idle = new IdleList(sessionsMax)
		this.#wheel = new TimerWheel(sessionsMax)
		this.#totals = new Float64Array(sessionsMax * STRIDE)
	}

	/** Sessions held. */
	get size(): number {
		return this.#open
	}

	/** Session of the packet seen at the port. */
	find(packet: Packet, port: number): Session<Owner> | undefined {
		const index = this.#table.find(packet, port)
		return index < 0 ? undefined : this.#sessions[index]
	}

	/** Whether the packet last given to `find` or `open` comes from the session's client. */
	isFromClient(session: Session<Owner>): boolean {
		return this.#table.isFromLow === session.isClientLow
	}

	/** After `find` found nothing: the session to close before another may open. */
	inTheWay(): Session<Owner> | undefined {
		const excess = this.#table.excess()
		if (excess >= 0) return this.#sessions[excess]
		return this.#open < this.#sessionsMax ? undefined : this.#sessions[this.#idle.longestIdle()]
	}

	/** Starts the session of a packet that has none. The owner is as the last session of the record left it. */
	open(packet: Packet, port: number, nowUs: number): Session<Owner> {
		const session = this.#take()
		const { index } = session
		this.#table.insert(index, packet, port)
		begin(session, packet, this.#table.isFromLow)
		session.port = port
		const at = index * STRIDE
		this.#totals.fill(0, at, at + STRIDE)
		this.#totals[at + START_US] = nowUs
		this.#totals[at + LAST_US] = nowUs
		this.#totals[at + TOUCHED_US] = nowUs
		this.#idle.add(index)
		this.#open++
		this.#wheel.arm(index, nowUs + idleUs(session.state), nowUs)
		return session
	}

	/** Counts one frame of the session. A closed session does not live longer by it. */
	count(session: Session<Owner>, isFromClient: boolean, bytes: number, nowUs: number): void {
		const totals = this.#totals
		const at = session.index * STRIDE
		const wing = at + (isFromClient ? CLIENT_PACKETS : SERVER_PACKETS)
		totals[wing] = (totals[wing] ?? 0) + 1
		totals[wing + 1] = (totals[wing + 1] ?? 0) + bytes
		if (session.state >= SESSION_STATE.closed) return
		totals[at + LAST_US] = nowUs
		if (nowUs - (totals[at + TOUCHED_US] ?? 0) >= TOUCH_US) {
			totals[at + TOUCHED_US] = nowUs
			this.#idle.touch(session.index)
		}
	}

	/** When the session ends if nothing more comes. */
	deadlineUs(session: Session<Owner>): number {
		return this.lastUs(session) + idleUs(session.state)
	}

	/** Makes the timer of the session fire at `atUs` or before. */
	arm(session: Session<Owner>, atUs: number, nowUs: number): void {
		this.#wheel.arm(session.index, atUs, nowUs)
	}

	/** The session's state became `closed` or `reset`: it is among the first to give way. */
	setClosed(session: Session<Owner>): void {
		this.#idle.close(session.index)
	}

	/** Removes the session; its record and numbers stay readable until the next `open`. */
	close(session: Session<Owner>): void {
		this.#table.remove(session.index)
		this.#idle.remove(session.index)
		this.#wheel.disarm(session.index)
		session.isOpen = false
		this.#free.push(session.index)
		this.#open--
	}

	nextTimerUs(): number | undefined {
		return this.#wheel.nextUs()
	}

	/** Gives the sessions whose timer is due; each may be armed again or closed, and no other. */
	fireTimers(nowUs: number, fire: (session: Session<Owner>) => void): void {
		this.#wheel.advance(nowUs, (index) => {
			const session = this.#sessions[index]
			if (session) fire(session)
		})
	}

	/** Record with this index, whether its session is open or not. */
	recordAt(index: number): Session<Owner> | undefined {
		return this.#sessions[index]
	}

	/** All open sessions, in order of index. */
	all(): Session<Owner>[] {
		return this.#sessions.filter((session) => session.isOpen)
	}

	/** Fills `out` with the client's address: the words of `shared/net/address`, signed. */
	readClientAddress(session: Session<Owner>, out: Int32Array): void {
		this.#table.readAddress(session.index, session.isClientLow, out)
	}

	/** Fills `out` with the server's address. */
	readServerAddress(session: Session<Owner>, out: Int32Array): void {
		this.#table.readAddress(session.index, !session.isClientLow, out)
	}

	clientPort(session: Session<Owner>): number {
		return this.#table.transportPort(session.index, session.isClientLow)
	}

	serverPort(session: Session<Owner>): number {
		return this.#table.transportPort(session.index, !session.isClientLow)
	}

	startUs(session: Session<Owner>): number {
		return this.#totals[session.index * STRIDE + START_US] ?? 0
	}

	/** Time of the last packet; of a closed session, when it closed. */
	lastUs(session: Session<Owner>): number {
		return this.#totals[session.index * STRIDE + LAST_US] ?? 0
	}

	/** Fills `out` with what the session has carried. */
	totals(session: Session<Owner>, out: Totals): void {
		const at = session.index * STRIDE
		out.clientPackets = this.#totals[at + CLIENT_PACKETS] ?? 0
		out.clientBytes = this.#totals[at + CLIENT_BYTES] ?? 0
		out.serverPackets = this.#totals[at + SERVER_PACKETS] ?? 0
		out.serverBytes = this.#totals[at + SERVER_BYTES] ?? 0
	}

	#take(): Session<Owner> {
		const free = this.#free.pop()
		const used = free === undefined ? undefined : this.#sessions[free]
		if (used) return used
		const session = new Session(this.#sessions.length, this.#newOwner())
		this.#sessions.push(session)
		return session
	}
}

function begin(session: Session<unknown>, packet: Packet, isFromLow: boolean): void {
	session.isOpen = true
	session.protocol = packet.protocol
	session.isV6 = packet.isV6
	session.state = firstState(packet)
	session.isClientLow = isFromLow === isFirstSenderClient(packet)
	session.isAnswered = false
	session.isMidstream = packet.protocol === PROTOCOL.tcp && (packet.tcpFlags & SYN) === 0
	session.hasNewSyn = false
	resetWing(session.client)
	resetWing(session.server)
}

/** UDP and others: who speaks first asks. ICMP: a reply comes from the server. */
function isFirstSenderClient(packet: Packet): boolean {
	switch (packet.protocol) {
		case PROTOCOL.tcp:
			return isSenderClient(packet)
		case PROTOCOL.icmp:
			return packet.icmpType !== 0
		case PROTOCOL.icmpv6:
			return packet.icmpType !== 129
		default:
			return true
	}
}
