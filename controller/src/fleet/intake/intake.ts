import type {
	CommandResult,
	DocumentStatus,
	Hello,
	Presence,
	TelemetryAck,
	WorkloadsReport,
} from '@ringfence/shared/contract/messages'
import type { TelemetryBatch } from '@ringfence/shared/contract/telemetry'

/**
 * What agents tell, already decoded and checked. `node` comes from the topic, which the broker's rules bind to the sender.
 * Calls for one node are made one after the other. Unknown nodes are refused and counted.
 */
export interface Intake {
	presence(node: string, message: Presence): Promise<void>
	hello(node: string, message: Hello): Promise<void>
	workloads(node: string, message: WorkloadsReport): Promise<void>
	/** Resolves after the commit, with the acknowledgement to publish. */
	telemetry(node: string, message: TelemetryBatch): Promise<TelemetryAck>
	status(node: string, message: DocumentStatus): Promise<void>
	result(node: string, message: CommandResult): Promise<void>
	/** A message that could not be read: counted, and shown to operators as an event of that node. */
	rejected(node: string, channel: string, why: string): Promise<void>
}
