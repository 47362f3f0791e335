import type { AddressEntry, PolicyEntry } from '@ringfence/shared/contract/policy'
import type {
	ConversationRecord,
	TelemetryRecord,
	ViolationRecord,
} from '@ringfence/shared/contract/telemetry'
import type { Workload } from '@ringfence/shared/contract/workload'
import type { DocumentPair } from '../documents.ts'
import type { UplinkHandlers, UplinkTiming } from '../uplink-config.ts'

const AT = 1_790_000_000_000

/** Short times: what takes a minute in the field takes a moment in a test. */
export const QUICK: UplinkTiming = {
	batchDelayMs: 20,
	workloadsDelayMs: 10,
	lossesEveryMs: 50,
	drainMs: 100,
	enrol: { firstMs: 20, maxMs: 100 },
	reconnect: { firstMs: 50, maxMs: 200 },
	resend: { firstMs: 200, maxMs: 1_000 },
	refetch: { firstMs: 200, maxMs: 1_000 },
}

/** A conversation that can be told from others by its number. */
export function conversation(number: number): ConversationRecord {
	return {
		kind: 'conversation',
		workload: 'w1',
		side: 'client',
		peerAddress: '10.0.0.9',
		protocol: 6,
		serverPort: 80,
		application: 'http',
		why: 'no rule (discover)',
		isFinal: true,
		action: 'learn',
		sessions: number,
		clientPackets: 1,
		clientBytes: 60,
		serverPackets: 1,
		serverBytes: 60,
		firstAt: AT,
		lastAt: AT,
	}
}

export function violation(number: number): ViolationRecord {
	return {
		kind: 'violation',
		workload: 'w1',
		side: 'client',
		peerAddress: '10.0.0.9',
		protocol: 6,
		serverPort: 22,
		why: 'no rule (monitor)',
		clientPort: 40_000,
		action: 'violate',
		count: number,
		at: AT,
	}
}

/** Numbers of the conversations and violations among records. */
export function numbersOf(records: readonly TelemetryRecord[]): number[] {
	return records.flatMap((record) => {
		if (record.kind === 'conversation') return [record.sessions]
		return record.kind === 'violation' ? [record.count] : []
	})
}

export function workload(id: string): Workload {
	return {
		id,
		name: id,
		runtime: 'netns',
		service: 'web',
		domain: 'default',
		labels: {},
		interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', addresses: ['10.0.0.5/24'] }],
		startedAt: AT,
	}
}

export function rule(number: number): PolicyEntry {
	return {
		kind: 'rule',
		id: `r${number}`,
		order: number,
		from: 'rf.web.default',
		to: 'rf.db.default',
		ports: ['tcp/6379'],
		applications: ['redis'],
		action: 'allow',
	}
}

export const SETTINGS: PolicyEntry = {
	kind: 'settings',
	newServiceMode: 'discover',
	fleetNetworks: ['10.0.0.0/8'],
}

export function addressEntry(number: number): AddressEntry {
	return {
		network: `10.0.1.${number}/32`,
		kind: 'workload',
		id: `w${number}`,
		groups: ['rf.web.default'],
	}
}

/** Handlers that remember what they were asked. */
export interface RecordingHandlers extends UplinkHandlers {
	readonly applied: DocumentPair[]
	readonly commands: string[]
	readonly lines: string[]
	/** Answer to the next documents. */
	refusal: string | undefined
}

export function recordingHandlers(): RecordingHandlers {
	const handlers: RecordingHandlers = {
		applied: [],
		commands: [],
		lines: [],
		refusal: undefined,
		facts: () => ({
			hostname: 'h1',
			os: 'Debian 12',
			kernel: '6.18',
			arch: 'x64',
			agentVersion: '0.1.0',
			interfaces: [],
			canCapture: true,
		}),
		applyDocuments(documents) {
			if (handlers.refusal !== undefined) {
				return Promise.resolve({ ok: false, why: handlers.refusal })
			}
			handlers.applied.push(documents)
			return Promise.resolve({ ok: true })
		},
		command(command) {
			handlers.commands.push(command.kind)
			return Promise.resolve({ ok: true })
		},
		log(level, message, fields) {
			handlers.lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`)
		},
	}
	return handlers
}
