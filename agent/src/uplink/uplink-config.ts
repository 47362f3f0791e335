import type { Command, NodeFacts } from '@ringfence/shared/contract/messages'
import type { TelemetryRecord } from '@ringfence/shared/contract/telemetry'
import type { Workload } from '@ringfence/shared/contract/workload'
import type { Backoff } from './backoff.ts'
import type { ApplyResult, DocumentPair } from './documents.ts'
import type { Log } from './log.ts'
import type { SpoolSync } from './spool.ts'

/** The agent's side of the control plane. */
export interface Uplink {
	/** This node's id, given at enrolment. */
	readonly node: string
	/** The node's facts are not what the last hello said: says hello again. */
	reportFacts(): void
	/** All workloads of the node; called whenever one comes, goes or changes. */
	reportWorkloads(workloads: readonly Workload[]): void
	/**
	 * Takes telemetry; it is on disk a quarter of a second later, and sent until the controller has it. Records must not be
	 * changed afterwards.
	 */
	send(records: readonly TelemetryRecord[]): void
	counters(): Readonly<Record<string, number>>
	/** Spools what was taken, gives the controller a moment to acknowledge, says goodbye. */
	stop(): Promise<void>
}

/** What the uplink asks of the agent. */
export interface UplinkHandlers {
	/** Asked at every greeting. */
	facts(): NodeFacts
	/**
	 * Puts documents in force, both or none. Called one at a time; before `openUplink` resolves if an earlier run kept some.
	 * `why` goes to the controller.
	 */
	applyDocuments(documents: DocumentPair): Promise<ApplyResult>
	/** Carries a command out. `resync` is the uplink's own affair and does not come here. */
	command(command: Command['command']): Promise<{ ok: boolean; why?: string }>
	log: Log
}

/** Times that a test or a benchmark may want otherwise; in milliseconds. */
export interface UplinkTiming {
	/** How long a record waits for others to share a batch with. */
	readonly batchDelayMs: number
	/** How long changes of workloads are gathered. */
	readonly workloadsDelayMs: number
	/** How often losses are announced at most. */
	readonly lossesEveryMs: number
	/** How long `stop` waits for acknowledgements. */
	readonly drainMs: number
	readonly enrol: Backoff
	readonly reconnect: Backoff
	readonly resend: Backoff
	readonly refetch: Backoff
}

export interface UplinkConfig {
	/** Holds identity, documents in force and spool; one agent a directory. */
	readonly stateDir: string
	/** Needed with `token` until the node is enrolled, and ignored afterwards. */
	readonly controllerUrl?: string | undefined
	readonly token?: string | undefined
	/** The node's name for people. */
	readonly name: string
	/** Disk space for telemetry that is not acknowledged. */
	readonly spoolBytesMax?: number | undefined
	/** Memory for it while the disk refuses it. */
	readonly spoolMemoryBytesMax?: number | undefined
	/** Which batches are flushed to the medium before they are sent; `events` unless said otherwise. */
	readonly spoolSync?: SpoolSync | undefined
	readonly timing?: Partial<UplinkTiming> | undefined
	/** Gives up an enrolment that cannot reach its controller. */
	readonly signal?: AbortSignal | undefined
}
