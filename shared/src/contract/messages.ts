import { z } from 'zod'
import {
	countSchema,
	idSchema,
	nameSchema,
	proseSchema,
	sha256Schema,
	timestampSchema,
} from './text.ts'
import { DOCUMENTS } from './topics.ts'
import { CONTRACT_VERSION } from './version.ts'
import { interfaceSchema, workloadSchema } from './workload.ts'

/** Every message carries the version it is written in. */
export const versionSchema = z.literal(CONTRACT_VERSION, {
	error: (issue) => `contract version ${describeVersion(issue.input)} is not ${CONTRACT_VERSION}`,
})

/** The other side's version as a word; it may be anything, even an object that has no text form. */
function describeVersion(input: unknown): string {
	return typeof input === 'number' || typeof input === 'string'
		? String(input).slice(0, 32)
		: `of type ${typeof input}`
}

/** Identity of one run of a process: a new one at every start. */
export const bootSchema = idSchema

/** Agent: whether it is connected. The will carries the same boot, so an old will cannot bury a new run. */
export const presenceSchema = z.strictObject({
	v: versionSchema,
	boot: bootSchema,
	isUp: z.boolean(),
	at: timestampSchema,
})
export type Presence = z.infer<typeof presenceSchema>

/** Controller: whether it is connected. A new boot asks every agent to say hello and send again what is not acknowledged. */
export const controllerStateSchema = z.strictObject(presenceSchema.shape)
export type ControllerState = z.infer<typeof controllerStateSchema>

export const nodeFactsSchema = z.strictObject({
	hostname: nameSchema,
	os: nameSchema,
	kernel: nameSchema,
	arch: nameSchema,
	agentVersion: nameSchema,
	interfaces: z.array(interfaceSchema).max(256),
	/** Whether this agent sees packets; `captureWhy` says why not. */
	canCapture: z.boolean(),
	captureWhy: proseSchema.optional(),
})
export type NodeFacts = z.infer<typeof nodeFactsSchema>

export const appliedSchema = z.strictObject({
	document: z.enum(DOCUMENTS),
	epoch: countSchema,
	generation: countSchema,
})

/** Agent: first message of a connection. */
export const helloSchema = z.strictObject({
	v: versionSchema,
	boot: bootSchema,
	startedAt: timestampSchema,
	facts: nodeFactsSchema,
	/** What is in force here, from the disk after a restart. */
	applied: z.array(appliedSchema).max(DOCUMENTS.length),
})
export type Hello = z.infer<typeof helloSchema>

/** Agent: all workloads of the node. The newest `(boot, revision)` replaces what was known. */
export const workloadsReportSchema = z.strictObject({
	v: versionSchema,
	boot: bootSchema,
	revision: countSchema,
	at: timestampSchema,
	workloads: z.array(workloadSchema).max(4096),
})
export type WorkloadsReport = z.infer<typeof workloadsReportSchema>

/** Controller: every batch of that boot up to `seq` is in the database; the agent forgets them. */
export const telemetryAckSchema = z.strictObject({
	v: versionSchema,
	boot: bootSchema,
	seq: countSchema,
	/** A batch that can never be taken (it does not parse): the agent drops it and counts. */
	rejected: z.strictObject({ seq: countSchema, why: proseSchema }).optional(),
})
export type TelemetryAck = z.infer<typeof telemetryAckSchema>

/** Controller: what a desired document consists of. Signed as the exact text in `SignedHead.body`. */
export const headSchema = z.strictObject({
	v: versionSchema,
	cluster: idSchema,
	node: idSchema,
	document: z.enum(DOCUMENTS),
	/** Identity in time of the controller's database: a restored one starts a higher epoch. */
	epoch: countSchema,
	/** Rises with every change; the same number on every node. */
	generation: countSchema,
	at: timestampSchema,
	/** Digests of the shards' bytes as published. Entry `key` is in shard `shardOf(key, shards.length)`. */
	shards: z.array(sha256Schema).min(1).max(16),
})
export type Head = z.infer<typeof headSchema>

export const signedHeadSchema = z.strictObject({
	v: versionSchema,
	/** `Head` as JSON text. */
	body: z.string().max(4096),
	/** Ed25519 (RFC 8032) over the UTF-8 bytes of `body`, base64. */
	signature: z.string().max(128),
	keyId: idSchema,
})
export type SignedHead = z.infer<typeof signedHeadSchema>

/** Agent: what became of a head. The last good document stays in force after a rejection. */
export const documentStatusSchema = z.strictObject({
	v: versionSchema,
	boot: bootSchema,
	document: z.enum(DOCUMENTS),
	epoch: countSchema,
	generation: countSchema,
	state: z.enum(['applied', 'rejected']),
	why: proseSchema.optional(),
	at: timestampSchema,
})
export type DocumentStatus = z.infer<typeof documentStatusSchema>

export const commandSchema = z.strictObject({
	v: versionSchema,
	id: idSchema,
	/** After this moment the agent does not carry it out any more. */
	expiresAt: timestampSchema,
	command: z.discriminatedUnion('kind', [
		/** Say hello and report all workloads again. */
		z.strictObject({ kind: z.literal('resync') }),
		z.strictObject({
			kind: z.literal('log-level'),
			level: z.enum(['error', 'warn', 'info', 'debug']),
		}),
	]),
})
export type Command = z.infer<typeof commandSchema>

export const commandResultSchema = z.strictObject({
	v: versionSchema,
	id: idSchema,
	ok: z.boolean(),
	why: proseSchema.optional(),
	at: timestampSchema,
})
export type CommandResult = z.infer<typeof commandResultSchema>
