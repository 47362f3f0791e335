/**
 * The pcapng format (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng): blocks in the byte order of their section.
 *
 * ```
 * block: 0 type  4 total length (of 4)  8 body …  -4 total length
 * SHB:   8 byte-order magic  12 major(u16)  14 minor(u16)  16 section length(i64)  24 options
 * IDB:   8 linktype(u16)  10 reserved  12 snaplen  16 options
 * EPB:   8 interface  12 time high  16 time low  20 captured length  24 original length  28 bytes, options
 * PB:    8 interface(u16)  10 drops(u16)  12 time high  16 time low  20 captured  24 original  28 bytes (obsolete)
 * SPB:   8 original length  12 bytes
 * ISB:   8 interface  12 time high  16 time low  20 options
 * option: 0 code(u16)  2 length(u16)  4 value, padded to 4
 * ```
 */
import type { Frame } from '../engine/engine.ts'
import {
	CaptureFileError,
	PACKET_BYTES_MAX,
	type PcapChunk,
	RECORD_BYTES_MAX,
} from './pcap-chunk.ts'
import { microseconds, type Resolution, resolutionOf } from './pcap-time.ts'
import type { CaptureSource } from './source.ts'

export const SECTION_HEADER = 0x0a0d0d0a
const INTERFACE_DESCRIPTION = 1
const OBSOLETE_PACKET = 2
const SIMPLE_PACKET = 3
const INTERFACE_STATISTICS = 5
const ENHANCED_PACKET = 6
const BYTE_ORDER_MAGIC = 0x1a2b3c4d

const OPT_ENDOFOPT = 0
const IF_TSRESOL = 9
const IF_TSOFFSET = 14
const ISB_IFDROP = 5

/** Interfaces of one section; a file with more is refused. */
const INTERFACES_MAX = 65_536
const MICROSECOND_EXPONENT = 6

interface Interface {
	readonly linkType: number
	/** 0: no limit. */
	readonly snapBytes: number
	readonly resolution: Resolution
	readonly offsetSeconds: number
	/** Newest `isb_ifdrop`: a total since the capture began. */
	drops: number
}

/** Reads a pcapng file: any number of sections and interfaces, each with its own clock. */
export class PcapNg implements CaptureSource {
	readonly frame: Frame
	timeUs = 0
	readonly #chunk: PcapChunk
	#isLittle = true
	#interfaces: Interface[] = []
	/** Losses of the sections before this one. */
	#lossesBefore = 0

	constructor(chunk: PcapChunk, port: number) {
		this.#chunk = chunk
		this.frame = { view: chunk.view, at: 0, end: 0, wireBytes: 0, linkType: 0, port }
	}

	next(): boolean {
		for (;;) {
			const chunk = this.#chunk
			if (!chunk.has(12)) return this.#finish()
			const type = chunk.view.getUint32(chunk.at, this.#isLittle)
			if (type === ENHANCED_PACKET) {
				this.#readEnhanced(this.#blockBytes(28 + 4))
				return true
			}
			if (this.#readOther(type)) return true
		}
	}

	losses(): number {
		return this.#interfaces.reduce((sum, { drops }) => sum + drops, this.#lossesBefore)
	}

	close(): void {
		this.#chunk.close()
	}

	#finish(): false {
		const { at, end } = this.#chunk
		if (at !== end) this.#chunk.need(12, 'a block header')
		return false
	}

	/** Reads one block that is no enhanced packet; true when it held a packet all the same. */
	#readOther(type: number): boolean {
		switch (type) {
			case SECTION_HEADER:
				this.#readSection()
				return false
			case INTERFACE_DESCRIPTION:
				this.#readInterface(this.#blockBytes(16 + 4))
				return false
			case INTERFACE_STATISTICS:
				this.#readStatistics(this.#blockBytes(20 + 4))
				return false
			case SIMPLE_PACKET:
				this.#readSimple(this.#blockBytes(12 + 4))
				return true
			case OBSOLETE_PACKET:
				this.#readObsolete(this.#blockBytes(28 + 4))
				return true
			default:
				this.#chunk.skip(this.#totalLength(12), 'a block')
				return false
		}
	}

	#totalLength(bytesMin: number): number {
		const { view, at } = this.#chunk
		const total = view.getUint32(at + 4, this.#isLittle)
		if (total >= bytesMin && total % 4 === 0) return total
		throw this.#damaged(`a block of ${total} bytes`)
	}

	/** Length of the block at hand, once all of it is in the buffer. */
	#blockBytes(bytesMin: number): number {
		const total = this.#totalLength(bytesMin)
		if (total > RECORD_BYTES_MAX) throw this.#damaged(`a block of ${total} bytes`)
		const chunk = this.#chunk
		chunk.need(total, 'a block')
		if (chunk.view.getUint32(chunk.at + total - 4, this.#isLittle) !== total) {
			throw this.#damaged('a block whose two lengths differ')
		}
		return total
	}

