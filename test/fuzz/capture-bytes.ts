/** Capture files in bytes, to be damaged: the pcap format and the pcapng format (see `agent/src/capture`). */

/** One packet of a pcap file. */
export interface PcapRecord {
	/** Offset of its 16-byte header. */
	readonly at: number
	readonly seconds: number
	readonly micros: number
	readonly frame: Buffer
}

export const FILE_HEADER_BYTES = 24
export const RECORD_HEADER_BYTES = 16

/** Reads a sound little-endian pcap file. */
export function pcapRecords(file: Buffer): PcapRecord[] {
	const records: PcapRecord[] = []
	for (let at = FILE_HEADER_BYTES; at < file.length; ) {
		const frameAt = at + RECORD_HEADER_BYTES
		const end = frameAt + file.readUInt32LE(at + 8)
		records.push({
			at,
			seconds: file.readUInt32LE(at),
			micros: file.readUInt32LE(at + 4),
			frame: file.subarray(frameAt, end),
		})
		at = end
	}
	return records
}

/** A pcap file of Ethernet frames, a microsecond apart. */
export function pcapOf(frames: readonly Buffer[]): Buffer {
	const parts = [pcapHeader()]
	for (const [index, frame] of frames.entries()) {
		const header = Buffer.alloc(RECORD_HEADER_BYTES)
		header.writeUInt32LE(1_790_000_000 + Math.floor(index / 1e6), 0)
		header.writeUInt32LE(index % 1e6, 4)
		header.writeUInt32LE(frame.length, 8)
		header.writeUInt32LE(frame.length, 12)
		parts.push(header, frame)
	}
	return Buffer.concat(parts)
}

export function pcapHeader(linkType = 1): Buffer {
	const header = Buffer.alloc(FILE_HEADER_BYTES)
	header.writeUInt32LE(0xa1b2c3d4, 0)
	header.writeUInt16LE(2, 4)
	header.writeUInt16LE(4, 6)
	header.writeUInt32LE(262_144, 16)
	header.writeUInt32LE(linkType, 20)
	return header
}

/** The same packets as pcapng: one section, one Ethernet interface, enhanced packet blocks. */
export function pcapngOf(records: readonly PcapRecord[]): Buffer {
	const section = Buffer.alloc(16)
	section.writeUInt32LE(0x1a2b3c4d, 0)
	section.writeUInt16LE(1, 4)
	section.fill(0xff, 8, 16)
	const description = Buffer.alloc(8)
	description.writeUInt16LE(1, 0)
	const blocks = [block(0x0a0d0d0a, section), block(1, description)]
	for (const { seconds, micros, frame } of records) {
		const time = BigInt(seconds) * 1_000_000n + BigInt(micros)
		const head = Buffer.alloc(20)
		head.writeUInt32LE(Number(time >> 32n), 4)
		head.writeUInt32LE(Number(time & 0xffff_ffffn), 8)
		head.writeUInt32LE(frame.length, 12)
		head.writeUInt32LE(frame.length, 16)
		blocks.push(block(6, Buffer.concat([head, frame])))
	}
	return Buffer.concat(blocks)
}

/** A pcapng block: type, length, body padded to 4, length again. */
export function block(type: number, body: Buffer): Buffer {
	const total = 12 + Math.ceil(body.length / 4) * 4
	const bytes = Buffer.alloc(total)
	bytes.writeUInt32LE(type, 0)
	bytes.writeUInt32LE(total, 4)
	body.copy(bytes, 8)
	bytes.writeUInt32LE(total, total - 4)
	return bytes
}
