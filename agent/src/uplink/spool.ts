import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile, syncDirectory } from './atomic-file.ts'
import {
	type BatchHeader,
	type BatchKind,
	batchFileName,
	decodeRecords,
	encodeBatchFile,
	readBatchHeader,
} from './batch-file.ts'
import type { Counters } from './counters.ts'
import type { Log } from './log.ts'
import type { Losses } from './losses.ts'
import { messageOf } from './uplink-error.ts'

/** Which batches wait for the medium: `events` costs two flushes a violation, `none` survives a kill but not a loss of power. */
export type SpoolSync = 'all' | 'events' | 'none'

export interface SpoolOptions {
	readonly dir: string
	readonly boot: string
	readonly startedAt: number
	/** Disk space of all batches, counted in whole blocks. */
	readonly bytesMax: number
	/** Batches kept in memory while the disk refuses them. */
	readonly memoryBytesMax: number
	readonly sync: SpoolSync
	readonly counters: Counters
	readonly losses: Losses
	readonly log: Log
}

/** A batch that is not acknowledged. Fields that change belong to the one named. */
export interface SpooledBatch {
	readonly boot: string
	readonly startedAt: number
	readonly seq: number
	readonly at: number
	readonly kind: BatchKind
	/** Spool: grow with the batch. */
	records: number
	bytes: number
	/** Spool: the file's bytes, while the disk does not have them. */
	held: Uint8Array | undefined
	/** Spool: acknowledged, evicted or damaged. */
	isGone: boolean
	/** Window: sent and not acknowledged; such a batch is not evicted. */
	isInFlight: boolean
	/** Window: sent at least once in this run; from then on its content stays as it is. */
	isSent: boolean
	/** Batcher: being written again with more records; not to be sent meanwhile. */
	isGrowing: boolean
}

/** All batches of one run of the agent, oldest first. */
export interface Lane {
	readonly boot: string
	readonly startedAt: number
	readonly batches: SpooledBatch[]
}

const BLOCK_BYTES = 4096
/** Damaged files kept for people to look at. */
const CORRUPT_FILES_MAX = 16
const FILE_NAME = /^\d{15}-[0-9a-f]{16}-\d{12}\.batch$/

/** Batches on disk until they are acknowledged: one file each, bounded, oldest conversations given up first. */
export class Spool {
	readonly #options: SpoolOptions
	readonly #lanes: Lane[] = []
	readonly #own: Lane
	#nextSeq = 1
	#bytes = 0
	#heldBytes = 0
	#batches = 0
	#isDiskFailing = false
	readonly #removals = new Set<Promise<void>>()

	private constructor(options: SpoolOptions) {
		this.#options = options
		this.#own = { boot: options.boot, startedAt: options.startedAt, batches: [] }
	}

	/** Finds what earlier runs left. A spool that cannot be read starts empty, in memory, and says so. */
	static async open(options: SpoolOptions): Promise<Spool> {
		const spool = new Spool(options)
		await spool.#load().catch((error: unknown) => spool.#diskFailed(error))
		spool.#lanes.sort((a, b) => a.startedAt - b.startedAt)
		spool.#lanes.push(spool.#own)
		await spool.#enforceBound()
		return spool
	}

	/** Batches of this run. */
	get own(): Lane {
		return this.#own
	}

	/** Batches of the earliest run that left some; undefined when only this run has any. */
	earlier(): Lane | undefined {
		return this.#lanes.find((lane) => lane !== this.#own && lane.batches.length > 0)
	}

	lane(boot: string): Lane | undefined {
		return this.#lanes.find((lane) => lane.boot === boot)
	}

	get isEmpty(): boolean {
		return this.#batches === 0
	}

	/** Adds a batch of this run; when it returns, a kill of the process loses nothing of it. */
	async append(kind: BatchKind, records: number, recordsJson: string): Promise<SpooledBatch> {
		const batch: SpooledBatch = {
			boot: this.#own.boot,
			startedAt: this.#own.startedAt,
			seq: this.#nextSeq++,
			at: Date.now(),
			kind,
			records,
			bytes: 0,
			held: undefined,
			isGone: false,
			isInFlight: false,
			isSent: false,
			isGrowing: false,
		}
		await this.#write(batch, recordsJson)
		this.#insert(this.#own, batch)
		await this.#enforceBound()
		return batch
	}

