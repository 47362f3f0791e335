import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSandbox, ROOT } from '../harness/sandbox.ts'
import {
	block,
	FILE_HEADER_BYTES,
	pcapHeader,
	pcapngOf,
	pcapOf,
	pcapRecords,
	RECORD_HEADER_BYTES,
} from './capture-bytes.ts'
import { PEAK_AT_EXIT, peakInOutput } from './memory.ts'
import { createRandom, flipBytes, SEED } from './random.ts'
import { udpFrame } from './sample-frames.ts'

/** Node itself takes about 60; the rest is one capture's engine and 4 MiB of its file. */
const PEAK_MIB_MAX = 400
/** Of all damaged files together. */
const TIME_MS_MAX = 60_000
/** Distinct sessions of the flood: more than an engine holds. */
const FLOOD_SESSIONS = 300_000

const GOLDEN = join(ROOT, 'test/golden/five-protocols.pcap')
const golden = readFileSync(GOLDEN)
const records = pcapRecords(golden)
const ng = pcapngOf(records)
const EDGE_LENGTHS = [0, 1, 13, 14, 15, 0xffff, 0x40000, 0x40001, 0x7fff_ffff, 0xffff_ffff]

/** What is known beforehand of a file's reading: whole, not to its end, or either. */
type Fate = 'read' | 'refused' | 'any'

describe(`captures that are damaged, given to replay [seed ${SEED}]`, () => {
	const sandbox = openSandbox()
	const directory = join(sandbox.directory, 'captures')
	const fates = new Map<string, Fate>()
	let run: Run

	const put = (name: string, bytes: Buffer, fate: Fate) => {
		const path = join(
			directory,
			`${name}.${bytes.readUInt32LE(0) === 0x0a0d0d0a ? 'pcapng' : 'pcap'}`,
		)
		writeFileSync(path, bytes)
		fates.set(path, fate)
	}

	beforeAll(async () => {
		mkdirSync(join(directory, 'a folder.pcap'), { recursive: true })
		symlinkSync(join(directory, 'loop.pcap'), join(directory, 'loop.pcap'))
		put('golden', golden, 'read')
		put('golden-ng', ng, 'read')
		cutFiles(put)
		lyingFiles(put)
		mutatedFiles(put)
		randomFiles(put)
		run = await replay([directory, '--json'])
	}, TIME_MS_MAX)
	afterAll(() => sandbox.close())

	test('end the program as documented, without a crash, in bounded time and memory', () => {
		expect(run.stderr).not.toMatch(/^\s+at .*:\d+:\d+/m)
		expect(run.signal).toBeNull()
		expect(run.code).toBe(1)
		expect(run.ms).toBeLessThan(TIME_MS_MAX)
		expect(peakInOutput(run.stderr)).toBeLessThan(PEAK_MIB_MAX)
	})

	test('are each read whole or named once, with the reason and the place', () => {
		expect(fates.size).toBeGreaterThan(900)
		const { totals } = lastLine(run.stdout)
		expect(totals.captures).toBe(fates.size)
		const reasons = new Map(totals.failures.map(({ file, why }) => [file, why]))
		expect(reasons.size).toBe(totals.failures.length)
		const wrong = [...fates].filter(([path, fate]) => {
			const why = reasons.get(path)
			if (fate === 'read') return why !== undefined
			if (fate === 'refused') return !SOUND_REASON.test(why ?? '')
			return why !== undefined && !SOUND_REASON.test(why)
		})
		expect(wrong.map(([path, fate]) => ({ path, fate, why: reasons.get(path) }))).toEqual([])
		for (const [file, why] of reasons) expect(run.stderr).toContain(`${file}: ${why}\n`)
	})

	test('leave the sound captures among them with the sessions that they have alone', async () => {
		const alone = rowsOf((await replay([GOLDEN, '--json'])).stdout)
		expect(alone.length).toBeGreaterThan(10)
		const among = rowsOf(run.stdout)
		for (const name of ['golden.pcap', 'golden-ng.pcapng']) {
			const path = join(directory, name)
			const its = among.filter(({ file }) => file === path).map(({ file: _, ...row }) => row)
			expect(its).toEqual(alone)
		}
	})

	test('count what their frames were refused for', () => {
		const { counters } = lastLine(run.stdout).totals
		for (const name of ['malformedIp', 'malformedTransport', 'otherLink', 'otherIp'] as const) {
			expect(counters[name], name).toBeGreaterThan(0)
		}
	})
})

