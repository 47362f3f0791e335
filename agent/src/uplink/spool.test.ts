import { copyFile, mkdir, mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Counters } from './counters.ts'
import { Losses } from './losses.ts'
import { Spool, type SpooledBatch, type SpoolOptions } from './spool.ts'

const BLOCK_BYTES = 4096

let root: string
let dir: string
let counters: Counters
let losses: Losses
let lines: string[]
let boots: number

beforeEach(async () => {
	root = await mkdtemp(join(tmpdir(), 'rf-spool-'))
	dir = join(root, 'spool')
	counters = new Counters()
	losses = await Losses.open(join(root, 'losses.json'))
	lines = []
	boots = 0
})

afterEach(async () => {
	await losses.close()
	await rm(root, { recursive: true })
})

it('finds batches of earlier runs, each under its own boot, oldest run first', async () => {
	const first = await open()
	await first.append('conversations', 1, '["a"]')
	await first.append('events', 1, '["b"]')
	await (await open()).append('conversations', 1, '["c"]')
	const third = await open()
	const lane = third.earlier()
	expect(lane?.boot).toBe(bootOf(1))
	expect(lane?.batches.map(({ seq, kind }) => [seq, kind])).toEqual([
		[1, 'conversations'],
		[2, 'events'],
	])
	expect(await third.read(at(lane?.batches, 1))).toBe('["b"]')
	for (const batch of [...(lane?.batches ?? [])]) third.remove(batch)
	expect(third.earlier()?.boot).toBe(bootOf(2))
	await third.close()
	expect(await readdir(dir)).toHaveLength(1)
})

it('evicts the oldest conversations first, then the oldest events, and counts both', async () => {
	const spool = await open({ bytesMax: 3 * BLOCK_BYTES })
	await spool.append('events', 10, '["e1"]')
	await spool.append('conversations', 20, '["c2"]')
	await spool.append('events', 30, '["e3"]')
	await spool.append('conversations', 40, '["c4"]')
	expect(seqsOf(spool)).toEqual([1, 3, 4])
	await spool.append('events', 50, '["e5"]')
	expect(seqsOf(spool)).toEqual([1, 3, 5])
	await spool.append('events', 60, '["e6"]')
	expect(seqsOf(spool)).toEqual([3, 5, 6])
	expect(counters.snapshot()).toMatchObject({
		spoolEvictedBatches: 3,
		spoolEvictedRecords: 70,
		spoolBatches: 3,
		spoolBytes: 3 * BLOCK_BYTES,
	})
	expect(losses.take()).toMatchObject([{ name: 'telemetry-evicted', count: 70 }])
	expect(await readdir(dir)).toHaveLength(3)
})

it('does not evict a batch that is on its way', async () => {
	const spool = await open({ bytesMax: BLOCK_BYTES })
	const sent = await spool.append('conversations', 1, '["a"]')
	sent.isInFlight = true
	await spool.append('conversations', 1, '["b"]')
	expect(seqsOf(spool)).toEqual([1])
})

it('remembers losses over a restart until they are told', async () => {
	const spool = await open({ bytesMax: BLOCK_BYTES })
	await spool.append('conversations', 5, '["a"]')
	await spool.append('conversations', 7, '["b"]')
	await losses.close()
	const again = await Losses.open(join(root, 'losses.json'))
	expect(again.take()).toMatchObject([{ name: 'telemetry-evicted', count: 5 }])
	expect(again.take()).toEqual([])
	await again.close()
	expect((await Losses.open(join(root, 'losses.json'))).take()).toEqual([])
})