	#readSection(): void {
		const chunk = this.#chunk
		chunk.need(28, 'a section header')
		const magic = chunk.view.getUint32(chunk.at + 8, true)
		this.#isLittle = magic === BYTE_ORDER_MAGIC
		if (chunk.view.getUint32(chunk.at + 8, this.#isLittle) !== BYTE_ORDER_MAGIC) {
			throw this.#damaged('a section without byte-order magic')
		}
		const total = this.#blockBytes(28)
		const major = chunk.view.getUint16(chunk.at + 12, this.#isLittle)
		if (major !== 1) throw this.#damaged(`pcapng version ${major}`)
		this.#lossesBefore = this.losses()
		this.#interfaces = []
		chunk.at += total
	}

	#readInterface(total: number): void {
		const { view, at } = this.#chunk
		if (this.#interfaces.length === INTERFACES_MAX) throw this.#damaged('too many interfaces')
		let resolution = resolutionOf(MICROSECOND_EXPONENT)
		let offsetSeconds = 0
		this.#eachOption(at + 16, at + total - 4, (code, value, bytes) => {
			if (code === IF_TSRESOL && bytes >= 1) resolution = resolutionOf(view.getUint8(value))
			if (code === IF_TSOFFSET && bytes >= 8) {
				offsetSeconds = Number(view.getBigInt64(value, this.#isLittle))
			}
		})
		this.#interfaces.push({
			linkType: view.getUint16(at + 8, this.#isLittle),
			snapBytes: view.getUint32(at + 12, this.#isLittle),
			resolution,
			offsetSeconds,
			drops: 0,
		})
		this.#chunk.at += total
	}

	#readStatistics(total: number): void {
		const { view, at } = this.#chunk
		const from = this.#interface(view.getUint32(at + 8, this.#isLittle))
		this.#eachOption(at + 20, at + total - 4, (code, value, bytes) => {
			if (code !== ISB_IFDROP || bytes < 8) return
			from.drops = Number(view.getBigUint64(value, this.#isLittle))
		})
		this.#chunk.at += total
	}

	#readEnhanced(total: number): void {
		const { view, at } = this.#chunk
		this.#readPacket(this.#interface(view.getUint32(at + 8, this.#isLittle)), total)
	}

	#readObsolete(total: number): void {
		const { view, at } = this.#chunk
		this.#readPacket(this.#interface(view.getUint16(at + 8, this.#isLittle)), total)
	}

	/** What both packet blocks with a time have in common. */
	#readPacket(from: Interface, total: number): void {
		const { view, at } = this.#chunk
		const isLittle = this.#isLittle
		const caught = view.getUint32(at + 20, isLittle)
		if (caught > total - 32 || caught > PACKET_BYTES_MAX) {
			throw this.#damaged(`a packet of ${caught} bytes`)
		}
		const high = view.getUint32(at + 12, isLittle)
		const low = view.getUint32(at + 16, isLittle)
		this.timeUs = microseconds(from.resolution, from.offsetSeconds, { high, low })
		this.#setFrame(from, at + 28, caught)
		this.frame.wireBytes = Math.max(view.getUint32(at + 24, isLittle), caught)
		this.#chunk.at = at + total
	}

	/** Has neither time nor interface: the time of the packet before it, and interface 0. */
	#readSimple(total: number): void {
		const { view, at } = this.#chunk
		const from = this.#interface(0)
		const original = view.getUint32(at + 8, this.#isLittle)
		const caught = Math.min(original, total - 16, from.snapBytes || PACKET_BYTES_MAX)
		if (caught > PACKET_BYTES_MAX) throw this.#damaged(`a packet of ${caught} bytes`)
		this.#setFrame(from, at + 12, caught)
		this.frame.wireBytes = original
		this.#chunk.at = at + total
	}

	#setFrame(from: Interface, at: number, bytes: number): void {
		const { frame } = this
		frame.linkType = from.linkType
		frame.at = at
		frame.end = at + bytes
	}

	#interface(index: number): Interface {
		const found = this.#interfaces[index]
		if (!found) throw this.#damaged(`interface ${index} is not described`)
		return found
	}

	#eachOption(
		from: number,
		end: number,
		take: (code: number, at: number, bytes: number) => void,
	): void {
		const { view } = this.#chunk
		let at = from
		while (end - at >= 4) {
			const code = view.getUint16(at, this.#isLittle)
			const bytes = view.getUint16(at + 2, this.#isLittle)
			if (code === OPT_ENDOFOPT) return
			if (bytes > end - at - 4) throw this.#damaged('an option longer than its block')
			take(code, at + 4, bytes)
			at += 4 + Math.ceil(bytes / 4) * 4
		}
	}

	#damaged(what: string): CaptureFileError {
		return new CaptureFileError(`damaged: ${what}`, this.#chunk.offset)
	}
}