test('a capture of more sessions than are held evicts and counts them, in bounded memory', async () => {
	const sandbox = openSandbox()
	try {
		const path = join(sandbox.directory, 'flood.pcap')
		const frames = Array.from({ length: FLOOD_SESSIONS }, (_, index) =>
			udpFrame({ sourceAddress: index >>> 16, sourcePort: index & 0xffff }),
		)
		writeFileSync(path, pcapOf(frames))
		const { code, stdout, stderr } = await replay([path, '--json'])
		expect(code, stderr).toBe(0)
		const { totals } = lastLine(stdout)
		expect(totals.sessions).toBe(FLOOD_SESSIONS)
		expect(totals.counters['sessionsEvicted']).toBe(FLOOD_SESSIONS - 262_144)
		expect(peakInOutput(stderr)).toBeLessThan(2 * PEAK_MIB_MAX)
	} finally {
		await sandbox.close()
	}
})

test('what is no capture at all is named, and the exit code says so', async () => {
	const { code, stderr } = await replay(['/nowhere.pcap', '/proc/self/mem', '/dev/null', GOLDEN])
	expect(code).toBe(1)
	expect(stderr).not.toMatch(/^\s+at .*:\d+:\d+/m)
	for (const path of ['/nowhere.pcap', '/proc/self/mem', '/dev/null']) {
		expect(stderr).toMatch(new RegExp(`^${path}: .+`, 'm'))
	}
	expect(stderr).not.toContain(`${GOLDEN}:`)
})

/** What `CaptureFileError` says. */
const SOUND_REASON =
	/^((truncated|damaged): .+|the file is empty|not a pcap or pcapng file) at byte \d+$/

type Put = (name: string, bytes: Buffer, fate: Fate) => void

/** Cut at each byte of the headers and the first packets, and at several places of every later one. */
function cutFiles(put: Put): void {
	const ends = new Set([FILE_HEADER_BYTES, ...records.map(({ at }) => at)])
	const places = new Set(Array.from({ length: (records[2]?.at ?? 0) + 1 }, (_, at) => at))
	for (const { at, frame } of records) {
		const frameAt = at + RECORD_HEADER_BYTES
		for (const place of [at - 1, at, at + 8, frameAt, frameAt + (frame.length >> 1)]) {
			places.add(place)
		}
	}
	for (const place of [...places].filter((at) => at >= 4)) {
		put(`cut-${place}`, golden.subarray(0, place), ends.has(place) ? 'read' : 'refused')
	}
	for (let place = 4; place < 400; place++) put(`cut-ng-${place}`, ng.subarray(0, place), 'any')
	put('cut-ng-end', ng.subarray(0, ng.length - 1), 'refused')
}

