/** Sizes of pooled buffers, in bytes: a greeting, a frame, a long request head, the longest message carried. */
const CLASS_BYTES: readonly number[] = [512, 2048, 8192, 32_768]

/** Most bytes lent at once by one thread. At the limit nothing is lent: recognition of that session ends. */
export const LENT_BYTES_MAX = 64 * 1024 * 1024

/** Most bytes kept idle for the next session; what is given back beyond that is garbage. */
const IDLE_BYTES_MAX = 4 * 1024 * 1024

/** A buffer lent by the pool; its contents are what the last owner left. */
export interface PooledBuffer {
	readonly bytes: Uint8Array
	readonly view: DataView
}

const idle: PooledBuffer[][] = CLASS_BYTES.map(() => [])
let lentBytes = 0
let idleBytes = 0

/** Lends a buffer of at least `sizeBytes`; undefined when there is none so large or the limit is reached. */
export function lendBuffer(sizeBytes: number): PooledBuffer | undefined {
	const index = CLASS_BYTES.findIndex((classBytes) => classBytes >= sizeBytes)
	const classBytes = CLASS_BYTES[index]
	if (classBytes === undefined || lentBytes + classBytes > LENT_BYTES_MAX) return undefined
	lentBytes += classBytes
	const buffer = idle[index]?.pop()
	if (buffer === undefined) return makeBuffer(classBytes)
	idleBytes -= classBytes
	return buffer
}

/** Takes back a lent buffer; its owner must not touch it again. */
export function returnBuffer(buffer: PooledBuffer): void {
	const sizeBytes = buffer.bytes.length
	lentBytes -= sizeBytes
	if (idleBytes + sizeBytes > IDLE_BYTES_MAX) return
	idleBytes += sizeBytes
	idle[CLASS_BYTES.indexOf(sizeBytes)]?.push(buffer)
}

/** Bytes lent at this moment by this thread. */
export function lentBufferBytes(): number {
	return lentBytes
}

function makeBuffer(sizeBytes: number): PooledBuffer {
	const bytes = new Uint8Array(sizeBytes)
	return { bytes, view: new DataView(bytes.buffer) }
}
