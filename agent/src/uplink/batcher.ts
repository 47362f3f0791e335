import {
	BATCH_RECORDS_MAX,
	type TelemetryRecord,
	telemetryRecordSchema,
} from '@ringfence/shared/contract/telemetry'
import type { BatchKind } from './batch-file.ts'
import type { Counters } from './counters.ts'
import type { Losses } from './losses.ts'
import type { Spool, SpooledBatch } from './spool.ts'

export interface BatcherOptions {
	readonly spool: Spool
	readonly counters: Counters
	readonly losses: Losses
	/** How long a record waits for others. */
	readonly delayMs: number
	/** Called when the spool has something more to send. */
	onBatch(): void
}

/** Records that wait to be cut into batches; above it they are dropped and counted. */
const PENDING_MAX = 50_000
/**
 * JSON of one batch. Even where gzip saves nothing the message stays below 256 KiB, the packet limit that brokers are
 * commonly given.
 */
const BATCH_BYTES_MAX = 240 * 1024
/** Kinds that do not wait for others, and that outlive conversations in the spool. */
const EVENT_KINDS: readonly TelemetryRecord['kind'][] = ['violation', 'threat', 'agent']

interface Cut {
	readonly kind: BatchKind
	readonly texts: string[]
	readonly bytes: number
}

/**
 * Cuts records into batches and has them spooled. While the newest batch still waits to be sent, records of its kind join
 * it: an hour offline makes few large batches, not thousands of small ones.
 */
export class Batcher {
	readonly #options: BatcherOptions
	#pending: TelemetryRecord[] = []
	#timer: NodeJS.Timeout | undefined
	#running: Promise<void> | undefined
	#tail: (Cut & { readonly batch: SpooledBatch }) | undefined

	constructor(options: BatcherOptions) {
		this.#options = options
	}

	add(records: readonly TelemetryRecord[]): void {
		const { counters, losses } = this.#options
		const room = Math.max(0, PENDING_MAX - this.#pending.length)
		const taken = records.length > room ? records.slice(0, room) : records
		for (const record of taken) this.#pending.push(record)
		counters.add('recordsTaken', taken.length)
		if (taken.length < records.length) {
			counters.add('recordsDropped', records.length - taken.length)
			losses.add('dropped', records.length - taken.length)
		}
		counters.set('recordsPending', this.#pending.length)
		if (this.#pending.length >= BATCH_RECORDS_MAX || taken.some(isEvent)) this.#cutAfter(0)
		else if (taken.length > 0) this.#cutAfter(this.#options.delayMs)
	}

	/** Resolves when all records taken so far are spooled. */
	async flush(): Promise<void> {
		clearTimeout(this.#timer)
		this.#timer = undefined
		while (this.#running || this.#pending.length > 0) await this.#run()
	}

	#cutAfter(delayMs: number): void {
		if (this.#timer !== undefined) {
			if (delayMs > 0) return
			clearTimeout(this.#timer)
		}
		this.#timer = setTimeout(() => {
			this.#timer = undefined
			// Errors of the disk are dealt with by the spool; what is left is a bug and ends the process.
			void this.#run()
		}, delayMs)
	}

	#run(): Promise<void> {
		this.#running ??= this.#cutAll().finally(() => {
			this.#running = undefined
		})
		return this.#running
	}

	async #cutAll(): Promise<void> {
		while (this.#pending.length > 0) {
			const cut = this.#cut()
			this.#options.counters.set('recordsPending', this.#pending.length)
			if (cut.texts.length === 0) continue
			await this.#spool(cut)
			this.#options.onBatch()
		}
	}

	/** Takes from the front as much as fits into one batch. */
	#cut(): Cut {
		const texts: string[] = []
		let bytes = 0
		let kind: BatchKind = 'conversations'
		let used = 0
		for (const record of this.#pending) {
			if (texts.length >= BATCH_RECORDS_MAX) break
			const text = this.#check(record)
			if (text !== undefined) {
				const size = Buffer.byteLength(text) + 1
				if (texts.length > 0 && bytes + size > BATCH_BYTES_MAX) break
				texts.push(text)
				bytes += size
				if (isEvent(record)) kind = 'events'
			}
			used += 1
		}
		this.#pending.splice(0, used)
		return { kind, texts, bytes }
	}

	/** One record that the controller cannot read would cost the whole batch. */
	#check(record: TelemetryRecord): string | undefined {
		if (telemetryRecordSchema.safeParse(record).success) return JSON.stringify(record)
		this.#options.counters.add('recordsInvalid')
		this.#options.losses.add('invalid', 1)
		return undefined
	}

	async #spool(cut: Cut): Promise<void> {
		const { spool, counters } = this.#options
		const tail = this.#tail
		if (tail && canJoin(tail, cut)) {
			const joined = {
				kind: tail.kind,
				texts: [...tail.texts, ...cut.texts],
				bytes: tail.bytes + cut.bytes,
			}
			tail.batch.isGrowing = true
			this.#tail = { ...joined, batch: tail.batch }
			await spool.grow(tail.batch, joined.texts.length, asArray(joined.texts))
			tail.batch.isGrowing = false
			return
		}
		counters.add('batchesCut')
		const batch = await spool.append(cut.kind, cut.texts.length, asArray(cut.texts))
		this.#tail = { ...cut, batch }
	}
}

function isEvent(record: TelemetryRecord): boolean {
	return EVENT_KINDS.includes(record.kind)
}

function canJoin(tail: Cut & { readonly batch: SpooledBatch }, cut: Cut): boolean {
	return (
		!tail.batch.isSent &&
		!tail.batch.isGone &&
		tail.kind === cut.kind &&
		tail.texts.length + cut.texts.length <= BATCH_RECORDS_MAX &&
		tail.bytes + cut.bytes <= BATCH_BYTES_MAX
	)
}

function asArray(texts: readonly string[]): string {
	return `[${texts.join(',')}]`
}