/** Headers that claim what is not so. */
function lyingFiles(put: Put): void {
	const third = records[3]?.at ?? 0
	const edit = (file: Buffer, at: number, value: number) => {
		const copy = Buffer.from(file)
		copy.writeUInt32LE(value, at)
		return copy
	}
	for (const value of EDGE_LENGTHS) {
		put(`caught-${value}`, edit(golden, third + 8, value), value > 0x40000 ? 'refused' : 'any')
		put(`wire-${value}`, edit(golden, third + 12, value), 'read')
		put(`seconds-${value}`, edit(golden, third, value), 'read')
		put(`micros-${value}`, edit(golden, third + 4, value), 'read')
		put(`snap-${value}`, edit(golden, 16, value), 'read')
		put(`block-${value}`, edit(ng, 28 + 20 + 4, value), 'refused')
		put(`block-caught-${value}`, edit(ng, 28 + 20 + 20, value), value > 0xffff ? 'refused' : 'any')
		put(`block-interface-${value}`, edit(ng, 28 + 20 + 8, value), value > 0 ? 'refused' : 'any')
		put(`block-time-${value}`, edit(ng, 28 + 20 + 12, value), 'read')
		put(`section-${value}`, edit(ng, 4, value), 'refused')
	}
	for (const linkType of [
		0, 12, 14, 50, 51, 101, 105, 108, 113, 127, 147, 195, 228, 229, 276, 65_535,
	]) {
		put(`link-${linkType}`, edit(golden, 20, linkType), 'read')
	}
	const skipped = block(0x0bad, Buffer.alloc(8))
	skipped.writeUInt32LE(0xffff_fffc, 4)
	put('giant-unknown-block', Buffer.concat([ng, skipped]), 'refused')
	const described = block(1, Buffer.alloc(8))
	put(
		'interfaces',
		Buffer.concat([ng, ...Array.from({ length: 70_000 }, () => described)]),
		'refused',
	)
	put('empty-packets', pcapOf(Array.from({ length: 5000 }, () => Buffer.alloc(0))), 'read')
	put('long-packet', pcapOf([Buffer.alloc(0x40000, 0x45)]), 'read')
}

/** Bytes changed anywhere, and in the headers of packets only. */
function mutatedFiles(put: Put): void {
	const random = createRandom(1)
	for (let i = 0; i < 80; i++) {
		put(`flip-${i}`, flipBytes(random, golden, { count: 1 + random.below(60), from: 4 }), 'any')
		put(`flip-ng-${i}`, flipBytes(random, ng, { count: 1 + random.below(20), from: 4 }), 'any')
		let headers: Buffer = golden
		for (const { at, frame } of records) {
			const from = at + RECORD_HEADER_BYTES
			const end = from + Math.min(frame.length, 70)
			headers = flipBytes(random, headers, { count: 1 + random.below(3), from, end })
		}
		put(`headers-${i}`, headers, 'read')
	}
}

function randomFiles(put: Put): void {
	const random = createRandom(2)
	for (let i = 0; i < 20; i++) {
		put(`random-${i}`, Buffer.concat([Buffer.from([9]), random.bytes(4000)]), 'refused')
		put(`random-pcap-${i}`, Buffer.concat([pcapHeader(), random.bytes(4000)]), 'any')
		put(`random-ng-${i}`, Buffer.concat([ng.subarray(0, 48), random.bytes(4000)]), 'any')
		const frames = Array.from({ length: 200 }, () => random.bytes(random.below(120)))
		put(`random-frames-${i}`, pcapOf(frames), 'read')
	}
}

interface Run {
	readonly code: number | null
	readonly signal: string | null
	readonly stdout: string
	readonly stderr: string
	readonly ms: number
}

function replay(args: readonly string[]): Promise<Run> {
	const program = [...PEAK_AT_EXIT, join(ROOT, 'agent/dist/main.js'), 'replay', ...args]
	const startedAt = performance.now()
	const options = { maxBuffer: 1 << 29, timeout: TIME_MS_MAX, killSignal: 'SIGKILL' } as const
	return new Promise((resolve) => {
		const child = execFile(process.execPath, program, options, (_error, stdout, stderr) => {
			const { exitCode: code, signalCode: signal } = child
			resolve({ code, signal, stdout, stderr, ms: performance.now() - startedAt })
		})
	})
}

interface Totals {
	readonly captures: number
	readonly sessions: number
	readonly counters: Readonly<Record<string, number>>
	readonly failures: readonly { readonly file: string; readonly why: string }[]
}

function lastLine(stdout: string): { totals: Totals } {
	return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
}

function rowsOf(stdout: string): { file?: string }[] {
	return stdout
		.trimEnd()
		.split('\n')
		.slice(0, -1)
		.map((line) => JSON.parse(line))
}
