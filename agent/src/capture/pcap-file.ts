import { CaptureFileError, PcapChunk } from './pcap-chunk.ts'
import { MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, PcapClassic } from './pcap-classic.ts'
import { PcapNg, SECTION_HEADER } from './pcap-ng.ts'
import type { CaptureSource } from './source.ts'

/**
 * Opens a pcap or pcapng file or pipe of any size; at most 4 MiB of it are held.
 * Throws `CaptureFileError` when it is neither, and what `fs` throws when it cannot be opened.
 * @param port engine port that its frames are seen at
 */
export function openCaptureFile(path: string, port: number): CaptureSource {
	const chunk = new PcapChunk(path)
	try {
		return readerOf(chunk, port)
	} catch (error) {
		chunk.close()
		throw error
	}
}

function readerOf(chunk: PcapChunk, port: number): CaptureSource {
	if (!chunk.has(1)) throw new CaptureFileError('the file is empty', 0)
	chunk.need(4, 'the magic number')
	const little = chunk.view.getUint32(chunk.at, true)
	const big = chunk.view.getUint32(chunk.at, false)
	if (little === SECTION_HEADER) return new PcapNg(chunk, port)
	for (const magic of [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS]) {
		if (little === magic || big === magic) return new PcapClassic(chunk, port)
	}
	throw new CaptureFileError('not a pcap or pcapng file', 0)
}