it('sets damaged files aside, counts them, and reads the others', async () => {
	const first = await open()
	for (const text of ['["a"]', '["b"]', '["c"]']) await first.append('conversations', 1, text)
	const names = (await readdir(dir)).sort()
	await truncate(join(dir, at(names, 0)), 20)
	await writeFile(join(dir, `${at(names, 2)}.tmp`), 'half')
	await writeFile(join(dir, 'stranger'), 'left alone')
	const misnamed = at(names, 1).replace(bootOf(1), bootOf(8))
	await copyFile(join(dir, at(names, 1)), join(dir, misnamed))
	const second = await open()
	expect(second.earlier()?.batches.map(({ seq }) => seq)).toEqual([2, 3])
	expect(counters.get('spoolCorruptBatches')).toBe(2)
	expect((await readdir(join(dir, 'corrupt'))).sort()).toEqual([names[0], misnamed].sort())
	expect((await readdir(dir)).sort()).toEqual([names[1], names[2], 'corrupt', 'stranger'].sort())
	expect(lines.join()).toContain('a batch of the spool is lost')
})

it('drops a batch whose records turn out damaged or gone', async () => {
	const spool = await open()
	const damaged = await spool.append('conversations', 1, '["a"]')
	const gone = await spool.append('conversations', 1, '["b"]')
	const [damagedName, goneName] = (await readdir(dir)).sort()
	await writeFile(join(dir, damagedName ?? ''), '{}\nnot gzip')
	await rm(join(dir, goneName ?? ''))
	expect(await spool.read(damaged)).toBeUndefined()
	expect(await spool.read(gone)).toBeUndefined()
	expect(spool.isEmpty).toBe(true)
	expect(counters.get('spoolCorruptBatches')).toBe(2)
})

it('keeps batches in memory under a bound while the disk refuses them, says so once, and recovers', async () => {
	const spool = await open({ memoryBytesMax: 600 })
	await rm(dir, { recursive: true })
	const batches: SpooledBatch[] = []
	for (let index = 0; index < 5; index++) {
		batches.push(await spool.append('conversations', 1, `["${index}"]`))
	}
	expect(counters.get('spoolDiskErrors')).toBe(5)
	expect(counters.get('spoolMemoryBytes')).toBeLessThanOrEqual(600)
	expect(counters.get('spoolEvictedBatches')).toBeGreaterThan(0)
	expect(lines.filter((line) => line.includes('cannot be written'))).toHaveLength(1)
	expect(await spool.read(at(batches, 4))).toBe('["4"]')

	await mkdir(dir)
	await spool.append('conversations', 1, '["5"]')
	expect(lines.at(-1)).toContain('written to disk again')
	expect(counters.get('spoolMemoryBytes')).toBe(0)
	expect(await readdir(dir)).toHaveLength(seqsOf(spool).length)
})

it('starts in memory when the spool is no directory', async () => {
	await writeFile(dir, 'a file')
	const spool = await open()
	const batch = await spool.append('events', 1, '["a"]')
	expect(await spool.read(batch)).toBe('["a"]')
	expect(lines.join()).toContain('cannot be written')
})

it('grows a batch in place: one file, one sequence number, all records', async () => {
	const spool = await open()
	const batch = await spool.append('conversations', 1, '["a"]')
	await spool.grow(batch, 2, '["a","b"]')
	const again = await open()
	const [only] = again.earlier()?.batches ?? []
	expect(only).toMatchObject({ seq: 1, records: 2 })
	expect(await again.read(at([only], 0) as SpooledBatch)).toBe('["a","b"]')
	expect(await readdir(dir)).toHaveLength(1)
})

async function open(options: Partial<SpoolOptions> = {}): Promise<Spool> {
	boots += 1
	return Spool.open({
		dir,
		boot: bootOf(boots),
		startedAt: boots,
		bytesMax: 1024 * 1024,
		memoryBytesMax: 1024 * 1024,
		sync: 'none',
		counters,
		losses,
		log: (level, message, fields) => lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
		...options,
	})
}

function bootOf(number: number): string {
	return String(number).padStart(16, '0')
}

function seqsOf(spool: Spool): number[] {
	return spool.own.batches.map(({ seq }) => seq)
}

function at<Value>(list: readonly Value[] | undefined, index: number): Value {
	const value = list?.[index]
	if (value === undefined) throw new Error(`nothing at ${index}`)
	return value
}
