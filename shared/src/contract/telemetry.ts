import { z } from 'zod'
import { APPLICATIONS } from './application.ts'
import { bootSchema, versionSchema } from './messages.ts'
import {
	boundedRecordSchema,
	countSchema,
	idSchema,
	nameSchema,
	proseSchema,
	timestampSchema,
} from './text.ts'
import { addressSchema } from './workload.ts'

/** How bad an event is, worst last. */
export const SEVERITIES = ['info', 'low', 'medium', 'high', 'critical'] as const
export const severitySchema = z.enum(SEVERITIES)
export type Severity = z.infer<typeof severitySchema>

/** What the agent did with a session, or would have done. See `agent/src/policy/policy.ts`. */
export const SESSION_ACTIONS = ['allow', 'learn', 'violate', 'deny', 'pending', 'open'] as const
export const sessionActionSchema = z.enum(SESSION_ACTIONS)
export type SessionAction = z.infer<typeof sessionActionSchema>

export const portSchema = z.int().min(0).max(65535)

/** The peer of a workload in a session, and which end the workload is. */
const ends = {
	workload: idSchema,
	side: z.enum(['client', 'server']),
	peerAddress: addressSchema,
	/** Workload behind the address, when the agent's address map knew it at that time. */
	peerWorkload: idSchema.optional(),
	/** IP protocol number (IANA). */
	protocol: z.int().min(0).max(255),
	/** Server port; ICMP type for ICMP. */
	serverPort: portSchema,
	/** Absent: unknown. */
	application: z.enum(APPLICATIONS).optional(),
	rule: idSchema.optional(),
	why: proseSchema,
	/** Host the client asked for. */
	host: z.string().max(255).optional(),
}

/** Increments of one workload's sessions with one peer since the last record of the same key. */
export const conversationRecordSchema = z.strictObject({
	kind: z.literal('conversation'),
	...ends,
	/** False while recognition goes on: nothing may be learned from it. */
	isFinal: z.boolean(),
	action: sessionActionSchema,
	sessions: countSchema,
	clientPackets: countSchema,
	clientBytes: countSchema,
	serverPackets: countSchema,
	serverBytes: countSchema,
	firstAt: timestampSchema,
	lastAt: timestampSchema,
})
export type ConversationRecord = z.infer<typeof conversationRecordSchema>

/** Sessions that no rule allows. `clientPort` is that of the first. */
export const violationRecordSchema = z.strictObject({
	kind: z.literal('violation'),
	...ends,
	clientPort: portSchema,
	action: z.enum(['violate', 'deny']),
	count: countSchema.min(1),
	at: timestampSchema,
})
export type ViolationRecord = z.infer<typeof violationRecordSchema>

export const threatRecordSchema = z.strictObject({
	kind: z.literal('threat'),
	...ends,
	clientPort: portSchema,
	name: nameSchema,
	severity: severitySchema,
	count: countSchema.min(1),
	at: timestampSchema,
})
export type ThreatRecord = z.infer<typeof threatRecordSchema>

/** Something that happened to the agent itself: rings lost packets, spool overflowed, worker restarted. */
export const agentRecordSchema = z.strictObject({
	kind: z.literal('agent'),
	name: nameSchema,
	severity: severitySchema,
	message: proseSchema,
	count: countSchema.min(1),
	at: timestampSchema,
})
export type AgentRecord = z.infer<typeof agentRecordSchema>

/** Every counter there is, and one or two for each workload. */
const COUNTERS_MAX = 16_384

/** Totals since the agent's start, by name: frames, ring losses, evictions, drops of the spool. The newest replaces the older. */
export const countersRecordSchema = z.strictObject({
	kind: z.literal('counters'),
	at: timestampSchema,
	counters: boundedRecordSchema(z.string().max(64), countSchema, COUNTERS_MAX),
})
export type CountersRecord = z.infer<typeof countersRecordSchema>

export const telemetryRecordSchema = z.discriminatedUnion('kind', [
	conversationRecordSchema,
	violationRecordSchema,
	threatRecordSchema,
	agentRecordSchema,
	countersRecordSchema,
])
export type TelemetryRecord = z.infer<typeof telemetryRecordSchema>

export const BATCH_RECORDS_MAX = 500

/**
 * Agent: records in the order they arose. Sent again until acknowledged; taken once: the controller keeps, for each
 * (node, boot), the last `seq` it has taken, in the same transaction as the records.
 */
export const telemetryBatchSchema = z.strictObject({
	v: versionSchema,
	boot: bootSchema,
	/** Counts from 1 within a boot, without holes. */
	seq: countSchema.min(1),
	/** Oldest batch of this boot that the agent still holds: what is older and not taken is lost, and counted. */
	floor: countSchema.min(1),
	at: timestampSchema,
	records: z.array(telemetryRecordSchema).max(BATCH_RECORDS_MAX),
})
export type TelemetryBatch = z.infer<typeof telemetryBatchSchema>
