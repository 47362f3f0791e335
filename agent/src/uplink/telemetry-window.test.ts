import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeMessage } from '@ringfence/shared/contract/codec'
import { type TelemetryBatch, telemetryBatchSchema } from '@ringfence/shared/contract/telemetry'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Batcher } from './batcher.ts'
import { Counters } from './counters.ts'
import { Losses } from './losses.ts'
import { Rejections } from './rejections.ts'
import { Spool } from './spool.ts'
import { TelemetryWindow } from './telemetry-window.ts'
import { conversation, numbersOf, violation } from './testing/samples.ts'
import { until } from './testing/until.ts'

const BOOT = '00000000000000aa'
const NEVER = { firstMs: 60_000, maxMs: 60_000 }

let root: string
let counters: Counters
let losses: Losses
let spool: Spool
let telemetry: TelemetryWindow
let batcher: Batcher
let sent: TelemetryBatch[]

beforeEach(async () => {
	root = await mkdtemp(join(tmpdir(), 'rf-window-'))
	await make({})
})

afterEach(async () => {
	await dispose()
	await rm(root, { recursive: true })
})

it('has four batches on their way, and sends the next ones as they are acknowledged', async () => {
	for (let number = 1; number <= 6; number++) await spoolOne(number)
	telemetry.restart()
	await until('the window is full', () => sent.length === 4)
	ack(2)
	await until('two more', () => sent.length === 6)
	expect(sent.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6])
	expect(sent.map(({ floor }) => floor)).toEqual([1, 1, 1, 1, 3, 3])
	ack(6)
	expect(spool.isEmpty).toBe(true)
	expect(counters.snapshot()).toMatchObject({ batchesSent: 6, batchesResent: 0, batchesAcked: 6 })
})

it('sends everything on its way again when no acknowledgement comes', async () => {
	await make({ resend: { firstMs: 30, maxMs: 60_000 } })
	for (let number = 1; number <= 3; number++) await spoolOne(number)
	telemetry.restart()
	await until('sent again', () => sent.length >= 6)
	expect(sent.slice(0, 6).map(({ seq }) => seq)).toEqual([1, 2, 3, 1, 2, 3])
	expect(counters.get('batchesResent')).toBeGreaterThanOrEqual(3)
})

it('waits before a hole until all in front of it is acknowledged, then moves the floor over it', async () => {
	for (let number = 1; number <= 5; number++) await spoolOne(number)
	for (const batch of spool.own.batches.filter(({ seq }) => seq === 2 || seq === 3)) {
		spool.remove(batch)
	}
	telemetry.restart()
	await until('the first', () => sent.length === 1)
	ack(1)
	await until('those behind the hole', () => sent.length === 3)
	expect(sent.map(({ seq, floor }) => [seq, floor])).toEqual([
		[1, 1],
		[4, 4],
		[5, 4],
	])
})

it('ignores acknowledgements that are late, twice, of strangers, or of what was never sent', async () => {
	for (let number = 1; number <= 2; number++) await spoolOne(number)
	ack(1)
	expect(counters.get('rejectedAckAhead')).toBe(1)
	telemetry.restart()
	await until('both are sent', () => sent.length === 2)
	ack(1)
	ack(1)
	telemetry.ack({ v: 1, boot: 'stranger', seq: 9 }, 'ack')
	expect(spool.own.batches.map(({ seq }) => seq)).toEqual([2])
	expect(counters.snapshot()).toMatchObject({ batchesAcked: 1, acksStale: 2 })
})

it('drops a refused batch, counts its records as lost, and sends those behind it again', async () => {
	for (let number = 1; number <= 3; number++) await spoolOne(number)
	telemetry.restart()
	await until('all are sent', () => sent.length === 3)
	telemetry.ack({ v: 1, boot: BOOT, seq: 0, rejected: { seq: 1, why: 'no' } }, 'ack')
	await until('the others again', () => sent.length === 5)
	expect(sent.slice(3).map(({ seq, floor }) => [seq, floor])).toEqual([
		[2, 2],
		[3, 2],
	])
	expect(losses.take()).toMatchObject([{ name: 'telemetry-rejected', count: 1 }])
})

