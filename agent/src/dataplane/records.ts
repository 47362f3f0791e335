import type {
	AgentRecord,
	ConversationRecord,
	TelemetryRecord,
	ThreatRecord,
	ViolationRecord,
} from '@ringfence/shared/contract/telemetry'
import type {
	ConversationEvent,
	EngineEvent,
	ThreatEvent,
	ViolationEvent,
} from '../engine/engine.ts'
import type { Notice } from './dataplane.ts'

/** Limits of the contract (`proseSchema`, `host`). */
const PROSE_MAX = 1024
const HOST_MAX = 255

/** What a record needs and an event leaves out. */
export interface RecordContext {
	/** Engine time less wall-clock time. */
	readonly shiftUs: number
	/** Whether the address is one of the workload's own. */
	isOwnAddress(workload: string, address: string): boolean
}

/** An engine's event as the contract tells it; undefined for what does not leave the node. */
export function recordOf(event: EngineEvent, context: RecordContext): TelemetryRecord | undefined {
	switch (event.kind) {
		case 'conversation':
			return conversationRecord(event, context)
		case 'violation':
			return violationRecord(event, context)
		case 'threat':
			return threatRecord(event, context)
		case 'session':
			return undefined
	}
}

/** Something that happened to the agent itself. */
export function agentRecord(notice: Notice, atMs: number): AgentRecord {
	const { name, severity, message, count } = notice
	return { kind: 'agent', name, severity, message: message.slice(0, PROSE_MAX), count, at: atMs }
}

function conversationRecord(event: ConversationEvent, context: RecordContext): ConversationRecord {
	return {
		kind: 'conversation',
		workload: event.workload,
		side: event.side,
		peerAddress: event.peerAddress,
		protocol: event.protocol,
		serverPort: event.serverPort,
		why: event.why.slice(0, PROSE_MAX),
		...known(event),
		isFinal: event.isFinal,
		action: event.action,
		sessions: event.sessions,
		clientPackets: event.clientPackets,
		clientBytes: event.clientBytes,
		serverPackets: event.serverPackets,
		serverBytes: event.serverBytes,
		firstAt: milliseconds(event.firstUs, context),
		lastAt: milliseconds(event.lastUs, context),
	}
}

function violationRecord(event: ViolationEvent, context: RecordContext): ViolationRecord {
	return {
		kind: 'violation',
		workload: event.workload,
		side: event.side,
		peerAddress: event.side === 'client' ? event.serverAddress : event.clientAddress,
		protocol: event.protocol,
		serverPort: event.serverPort,
		clientPort: event.clientPort,
		why: event.why.slice(0, PROSE_MAX),
		...known(event),
		action: event.action,
		count: event.count,
		at: milliseconds(event.atUs, context),
	}
}

/** A threat names no side: the workload is the end that has one of its addresses. */
function threatRecord(event: ThreatEvent, context: RecordContext): ThreatRecord | undefined {
	const { workload, serverAddress, clientAddress } = event
	if (workload === undefined) return undefined
	const isServer = context.isOwnAddress(workload, serverAddress)
	return {
		kind: 'threat',
		workload,
		side: isServer ? 'server' : 'client',
		peerAddress: isServer ? clientAddress : serverAddress,
		protocol: event.protocol,
		serverPort: event.serverPort,
		clientPort: event.clientPort,
		name: event.name,
		severity: event.severity,
		why: event.why.slice(0, PROSE_MAX),
		count: event.count,
		at: milliseconds(event.atUs, context),
	}
}

/** Only the fields that are there: the contract has no empty ones. */
function known(event: ConversationEvent | ViolationEvent) {
	const { peerWorkload, application, rule, host } = event
	return {
		...(peerWorkload !== undefined && { peerWorkload }),
		...(application !== undefined && { application }),
		...(rule !== undefined && { rule }),
		...(host !== undefined && host !== '' && { host: host.slice(0, HOST_MAX) }),
	}
}

function milliseconds(us: number, { shiftUs }: RecordContext): number {
	return Math.max(Math.floor((us - shiftUs) / 1000), 0)
}
