import { decodeMessage, inflate } from '@ringfence/shared/contract/codec'
import {
	bootSchema,
	commandResultSchema,
	documentStatusSchema,
	helloSchema,
	presenceSchema,
	type TelemetryAck,
	workloadsReportSchema,
} from '@ringfence/shared/contract/messages'
import { telemetryBatchSchema } from '@ringfence/shared/contract/telemetry'
import { DOCUMENTS, type DocumentName } from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { z } from 'zod'
import type { Intake } from '../fleet/intake/intake.ts'

/** What became of a message. */
export type Outcome =
	| { readonly kind: 'taken'; readonly ack?: TelemetryAck }
	| { readonly kind: 'unreadable'; readonly why: string; readonly ack?: TelemetryAck }

/** A kind of message that agents send. */
export interface Channel {
	/** Whether brokers keep the last one. */
	readonly isRetained: boolean
	/** Whether the agent sends it again until it is acknowledged. */
	readonly isAcknowledged: boolean
	/** Reads, checks and hands over. Rejects when the domain logic does (the database is away): then nothing was taken. */
	handle(intake: Intake, node: string, payload: Uint8Array): Promise<Outcome>
}

/** By path below `up/`; presence, which has a topic of its own, under `presence`. */
export const CHANNELS: ReadonlyMap<string, Channel> = new Map([
	['presence', channel(presenceSchema, true, (intake, node, it) => intake.presence(node, it))],
	['hello', channel(helloSchema, false, (intake, node, it) => intake.hello(node, it))],
	[
		'workloads',
		channel(workloadsReportSchema, false, (intake, node, it) => intake.workloads(node, it)),
	],
	['result', channel(commandResultSchema, false, (intake, node, it) => intake.result(node, it))],
	['telemetry', telemetryChannel()],
	...DOCUMENTS.map((name) => [`status/${name}`, statusChannel(name)] as const),
])

function channel<Schema extends z.ZodType>(
	schema: Schema,
	isRetained: boolean,
	take: (intake: Intake, node: string, message: z.output<Schema>) => Promise<void>,
): Channel {
	return {
		isRetained,
		isAcknowledged: false,
		async handle(intake, node, payload) {
			const decoded = await decodeMessage(schema, payload)
			if (!decoded.ok) return { kind: 'unreadable', why: decoded.why }
			await take(intake, node, decoded.value)
			return { kind: 'taken' }
		},
	}
}

function statusChannel(name: DocumentName): Channel {
	const schema = documentStatusSchema.extend({ document: z.literal(name) })
	return channel(schema, true, (intake, node, it) => intake.status(node, it))
}

function telemetryChannel(): Channel {
	return {
		isRetained: false,
		isAcknowledged: true,
		async handle(intake, node, payload) {
			const decoded = await decodeMessage(telemetryBatchSchema, payload)
			if (decoded.ok) return { kind: 'taken', ack: await intake.telemetry(node, decoded.value) }
			const ack = await rejection(payload, decoded.why)
			return { kind: 'unreadable', why: decoded.why, ...(ack === undefined ? {} : { ack }) }
		},
	}
}

const batchNameSchema = z.object({ boot: bootSchema, seq: z.int().min(1) })

/**
 * Tells the agent to drop a batch that can never be taken, so that it doesn't block those behind it. Its `seq` of 0 says
 * nothing about other batches. Undefined when not even the batch's name can be read.
 */
async function rejection(payload: Uint8Array, why: string): Promise<TelemetryAck | undefined> {
	try {
		const text = new TextDecoder().decode(await inflate(payload))
		const { boot, seq } = batchNameSchema.parse(JSON.parse(text))
		return { v: CONTRACT_VERSION, boot, seq: 0, rejected: { seq, why } }
	} catch {
		return undefined
	}
}
