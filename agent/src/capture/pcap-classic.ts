/**
 * The pcap format (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap).
 *
 * ```
 * file:   0 magic  4 major(u16)  6 minor(u16)  8 reserved  16 snaplen  20 linktype (low 16 bits)
 * record: 0 seconds  4 micro- or nanoseconds  8 captured length  12 original length  16 bytes
 * ```
 */
import type { Frame } from '../engine/engine.ts'
import { CaptureFileError, PACKET_BYTES_MAX, type PcapChunk } from './pcap-chunk.ts'
import type { CaptureSource } from './source.ts'

export const MAGIC_MICROSECONDS = 0xa1b2c3d4
export const MAGIC_NANOSECONDS = 0xa1b23c4d

const FILE_HEADER_BYTES = 24
const RECORD_HEADER_BYTES = 16
/** The bits above hold the length of the frame check sequence. */
const LINKTYPE_MASK = 0xffff

/** Reads a file that begins with one of the two magic numbers, in either byte order. */
export class PcapClassic implements CaptureSource {
	readonly frame: Frame
	timeUs = 0
	readonly #chunk: PcapChunk
	readonly #isLittle: boolean
	readonly #fractionsPerUs: 1 | 1000

	constructor(chunk: PcapChunk, port: number) {
		const { view } = chunk
		chunk.need(FILE_HEADER_BYTES, 'the file header')
		const magic = view.getUint32(chunk.at, true)
		this.#isLittle = magic === MAGIC_MICROSECONDS || magic === MAGIC_NANOSECONDS
		const isNano = view.getUint32(chunk.at, this.#isLittle) === MAGIC_NANOSECONDS
		this.#fractionsPerUs = isNano ? 1000 : 1
		const linkType = view.getUint32(chunk.at + 20, this.#isLittle) & LINKTYPE_MASK
		this.#chunk = chunk
		this.frame = { view, at: 0, end: 0, wireBytes: 0, linkType, port }
		chunk.at += FILE_HEADER_BYTES
	}

	next(): boolean {
		const chunk = this.#chunk
		if (!chunk.has(RECORD_HEADER_BYTES)) return this.#finish()
		const { view } = chunk
		const isLittle = this.#isLittle
		const caught = view.getUint32(chunk.at + 8, isLittle)
		if (caught > PACKET_BYTES_MAX) {
			throw new CaptureFileError(`damaged: a packet of ${caught} bytes`, chunk.offset)
		}
		chunk.need(RECORD_HEADER_BYTES + caught, 'a packet')
		const { at } = chunk
		const { frame } = this
		this.timeUs =
			view.getUint32(at, isLittle) * 1_000_000 +
			Math.floor(view.getUint32(at + 4, isLittle) / this.#fractionsPerUs)
		frame.at = at + RECORD_HEADER_BYTES
		frame.end = frame.at + caught
		frame.wireBytes = Math.max(view.getUint32(at + 12, isLittle), caught)
		chunk.at = frame.end
		return true
	}

	/** The format has no place for them. */
	losses(): number {
		return 0
	}

	close(): void {
		this.#chunk.close()
	}

	#finish(): false {
		const { at, end } = this.#chunk
		if (at !== end) this.#chunk.need(RECORD_HEADER_BYTES, 'a packet header')
		return false
	}
}
