import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { TelemetryAck } from '@ringfence/shared/contract/messages'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import type { Backoff } from './backoff.ts'
import type { Counters } from './counters.ts'
import type { Log } from './log.ts'
import type { Losses } from './losses.ts'
import type { Rejections } from './rejections.ts'
import type { Lane, Spool, SpooledBatch } from './spool.ts'

export interface TelemetryWindowOptions {
	readonly spool: Spool
	readonly counters: Counters
	readonly losses: Losses
	readonly rejections: Rejections
	readonly log: Log
	/** How long an acknowledgement may take before batches are sent again; doubles while none comes. */
	readonly resend: Backoff
	/** False when there is no connection. */
	publish(message: Uint8Array): boolean
	/** Called when the controller acknowledges something. */
	onProgress(): void
}

/** Batches on their way at one time. */
const WINDOW_BATCHES = 4

const gzipAsync = promisify(gzip)

/** How far one lane is. */
interface Progress {
	/** Highest `seq` sent in this run. */
	sentMax: number
	/** Counts restarts: a batch that was being read across one is not sent. */
	round: number
	resendMs: number
	timer: NodeJS.Timeout | undefined
}

/**
 * Sends spooled batches in order and forgets them when the controller has them in its database (go-back-N). Batches of
 * earlier runs go before and beside those of this one, so that a long backlog does not hold up a fresh violation.
 */
export class TelemetryWindow {
	readonly #options: TelemetryWindowOptions
	readonly #progress = new Map<string, Progress>()
	#isUp = false
	#pumping: Promise<void> | undefined
	#isPumpWanted = false

	constructor(options: TelemetryWindowOptions) {
		this.#options = options
	}

	/** The connection stands, or the controller came back: all that is not acknowledged is sent again. */
	restart(): void {
		this.#isUp = true
		this.#rewindAll()
		this.pump()
	}

	/** The connection is gone. */
	pause(): void {
		this.#isUp = false
		this.#rewindAll()
	}

