import { lendBuffer, type PooledBuffer, returnBuffer } from './byte-pool.ts'

/** Below this many bytes a loop is faster than making a `Uint8Array` over the borrowed bytes. */
const LOOP_BYTES_MAX = 64

/** Bytes of one direction that outlive the packet they came in. */
export interface KeptBytes {
	buffer: PooledBuffer | undefined
	sizeBytes: number
}

/**
 * Copies the bytes behind those already kept; grows the buffer as needed.
 * @returns false when the pool has no buffer for that many: nothing is copied
 */
export function keepBytes(kept: KeptBytes, view: DataView, at: number, end: number): boolean {
	const sizeBytes = kept.sizeBytes + (end - at)
	const buffer = makeRoom(kept, sizeBytes)
	if (buffer === undefined) return false
	if (end - at <= LOOP_BYTES_MAX) {
		for (let offset = at; offset < end; offset++) {
			buffer.bytes[kept.sizeBytes + offset - at] = view.getUint8(offset)
		}
	} else {
		buffer.bytes.set(new Uint8Array(view.buffer, view.byteOffset + at, end - at), kept.sizeBytes)
	}
	kept.sizeBytes = sizeBytes
	return true
}

/** Drops the first `sizeBytes` bytes; gives the buffer back when none is left. */
export function dropKept(kept: KeptBytes, sizeBytes: number): void {
	if (sizeBytes >= kept.sizeBytes) {
		releaseKept(kept)
		return
	}
	kept.buffer?.bytes.copyWithin(0, sizeBytes, kept.sizeBytes)
	kept.sizeBytes -= sizeBytes
}

/** Gives the buffer back to the pool. */
export function releaseKept(kept: KeptBytes): void {
	if (kept.buffer !== undefined) returnBuffer(kept.buffer)
	kept.buffer = undefined
	kept.sizeBytes = 0
}

function makeRoom(kept: KeptBytes, sizeBytes: number): PooledBuffer | undefined {
	if (kept.buffer !== undefined && kept.buffer.bytes.length >= sizeBytes) return kept.buffer
	const larger = lendBuffer(sizeBytes)
	if (larger === undefined) return undefined
	if (kept.buffer !== undefined) {
		larger.bytes.set(kept.buffer.bytes.subarray(0, kept.sizeBytes))
		returnBuffer(kept.buffer)
	}
	kept.buffer = larger
	return larger
}