it('gathers what arises offline in few large batches, events apart from conversations', async () => {
	for (let number = 1; number <= 60; number++) {
		batcher.add([conversation(number)])
		await batcher.flush()
	}
	for (const number of [61, 62]) {
		batcher.add([violation(number)])
		await batcher.flush()
	}
	expect(spool.own.batches.map(({ kind, records }) => [kind, records])).toEqual([
		['conversations', 60],
		['events', 2],
	])
	telemetry.restart()
	await until('both are sent', () => sent.length === 2)
	batcher.add([violation(63)])
	await batcher.flush()
	await until('what was sent stays as it was', () => sent.length === 3)
	expect(sent.map(({ records }) => records.length)).toEqual([60, 2, 1])
	expect(sent.flatMap(({ records }) => numbersOf(records))).toEqual(
		Array.from({ length: 63 }, (_, index) => index + 1),
	)
})

it('loses no record when batches grow, are sent and acknowledged all at once', async () => {
	telemetry.restart()
	const taken: number[] = []
	let acknowledged = 0
	const answer = setInterval(() => {
		const next = sent.find(({ seq }) => seq === acknowledged + 1)
		if (!next) return
		acknowledged = next.seq
		taken.push(...numbersOf(next.records))
		ack(acknowledged)
	}, 3)
	for (let number = 1; number <= 2_000; number++) {
		batcher.add([conversation(number)])
		if (number % 10 === 0) await batcher.flush()
	}
	await until('all is acknowledged', () => spool.isEmpty && taken.length >= 2_000)
	clearInterval(answer)
	expect(taken).toEqual(Array.from({ length: 2_000 }, (_, index) => index + 1))
})

it('leaves a record out that does not fit the contract, and counts it', async () => {
	const wrong = { ...conversation(1), why: 'x'.repeat(2_000) }
	batcher.add([wrong, conversation(2)])
	await batcher.flush()
	expect(spool.own.batches.map(({ records }) => records)).toEqual([1])
	expect(counters.get('recordsInvalid')).toBe(1)
	expect(losses.take()).toMatchObject([{ name: 'telemetry-invalid', count: 1 }])
})

it('cuts batches by bytes too, so that no broker finds one too large', async () => {
	const large = { ...conversation(1), why: 'x'.repeat(1_000), host: 'h'.repeat(255) }
	batcher.add(Array.from({ length: 500 }, () => large))
	await batcher.flush()
	expect(spool.own.batches.length).toBeGreaterThan(2)
	telemetry.restart()
	await until('all are sent', () => sent.length === spool.own.batches.length)
	for (const batch of sent) expect(JSON.stringify(batch).length).toBeLessThan(256 * 1024)
})

it('drops records beyond what memory may hold, and counts them', () => {
	batcher.add(Array.from({ length: 60_000 }, (_, index) => conversation(index)))
	expect(counters.snapshot()).toMatchObject({ recordsTaken: 50_000, recordsDropped: 10_000 })
})

async function make(options: { resend?: { firstMs: number; maxMs: number } }): Promise<void> {
	await dispose()
	counters = new Counters()
	sent = []
	const log = (): void => undefined
	losses = await Losses.open(join(root, 'losses.json'))
	spool = await Spool.open({
		dir: join(root, 'spool'),
		boot: BOOT,
		startedAt: 1,
		bytesMax: 64 * 1024 * 1024,
		memoryBytesMax: 1024 * 1024,
		sync: 'none',
		counters,
		losses,
		log,
	})
	let decoding = Promise.resolve()
	telemetry = new TelemetryWindow({
		spool,
		counters,
		losses,
		rejections: new Rejections(counters, log),
		log,
		resend: options.resend ?? NEVER,
		publish: (message) => {
			decoding = decoding.then(async () => {
				const batch = await decodeMessage(telemetryBatchSchema, message)
				if (!batch.ok) throw new Error(batch.why)
				sent.push(batch.value)
			})
			return true
		},
		onProgress: () => undefined,
	})
	batcher = new Batcher({
		spool,
		counters,
		losses,
		delayMs: 60_000,
		onBatch: () => telemetry.pump(),
	})
}

async function dispose(): Promise<void> {
	telemetry?.stop()
	await batcher?.flush()
	await spool?.close()
	await losses?.close()
}

/** One batch a call: kinds alternate, and only equal ones share a batch. */
async function spoolOne(number: number): Promise<void> {
	batcher.add([number % 2 === 0 ? conversation(number) : violation(number)])
	await batcher.flush()
}

function ack(seq: number): void {
	telemetry.ack({ v: 1, boot: BOOT, seq }, 'ack')
}
