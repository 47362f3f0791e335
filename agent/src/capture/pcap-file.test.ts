import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CaptureFileError } from './pcap-chunk.ts'
import { openCaptureFile } from './pcap-file.ts'

let folder = ''
beforeAll(() => {
	folder = mkdtempSync(join(tmpdir(), 'ringfence-pcap-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

interface Packet {
	timeUs: number
	bytes: number[]
	wireBytes: number
}

interface Reading {
	packets: (Packet & { linkType: number; port: number })[]
	losses: number
	error: string | undefined
}

const packetArbitrary = fc
	.record({
		timeUs: fc.integer({ min: 0, max: 4_294_967_295_000_000 }),
		bytes: fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 100 }),
		cutBytes: fc.integer({ min: 0, max: 2000 }),
	})
	.map(({ timeUs, bytes, cutBytes }) => ({ timeUs, bytes, wireBytes: bytes.length + cutBytes }))

const PACKETS: Packet[] = [
	{ timeUs: 1_790_000_000_123_456, bytes: [1, 2, 3], wireBytes: 3 },
	{ timeUs: 1_790_000_001_999_999, bytes: [4, 5, 6, 7, 8], wireBytes: 1500 },
]

describe('classic pcap', () => {
	test('gives back what was written, in both byte orders and both resolutions', () => {
		fc.assert(
			fc.property(
				fc.array(packetArbitrary, { maxLength: 20 }),
				fc.boolean(),
				fc.boolean(),
				(packets, isLittle, isNano) => {
					const reading = readBytes(classic(packets, { isLittle, isNano, linkType: 1 }))
					expect(reading.error).toBeUndefined()
					expect(reading.packets).toEqual(
						packets.map((packet) => ({ ...packet, linkType: 1, port: 7 })),
					)
				},
			),
			{ numRuns: 60 },
		)
	})

	test('takes the link type without the bits for a frame check sequence', () => {
		const bytes = classic(PACKETS, { isLittle: true, isNano: false, linkType: 0x5400_0071 })
		expect(readBytes(bytes).packets[0]?.linkType).toBe(113)
	})

	test('gives every whole packet of a truncated file, then says where it ends', () => {
		const whole = classic(PACKETS, { isLittle: true, isNano: false, linkType: 1 })
		for (let bytes = 25; bytes < whole.length; bytes++) {
			const reading = readBytes(whole.subarray(0, bytes))
			expect(reading.packets.length).toBe(bytes < 43 ? 0 : 1)
			if (bytes === 43) expect(reading.error).toBeUndefined()
			else {
				expect(reading.error).toMatch(
					/^truncated: the file ends inside a packet( header)? at byte (24|43)$/,
				)
			}
		}
	})

	test('refuses a packet longer than any capture program writes', () => {
		const bytes = classic(PACKETS, { isLittle: true, isNano: false, linkType: 1 })
		new DataView(bytes.buffer).setUint32(43 + 8, 300_000, true)
		const reading = readBytes(bytes)
		expect(reading.packets.length).toBe(1)
		expect(reading.error).toBe('damaged: a packet of 300000 bytes at byte 43')
	})

	test('reads on over the edges of its buffer', () => {
		const bytes = Array.from({ length: 60_000 }, (_, i) => i % 251)
		const packets = Array.from({ length: 200 }, (_, i) => ({
			timeUs: i * 1_000_000,
			bytes,
			wireBytes: bytes.length,
		}))
		const path = write(classic(packets, { isLittle: true, isNano: false, linkType: 1 }))
		const source = openCaptureFile(path, 0)
		let sum = 0
		let count = 0
		while (source.next()) {
			const { view, at, end } = source.frame
			count++
			sum += end - at + view.getUint8(at + 1) + view.getUint8(end - 1)
		}
		source.close()
		expect(count).toBe(200)
		expect(sum).toBe(200 * (60_000 + 1 + ((60_000 - 1) % 251)))
	})
})

describe('pcapng', () => {
	test('gives back what was written, in both byte orders and several resolutions', () => {
		const shape = fc.record({
			isLittle: fc.boolean(),
			tsresol: fc.constantFrom(undefined, 6, 9),
			isObsolete: fc.boolean(),
		})
		fc.assert(
			fc.property(fc.array(packetArbitrary, { maxLength: 20 }), shape, (packets, options) => {
				const reading = readBytes(nextGeneration(packets, options))
				expect(reading.error).toBeUndefined()
				expect(reading.packets).toEqual(
					packets.map((packet) => ({ ...packet, linkType: 1, port: 7 })),
				)
			}),
			{ numRuns: 60 },
		)
	})

	test('gives each packet the link type and clock of its interface', () => {
		const at = (high: number, low: number, interfaceIndex: number) =>
			packetBlock({ high, low, interfaceIndex, bytes: [9] })
		const bytes = concat([
			sectionBlock(),
			interfaceBlock(1),
			interfaceBlock(113, [
				[9, [0x80 | 10]],
				[14, [100, 0, 0, 0, 0, 0, 0, 0]],
			]),
			interfaceBlock(101, [[9, [3]]]),
			at(0, 5_000_000, 0),
			// 1536 units of 1/1024 s, and an offset of 100 s
			at(0, 1536, 1),
			at(0, 250, 2),
		])
		expect(readBytes(bytes).packets).toMatchObject([
			{ linkType: 1, timeUs: 5_000_000 },
			{ linkType: 113, timeUs: 101_500_000 },
			{ linkType: 101, timeUs: 250_000 },
		])
	})

	test('cuts a simple packet to its length and gives it the time of the packet before', () => {
		const bytes = concat([
			sectionBlock(),
			interfaceBlock(1),
			packetBlock({ high: 0, low: 77, interfaceIndex: 0, bytes: [1] }),
			block(3, [...word(3), 1, 2, 3, 0]),
		])
		expect(readBytes(bytes).packets[1]).toEqual({
			bytes: [1, 2, 3],
			wireBytes: 3,
			timeUs: 77,
			linkType: 1,
			port: 7,
		})
	})

	test('skips blocks it does not know, however long', () => {
		const bytes = concat([
			sectionBlock(),
			interfaceBlock(1),
			block(0xbad, new Array<number>(5_000_000).fill(7)),
			packetBlock({ high: 0, low: 1, interfaceIndex: 0, bytes: [1] }),
		])
		const reading = readBytes(bytes)
		expect(reading.error).toBeUndefined()
		expect(reading.packets.length).toBe(1)
	})

	test('counts what the capturing program lost, newest statistics of each section', () => {
		const statistics = (drops: number) =>
			block(5, [...word(0), ...word(0), ...word(0), 5, 0, 8, 0, drops, 0, 0, 0, 0, 0, 0, 0])
		const section = (drops: number) => [
			sectionBlock(),
			interfaceBlock(1),
			statistics(1),
			statistics(drops),
		]
		expect(readBytes(concat([...section(5), ...section(7)])).losses).toBe(12)
	})
})

describe('damaged pcapng', () => {
	test('refuses what breaks the format, after the packets before it', () => {
		const start = [
			sectionBlock(),
			interfaceBlock(1),
			packetBlock({ high: 0, low: 1, interfaceIndex: 0, bytes: [1] }),
		]
		const start32 = concat(start).length
		const wrongTail = block(6, new Array<number>(24).fill(0))
		wrongTail[wrongTail.length - 4] = 1
		const cases: [Uint8Array, string][] = [
			[
				packetBlock({ high: 0, low: 1, interfaceIndex: 3, bytes: [1] }),
				'damaged: interface 3 is not described',
			],
			[wrongTail, 'damaged: a block whose two lengths differ'],
			[block(6, [1, 2, 3, 4]), 'damaged: a block of 16 bytes'],
			[block(6, new Array<number>(2_000_000).fill(0)), 'damaged: a block of 2000012 bytes'],
			[block(6, [...word(0), ...word(0), ...word(0), ...word(90), ...word(90)]), 'a packet of 90'],
			[interfaceBlock(1, [[9, [6]]], 200), 'damaged: an option longer than its block'],
			[new Uint8Array([10, 13, 13, 10, 28, 0, 0, 0, ...new Array<number>(20).fill(1)]), 'magic'],
			[new Uint8Array([6, 0, 0, 0, 60, 0]), 'truncated: the file ends inside a block header'],
		]
		for (const [tail, why] of cases) {
			const reading = readBytes(concat([...start, tail]))
			expect(reading.packets.length).toBe(1)
			expect(reading.error).toContain(why)
			expect(reading.error).toMatch(new RegExp(`at byte ${start32}$`))
		}
	})
})

describe('hostile files', () => {
	test('refuses an empty file and one of another kind', () => {
		expect(() => openCaptureFile(write(new Uint8Array(0)), 0)).toThrow('the file is empty')
		expect(() => openCaptureFile(write(new TextEncoder().encode('#!/bin/sh')), 0)).toThrow(
			'not a pcap or pcapng file',
		)
	})

	test('a damaged file ends in frames within the buffer and at most one error', () => {
		const options = { isLittle: true, isNano: false, linkType: 1 }
		const ng = { isLittle: true, tsresol: 9, isObsolete: false }
		const originals = [classic(PACKETS, options), nextGeneration(PACKETS, ng)]
		const damage = fc.array(
			fc.tuple(fc.nat({ max: 400 }), fc.constantFrom(0, 1, 4, 28, 127, 128, 255)),
			{ minLength: 1, maxLength: 8 },
		)
		fc.assert(
			fc.property(
				fc.constantFrom(...originals),
				damage,
				fc.nat({ max: 400 }),
				(file, hits, cut) => {
					const bytes = Uint8Array.from(file)
					for (const [at, value] of hits) bytes[4 + (at % (bytes.length - 4))] = value
					const reading = readBytes(bytes.subarray(0, Math.max(bytes.length - cut, 0)))
					for (const { wireBytes, bytes: caught, timeUs } of reading.packets) {
						expect(wireBytes).toBeGreaterThanOrEqual(caught.length)
						expect(Number.isSafeInteger(timeUs) && timeUs >= 0).toBe(true)
					}
				},
			),
			{ numRuns: 400 },
		)
	})
})

/** Reads all there is; what is no `CaptureFileError` fails the test. */
function readBytes(bytes: Uint8Array): Reading {
	const reading: Reading = { packets: [], losses: 0, error: undefined }
	try {
		const source = openCaptureFile(write(bytes), 7)
		try {
			while (source.next()) {
				const { view, at, end, wireBytes, linkType, port } = source.frame
				const copy = [...new Uint8Array(view.buffer, view.byteOffset + at, end - at)]
				reading.packets.push({ timeUs: source.timeUs, bytes: copy, wireBytes, linkType, port })
			}
		} finally {
			reading.losses = source.losses()
			source.close()
		}
	} catch (error) {
		if (!(error instanceof CaptureFileError)) throw error
		reading.error = error.message
	}
	return reading
}

function write(bytes: Uint8Array): string {
	const path = join(folder, 'file.pcap')
	writeFileSync(path, bytes)
	return path
}

interface ClassicOptions {
	isLittle: boolean
	isNano: boolean
	linkType: number
}

function classic(packets: Packet[], { isLittle, isNano, linkType }: ClassicOptions): Uint8Array {
	const words = (...list: number[]) => list.flatMap((value) => word(value, isLittle))
	const records = packets.map(({ timeUs, bytes, wireBytes }) => {
		const fraction = (timeUs % 1_000_000) * (isNano ? 1000 : 1)
		return Uint8Array.from([
			...words(Math.floor(timeUs / 1_000_000), fraction, bytes.length, wireBytes),
			...bytes,
		])
	})
	const versions = isLittle ? [2, 0, 4, 0] : [0, 2, 0, 4]
	const magic = isNano ? 0xa1b23c4d : 0xa1b2c3d4
	const header = [...words(magic), ...versions, ...words(0, 0, 262_144, linkType)]
	return concat([Uint8Array.from(header), ...records])
}

interface NgOptions {
	isLittle: boolean
	tsresol: number | undefined
	isObsolete: boolean
}

function nextGeneration(
	packets: Packet[],
	{ isLittle, tsresol, isObsolete }: NgOptions,
): Uint8Array {
	const scale = tsresol === 9 ? 1000n : 1n
	const option: [number, number[]][] = tsresol === undefined ? [] : [[9, [tsresol]]]
	return concat([
		sectionBlock(isLittle),
		interfaceBlock(1, option, undefined, isLittle),
		...packets.map(({ timeUs, bytes, wireBytes }) => {
			const time = BigInt(timeUs) * scale
			const parts = { high: Number(time >> 32n), low: Number(time & 0xffff_ffffn) }
			const type = isObsolete ? 2 : 6
			return packetBlock({ ...parts, interfaceIndex: 0, bytes, wireBytes, isLittle, type })
		}),
	])
}

function sectionBlock(isLittle = true): Uint8Array {
	const version = isLittle ? [1, 0, 0, 0] : [0, 1, 0, 0]
	const body = [...word(0x1a2b3c4d, isLittle), ...version, ...new Array<number>(8).fill(255)]
	return block(0x0a0d0d0a, body, isLittle)
}

function interfaceBlock(
	linkType: number,
	options: [number, number[]][] = [],
	statedBytes?: number,
	isLittle = true,
): Uint8Array {
	const half = (value: number) => word(value, isLittle).slice(...(isLittle ? [0, 2] : [2, 4]))
	const list = options.flatMap(([code, value]) => [
		...half(code),
		...half(statedBytes ?? value.length),
		...value,
		...new Array<number>((4 - (value.length % 4)) % 4).fill(0),
	])
	return block(1, [...half(linkType), 0, 0, ...word(0, isLittle), ...list], isLittle)
}

interface PacketFields {
	high: number
	low: number
	interfaceIndex: number
	bytes: number[]
	wireBytes?: number
	isLittle?: boolean
	type?: number
}

function packetBlock(fields: PacketFields): Uint8Array {
	const { high, low, interfaceIndex, bytes, isLittle = true, type = 6 } = fields
	const words = [interfaceIndex, high, low, bytes.length, fields.wireBytes ?? bytes.length]
	const padding = new Array<number>((4 - (bytes.length % 4)) % 4).fill(0)
	const body = [...words.flatMap((value) => word(value, isLittle)), ...bytes, ...padding]
	return block(type, body, isLittle)
}

function block(type: number, body: number[], isLittle = true): Uint8Array {
	const total = word(12 + body.length, isLittle)
	return concat([
		Uint8Array.from([...word(type, isLittle), ...total]),
		Uint8Array.from(body),
		Uint8Array.from(total),
	])
}

function word(value: number, isLittle = true): number[] {
	const bytes = [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255]
	return isLittle ? bytes : bytes.reverse()
}

function concat(parts: Uint8Array[]): Uint8Array {
	const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
	let at = 0
	for (const part of parts) {
		whole.set(part, at)
		at += part.length
	}
	return whole
}
