import type { ApplicationName } from '@ringfence/shared/contract/application'
import type { Severity } from '@ringfence/shared/contract/telemetry'
import type { CompiledPolicy, PolicyAction, Side } from '../policy/policy.ts'

/** A captured frame: bytes are borrowed, and valid only until `inspect` returns. The source may reuse the record. */
export interface Frame {
	view: DataView
	/** First byte of the link-layer header. */
	at: number
	/** End of the captured bytes. */
	end: number
	/** Length on the wire, at least `end - at`; larger when the capture truncated. */
	wireBytes: number
	/** `LINKTYPE_` value (https://www.tcpdump.org/linktypes.html): 1 Ethernet, 101 raw IP (228 and 229 of one family), 113 Linux cooked, 276 cooked v2, 0 loopback. */
	linkType: number
	/** Where it was seen: the id of an open port. */
	port: number
	/**
	 * `PACKET_` value of linux/if_packet.h, where the kernel tells the way of an Ethernet frame; it is right where
	 * addresses are not: interfaces that share one (ipvlan), or change it.
	 */
	packetType?: number
}

/** A place where frames of one workload are seen: one interface of it, or a capture file. */
export interface EnginePort {
	readonly id: number
	/**
	 * Undefined for a capture file: no side is local. Policy then judges each session for the workload that the address
	 * map names for the server, else for the client; without either it does not apply.
	 */
	readonly workload: string | undefined
	/**
	 * Ethernet address of the workload's interface (`02:42:ac:11:00:02`): frames from it leave the workload. Where neither
	 * this nor the link tells the way (raw IP, BSD loopback), the workload is taken for the client.
	 */
	readonly mac: string | undefined
	/**
	 * All addresses of a workload that forwards packets of others (a router, a gateway, a node); undefined where it does
	 * not forward. Sessions at neither of them are others': counted, not reported, and not judged.
	 */
	readonly ownAddresses?: readonly string[] | undefined
}

/** What to do with one frame, and why. Shared records: `inspect` allocates none. */
export interface Verdict {
	readonly action: 'pass' | 'drop' | 'reset' | 'pending'
	readonly why: string
}

/** One side's end of a session, as text for events. */
export interface SessionEnds {
	readonly clientAddress: string
	readonly clientPort: number
	readonly serverAddress: string
	readonly serverPort: number
	/** IP protocol number (IANA). */
	readonly protocol: number
}

/** Totals of a session that ended (or of all at `flush`): one row of `replay`. Bytes are link-layer bytes on the wire. */
export interface SessionEvent extends SessionEnds {
	readonly kind: 'session'
	readonly port: number
	readonly application: ApplicationName | undefined
	readonly clientPackets: number
	readonly clientBytes: number
	readonly serverPackets: number
	readonly serverBytes: number
	readonly startUs: number
	readonly endUs: number
	readonly host: string | undefined
	readonly detail: string | undefined
	readonly action: PolicyAction
	readonly why: string
	/** How it ended: `fin`, `rst`, `timeout`, `evicted`, `flush`, `port closed`. */
	readonly end: string
}

/** What one workload and one peer exchanged since the last report of the same key: all numbers are increments. */
export interface ConversationEvent {
	readonly kind: 'conversation'
	readonly workload: string
	readonly side: Side
	readonly peerAddress: string
	readonly peerWorkload: string | undefined
	readonly protocol: number
	/** Server port; ICMP type for ICMP. */
	readonly serverPort: number
	readonly application: ApplicationName | undefined
	/** False while recognition goes on: nothing may be learned from it. */
	readonly isFinal: boolean
	readonly action: PolicyAction
	readonly rule: string | undefined
	readonly why: string
	readonly sessions: number
	readonly clientPackets: number
	readonly clientBytes: number
	readonly serverPackets: number
	readonly serverBytes: number
	readonly firstUs: number
	readonly lastUs: number
	readonly host: string | undefined
}

