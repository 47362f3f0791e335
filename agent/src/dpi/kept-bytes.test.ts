import { afterEach, describe, expect, it } from 'vitest'
import { LENT_BYTES_MAX, lendBuffer, lentBufferBytes, returnBuffer } from './byte-pool.ts'
import { dropKept, type KeptBytes, keepBytes, releaseKept } from './kept-bytes.ts'

describe('kept bytes', () => {
	afterEach(() => expect(lentBufferBytes()).toBe(0))

	it.each([1, 64, 65, 511, 512, 513, 4000])(
		'grow by %i bytes and stay what they were',
		(stepBytes) => {
			const all = Uint8Array.from({ length: 8192 }, (_, index) => index % 251)
			const kept = keepNothing()
			for (let at = 0; at < all.length; at += stepBytes) {
				const end = Math.min(all.length, at + stepBytes)
				expect(keepBytes(kept, new DataView(all.buffer), at, end)).toBe(true)
			}
			expect(contentOf(kept)).toEqual(all)
			releaseKept(kept)
		},
	)

	it('drop their first bytes, and their buffer with the last', () => {
		const kept = keepNothing()
		keepBytes(kept, new DataView(Uint8Array.of(1, 2, 3, 4).buffer), 0, 4)
		dropKept(kept, 3)
		expect(contentOf(kept)).toEqual(Uint8Array.of(4))
		dropKept(kept, 1)
		expect(kept).toEqual(keepNothing())
	})

	it('refuse what is larger than any buffer, and stay what they were', () => {
		const kept = keepNothing()
		keepBytes(kept, new DataView(new ArrayBuffer(3)), 0, 3)
		expect(keepBytes(kept, new DataView(new ArrayBuffer(32_766)), 0, 32_766)).toBe(false)
		expect(kept.sizeBytes).toBe(3)
		releaseKept(kept)
	})
})

describe('the pool', () => {
	it('lends the same buffer again', () => {
		const buffer = lendBuffer(100)
		if (buffer === undefined) throw new Error('nothing lent')
		returnBuffer(buffer)
		expect(lendBuffer(200)).toBe(buffer)
		returnBuffer(buffer)
	})

	it('never lends more than its limit', () => {
		const taken = []
		for (let next = lendBuffer(32_768); next !== undefined; next = lendBuffer(32_768))
			taken.push(next)
		expect(lentBufferBytes()).toBe(LENT_BYTES_MAX)
		expect(lendBuffer(1)).toBeUndefined()
		for (const buffer of taken) returnBuffer(buffer)
		expect(lentBufferBytes()).toBe(0)
	})
})

function keepNothing(): KeptBytes {
	return { buffer: undefined, sizeBytes: 0 }
}

function contentOf(kept: KeptBytes): Uint8Array | undefined {
	return kept.buffer?.bytes.slice(0, kept.sizeBytes)
}