	/** Writes a batch again with more records; only for one that was never sent. */
	async grow(batch: SpooledBatch, records: number, recordsJson: string): Promise<void> {
		const before = batch.bytes
		batch.records = records
		await this.#write(batch, recordsJson)
		if (!batch.isGone) this.#account(batch.bytes - before, 0)
		await this.#enforceBound()
	}

	/** The records of a batch as JSON text; undefined when they are lost, which is counted here. */
	async read(batch: SpooledBatch): Promise<string | undefined> {
		try {
			const text = await decodeRecords(batch.held ?? (await readFile(this.#path(batch))))
			if (text !== undefined) return text
			if (!batch.isGone) await this.#setAside(batchFileName(batch), 'its records are damaged')
		} catch (error) {
			if (!batch.isGone) this.#countCorrupt(batchFileName(batch), messageOf(error))
		}
		if (!batch.isGone) this.#forget(batch)
		return undefined
	}

	/** Gives up a batch: it is acknowledged, or can never be. */
	remove(batch: SpooledBatch): void {
		if (batch.isGone) return
		this.#forget(batch)
		// A file that stays comes back at the next start, is sent again and acknowledged as known.
		const removal = rm(this.#path(batch), { force: true })
			.catch((error: unknown) => this.#diskFailed(error))
			.finally(() => this.#removals.delete(removal))
		this.#removals.add(removal)
	}

	/** Resolves when files of batches that are gone are gone too. */
	async close(): Promise<void> {
		await Promise.all(this.#removals)
	}

	async #load(): Promise<void> {
		await mkdir(this.#options.dir, { recursive: true, mode: 0o700 })
		const names = (await readdir(this.#options.dir)).sort()
		for (const name of names) {
			if (name.endsWith('.batch.tmp')) await rm(join(this.#options.dir, name), { force: true })
			else if (FILE_NAME.test(name)) await this.#loadBatch(name)
		}
	}

	async #loadBatch(name: string): Promise<void> {
		const header = await readBatchHeader(join(this.#options.dir, name)).catch(() => undefined)
		if (!header || batchFileName(header) !== name || header.boot === this.#own.boot) {
			await this.#setAside(name, 'its header is damaged')
			return
		}
		let lane = this.lane(header.boot)
		if (!lane) {
			lane = { boot: header.boot, startedAt: header.startedAt, batches: [] }
			this.#lanes.push(lane)
		}
		this.#insert(lane, loadedBatch(header))
	}

	#insert(lane: Lane, batch: SpooledBatch): void {
		lane.batches.push(batch)
		this.#account(batch.bytes, 1)
	}

	#forget(batch: SpooledBatch): void {
		const lane = this.lane(batch.boot)
		const at = lane?.batches.indexOf(batch) ?? -1
		if (!lane || at < 0) return
		lane.batches.splice(at, 1)
		batch.isGone = true
		this.#hold(batch, undefined)
		this.#account(-batch.bytes, -1)
		if (lane !== this.#own && lane.batches.length === 0) {
			this.#lanes.splice(this.#lanes.indexOf(lane), 1)
		}
	}

	async #write(batch: SpooledBatch, recordsJson: string): Promise<void> {
		const { boot, startedAt, seq, at, kind, records } = batch
		const bytes = await encodeBatchFile({ boot, startedAt, seq, at, kind, records }, recordsJson)
		batch.bytes = blockBytes(bytes.length)
		await this.#store(batch, bytes)
	}

	async #store(batch: SpooledBatch, bytes: Uint8Array): Promise<void> {
		const { sync } = this.#options
		const isSynced = sync === 'all' || (sync === 'events' && batch.kind === 'events')
		try {
			await replaceFile(this.#path(batch), bytes, { mode: 0o600, isSynced })
			if (isSynced) await syncDirectory(this.#options.dir)
			this.#hold(batch, undefined)
			if (this.#isDiskFailing) await this.#recover()
		} catch (error) {
			this.#hold(batch, bytes)
			this.#diskFailed(error)
		}
	}

	/** The disk takes files again: those that wait in memory follow. */
	async #recover(): Promise<void> {
		this.#isDiskFailing = false
		const waiting = this.#own.batches.filter((batch) => batch.held !== undefined)
		this.#options.log('info', 'the spool is written to disk again', { waiting: waiting.length })
		for (const batch of waiting) {
			if (batch.held && !this.#isDiskFailing) await this.#store(batch, batch.held)
		}
	}

	#diskFailed(error: unknown): void {
		this.#options.counters.add('spoolDiskErrors')
		if (this.#isDiskFailing) return
		this.#isDiskFailing = true
		this.#options.log('error', 'the spool cannot be written; batches are kept in memory', {
			dir: this.#options.dir,
			why: messageOf(error),
		})
	}

	#hold(batch: SpooledBatch, bytes: Uint8Array | undefined): void {
		this.#heldBytes += (bytes?.length ?? 0) - (batch.held?.length ?? 0)
		batch.held = bytes
		this.#options.counters.set('spoolMemoryBytes', this.#heldBytes)
	}

	async #enforceBound(): Promise<void> {
		while (this.#bytes > this.#options.bytesMax) {
			const victim = this.#victim(() => true)
			if (!victim) break
			await this.#evict(victim)
		}
		while (this.#heldBytes > this.#options.memoryBytesMax) {
			const victim = this.#victim((batch) => batch.held !== undefined)
			if (!victim) break
			await this.#evict(victim)
		}
	}

	/** The oldest batch of conversations, or else the oldest of all, that is not on its way. */
	#victim(isEligible: (batch: SpooledBatch) => boolean): SpooledBatch | undefined {
		let oldest: SpooledBatch | undefined
		for (const lane of this.#lanes) {
			for (const batch of lane.batches) {
				if (batch.isInFlight || !isEligible(batch)) continue
				if (batch.kind === 'conversations') return batch
				oldest ??= batch
			}
		}
		return oldest
	}

	async #evict(batch: SpooledBatch): Promise<void> {
		this.#forget(batch)
		this.#options.counters.add('spoolEvictedBatches')
		this.#options.counters.add('spoolEvictedRecords', batch.records)
		this.#options.losses.add('evicted', batch.records)
		await rm(this.#path(batch), { force: true }).catch((error: unknown) => this.#diskFailed(error))
	}

	async #setAside(name: string, why: string): Promise<void> {
		this.#countCorrupt(name, why)
		const from = join(this.#options.dir, name)
		const corrupt = join(this.#options.dir, 'corrupt')
		try {
			await mkdir(corrupt, { recursive: true, mode: 0o700 })
			const isFull = (await readdir(corrupt)).length >= CORRUPT_FILES_MAX
			await (isFull ? rm(from, { force: true }) : rename(from, join(corrupt, name)))
		} catch (error) {
			this.#diskFailed(error)
		}
	}

	#countCorrupt(name: string, why: string): void {
		this.#options.counters.add('spoolCorruptBatches')
		this.#options.losses.add('corrupt', 1)
		this.#options.log('error', 'a batch of the spool is lost', { name, why })
	}

	#account(bytes: number, batches: number): void {
		this.#bytes += bytes
		this.#batches += batches
		this.#options.counters.set('spoolBytes', this.#bytes)
		this.#options.counters.set('spoolBatches', this.#batches)
	}

	#path(batch: SpooledBatch): string {
		return join(this.#options.dir, batchFileName(batch))
	}
}

function loadedBatch(header: BatchHeader): SpooledBatch {
	const { boot, startedAt, seq, at, kind, records, payloadBytes } = header
	return {
		boot,
		startedAt,
		seq,
		at,
		kind,
		records,
		bytes: blockBytes(payloadBytes + JSON.stringify(header).length + 1),
		held: undefined,
		isGone: false,
		isInFlight: false,
		isSent: false,
		isGrowing: false,
	}
}

/** Disk space of a file of that size. */
function blockBytes(bytes: number): number {
	return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES
}