	/** Sends what the window has room for. */
	pump(): void {
		this.#isPumpWanted = true
		this.#pumping ??= this.#pump().finally(() => {
			this.#pumping = undefined
			if (this.#isPumpWanted) this.pump()
		})
	}

	/** Takes an acknowledgement; one that comes twice, late, or for what was never sent does no harm. */
	ack(ack: TelemetryAck, topic: string): void {
		const { spool, counters, rejections } = this.#options
		const lane = spool.lane(ack.boot)
		if (!lane) {
			counters.add('acksStale')
			return
		}
		const progress = this.#of(lane)
		// Of an earlier run nobody remembers what was sent, but all of it was made before this one began.
		const seqMax = lane === spool.own ? progress.sentMax : Number.POSITIVE_INFINITY
		if (ack.seq > seqMax || (ack.rejected?.seq ?? 0) > seqMax) {
			rejections.add('ackAhead', topic, `${ack.seq} of at most ${seqMax}`)
			return
		}
		const before = counters.get('batchesAcked') + counters.get('batchesRejected')
		this.#drop(lane, progress, ack)
		const after = counters.get('batchesAcked') + counters.get('batchesRejected')
		if (after === before) {
			counters.add('acksStale')
			return
		}
		this.#arm(lane, progress, true)
		this.pump()
		this.#options.onProgress()
	}

	stop(): void {
		this.pause()
		this.#progress.clear()
	}

	#drop(lane: Lane, progress: Progress, ack: TelemetryAck): void {
		const { spool, counters, losses, log } = this.#options
		const rejected = lane.batches.find((batch) => batch.seq === ack.rejected?.seq)
		if (rejected && ack.rejected) {
			spool.remove(rejected)
			counters.add('batchesRejected')
			counters.add('recordsRejected', rejected.records)
			losses.add('rejected', rejected.records)
			log('error', 'the controller refuses a batch', { boot: lane.boot, ...ack.rejected })
			// Those behind it carry a floor that is no longer true.
			this.#rewind(lane, progress)
		}
		for (let first = lane.batches[0]; first && first.seq <= ack.seq; first = lane.batches[0]) {
			spool.remove(first)
			counters.add('batchesAcked')
			counters.add('recordsAcked', first.records)
		}
		if (lane.batches.length === 0 && lane !== spool.own) this.#forget(lane)
	}

	async #pump(): Promise<void> {
		while (this.#isPumpWanted) {
			this.#isPumpWanted = false
			const earlier = this.#options.spool.earlier()
			const quota = earlier ? WINDOW_BATCHES / 2 : WINDOW_BATCHES
			if (earlier) await this.#fill(earlier, quota)
			await this.#fill(this.#options.spool.own, quota)
		}
	}

	async #fill(lane: Lane, quota: number): Promise<void> {
		const progress = this.#of(lane)
		while (this.#isUp) {
			const batch = nextToSend(lane, quota)
			if (!batch) return
			if (!(await this.#send(lane, progress, batch))) return
		}
	}

	/** @returns whether to go on with this lane */
	async #send(lane: Lane, progress: Progress, batch: SpooledBatch): Promise<boolean> {
		const { spool, counters } = this.#options
		const { round } = progress
		const isRepeated = batch.seq <= progress.sentMax
		batch.isInFlight = true
		batch.isSent = true
		this.#arm(lane, progress, false)
		const records = await spool.read(batch)
		// Lost or acknowledged while it was read, and no longer in the lane: on to the next.
		if (records === undefined || batch.isGone) return true
		const floor = lane.batches[0]?.seq ?? batch.seq
		const message = await encodeBatch(batch, floor, records)
		if (progress.round !== round || !this.#options.publish(message)) return false
		progress.sentMax = Math.max(progress.sentMax, batch.seq)
		counters.add(isRepeated ? 'batchesResent' : 'batchesSent')
		return true
	}

	/** Starts the wait for an acknowledgement, unless one runs already and nothing came. */
	#arm(lane: Lane, progress: Progress, hasProgressed: boolean): void {
		if (hasProgressed) {
			clearTimeout(progress.timer)
			progress.timer = undefined
			progress.resendMs = this.#options.resend.firstMs
		}
		if (progress.timer !== undefined || !lane.batches[0]?.isInFlight) return
		progress.timer = setTimeout(() => {
			progress.resendMs = Math.min(progress.resendMs * 2, this.#options.resend.maxMs)
			this.#rewind(lane, progress)
			this.pump()
		}, progress.resendMs)
	}

	#rewindAll(): void {
		for (const [boot, progress] of this.#progress) {
			const lane = this.#options.spool.lane(boot)
			progress.resendMs = this.#options.resend.firstMs
			if (lane) this.#rewind(lane, progress)
		}
	}

	#rewind(lane: Lane, progress: Progress): void {
		clearTimeout(progress.timer)
		progress.timer = undefined
		progress.round += 1
		for (const batch of lane.batches) {
			if (!batch.isInFlight) break
			batch.isInFlight = false
		}
	}

	#forget(lane: Lane): void {
		clearTimeout(this.#progress.get(lane.boot)?.timer)
		this.#progress.delete(lane.boot)
	}

	#of(lane: Lane): Progress {
		let progress = this.#progress.get(lane.boot)
		if (!progress) {
			const resendMs = this.#options.resend.firstMs
			progress = { sentMax: 0, round: 0, resendMs, timer: undefined }
			this.#progress.set(lane.boot, progress)
		}
		return progress
	}
}

/**
 * The batch behind those on their way, which are at the lane's front. After a hole (evicted or damaged batches) nothing is sent before all in front of it
 * is acknowledged: only then does `floor` tell the controller not to wait for what is missing.
 */
function nextToSend(lane: Lane, quota: number): SpooledBatch | undefined {
	let inFlight = 0
	while (lane.batches[inFlight]?.isInFlight) inFlight += 1
	const batch = lane.batches[inFlight]
	if (!batch || batch.isGrowing || inFlight >= quota) return undefined
	const before = lane.batches[inFlight - 1]
	return before && before.seq + 1 !== batch.seq ? undefined : batch
}

/** A `TelemetryBatch` around records that are JSON already. */
async function encodeBatch(
	batch: SpooledBatch,
	floor: number,
	recordsJson: string,
): Promise<Uint8Array> {
	const { boot, seq, at } = batch
	const head = JSON.stringify({ v: CONTRACT_VERSION, boot, seq, floor, at })
	return gzipAsync(`${head.slice(0, -1)},"records":${recordsJson}}`, { level: 1 })
}
