import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { batchFileName, decodeRecords, encodeBatchFile, readBatchHeader } from './batch-file.ts'

const HEADER = {
	boot: '0123456789abcdef',
	startedAt: 1_790_000_000_000,
	seq: 7,
	at: 1_790_000_000_500,
	kind: 'events',
	records: 2,
} as const

let dir: string

beforeAll(async () => {
	dir = await mkdtemp(join(tmpdir(), 'rf-batch-'))
})

afterAll(async () => {
	await rm(dir, { recursive: true })
})

it('gives back what was written', async () => {
	const bytes = await encodeBatchFile(HEADER, '[1,2]')
	expect(await headerOf(bytes)).toMatchObject(HEADER)
	expect(await decodeRecords(bytes)).toBe('[1,2]')
})

it('sorts by run, then by sequence', () => {
	const names = [
		batchFileName({ ...HEADER, seq: 10 }),
		batchFileName({ ...HEADER, seq: 9 }),
		batchFileName({ ...HEADER, startedAt: 999_999_999_999, seq: 11 }),
	]
	expect([...names].sort()).toEqual([names[2], names[1], names[0]])
})

it('knows every file that was cut short', async () => {
	const bytes = await encodeBatchFile(HEADER, '[1,2]')
	for (let length = 0; length < bytes.length; length++) {
		expect(await headerOf(bytes.subarray(0, length))).toBeUndefined()
	}
})

it('takes no header but its own', async () => {
	const headers = [
		'',
		'x\n',
		'null\n',
		'{"format":2}\n',
		`${JSON.stringify({ ...HEADER, seq: 0 })}\n`,
	]
	for (const header of headers) expect(await headerOf(Buffer.from(header))).toBeUndefined()
})

it('refuses damaged records and bombs without throwing', async () => {
	const bytes = await encodeBatchFile(
		HEADER,
		JSON.stringify(Array.from({ length: 50 }, Math.random)),
	)
	await fc.assert(
		fc.asyncProperty(
			fc.nat(bytes.length - 1),
			fc.integer({ min: 1, max: 255 }),
			async (at, flip) => {
				const damaged = Uint8Array.from(bytes)
				damaged[at] = (damaged[at] ?? 0) ^ flip
				const records = await decodeRecords(damaged)
				expect(records === undefined || typeof records === 'string').toBe(true)
			},
		),
		{ numRuns: 50 },
	)
	const bomb = Buffer.concat([Buffer.from('{}\n'), gzipSync(Buffer.alloc(64 * 1024 * 1024))])
	expect(await decodeRecords(bomb)).toBeUndefined()
})

async function headerOf(bytes: Uint8Array): Promise<unknown> {
	const path = join(dir, 'batch')
	await writeFile(path, bytes)
	return readBatchHeader(path)
}
