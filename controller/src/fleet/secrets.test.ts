import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromBase64, isEqualText, randomId, sha256Hex, timeOrderedId, toBase64 } from './secrets.ts'

test('ids sort by the order of their making, within a millisecond and when the clock goes back', () => {
	const times = [...new Array(10_000).fill(1000), 1001, 900, 2_000_000_000_000, 1000]
	const ids = times.map(timeOrderedId)
	expect([...ids].sort()).toEqual(ids)
	expect(new Set(ids).size).toBe(ids.length)
})

test('an id is a UUID of version 7', () => {
	expect(timeOrderedId(1)).toMatch(
		/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
	)
})

test('a random id is safe in paths and composite tokens', () => {
	const ids = Array.from({ length: 1000 }, randomId)
	for (const id of ids) expect(id).toMatch(/^[a-z2-7]{16}$/)
	expect(new Set(ids).size).toBe(1000)
})

test('texts are equal when every unit is', () => {
	fc.assert(
		fc.property(fc.string(), fc.string(), (a, b) => {
			expect(isEqualText(a, b)).toBe(a === b)
			expect(isEqualText(a, a)).toBe(true)
		}),
	)
})

test('base64 there and back', () => {
	fc.assert(
		fc.property(fc.uint8Array(), (bytes) => {
			expect([...fromBase64(toBase64(bytes))]).toEqual([...bytes])
		}),
	)
})

test('sha256 of abc', async () => {
	// FIPS 180-2, appendix B.1
	const digest = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
	expect(await sha256Hex('abc')).toBe(digest)
})