/** A session that no rule allows, in monitor or protect. */
export interface ViolationEvent extends SessionEnds {
	readonly kind: 'violation'
	readonly atUs: number
	readonly workload: string
	readonly side: Side
	readonly peerWorkload: string | undefined
	readonly application: ApplicationName | undefined
	readonly action: 'violate' | 'deny'
	readonly rule: string | undefined
	readonly why: string
	readonly host: string | undefined
	/** Sessions of the same workload, side, peer, port and application that this one stands for. */
	readonly count: number
}

/** An attack, or a frame that no honest stack sends. */
export interface ThreatEvent extends SessionEnds {
	readonly kind: 'threat'
	readonly atUs: number
	readonly workload: string | undefined
	readonly name: string
	readonly severity: Severity
	readonly why: string
	readonly count: number
}

export type EngineEvent = SessionEvent | ConversationEvent | ViolationEvent | ThreatEvent

/** Everything the engine counted since it was made: nothing is lost without a number here. */
export type EngineCounters = Readonly<Record<EngineCounter, number>>

export const ENGINE_COUNTERS = [
	'frames',
	'bytes',
	/** Frames whose headers do not parse, by layer. */
	'malformedLink',
	'malformedIp',
	'malformedTransport',
	/** Not IP: ARP, LLDP and the like. */
	'otherLink',
	/** IP, but neither TCP, UDP nor ICMP. */
	'otherIp',
	/** Fragments that are not the first: counted, not reassembled. */
	'fragments',
	/** Multicast, broadcast and link-local: no policy applies. They have sessions only where sessions are reported. */
	'local',
	/** ICMP errors about a packet of a session that is held: they belong to it. */
	'related',
	/** Of sessions that the workload forwards: neither end is an address of its own. */
	'forwarded',
	/** Ethernet frames for somebody else, which the link showed to the workload as well. */
	'passing',
	'sessionsOpened',
	'sessionsClosed',
	/** Closed early to make room. */
	'sessionsEvicted',
	/** TCP bytes skipped because a hole never filled or assembly was full. */
	'assemblyGaps',
	'assemblyDroppedBytes',
	/** Events that found the event list full. */
	'eventsDropped',
	'conversationsDropped',
] as const

export type EngineCounter = (typeof ENGINE_COUNTERS)[number]

export interface EngineOptions {
	/** Most sessions held at once; beyond, one that closed already gives way, else the one idle longest, which is counted. */
	readonly sessionsMax: number
	/** Report every session when it ends. */
	readonly hasSessionEvents: boolean
	/** Report conversations and violations; needs ports with a workload. */
	readonly hasConversationEvents: boolean
	/** How often conversations are reported. */
	readonly reportIntervalUs: number
}

/** The inspection engine: bytes and time in, verdict and events out. Equal input gives equal output. */
export interface Engine {
	openPort(port: EnginePort): void
	/** Ends the sessions seen there; their totals are reported. */
	closePort(id: number, nowUs: number): void
	/** `ownAddresses` of an open port are others; sessions that were taken for forwarded and are its own count from their start. */
	setOwnAddresses(id: number, addresses: EnginePort['ownAddresses'], nowUs: number): void
	/** Judges one frame. Time never goes back: an earlier `nowUs` counts as the latest seen. */
	inspect(frame: Readonly<Frame>, nowUs: number): Verdict
	/** When `handleTimeout` next has work, in microseconds; undefined when never. */
	nextTimeoutUs(): number | undefined
	handleTimeout(nowUs: number): void
	applyPolicy(policy: CompiledPolicy, nowUs: number): void
	/** What happened since the last call, oldest first. */
	takeEvents(): readonly EngineEvent[]
	counters(): EngineCounters
	/** Sessions held at this moment. */
	sessionsOpen(): number
	/** Reports everything there is; with `isEnd`, ends every session first. */
	flush(nowUs: number, isEnd: boolean): void
}
