import { type AddressWords, formatAddress } from '@ringfence/shared/net/address'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AddressTexts } from './address-texts.ts'

const word = fc.oneof(fc.constantFrom(0, 1, 0xffff, 0xffffffff), fc.nat(0xffffffff))
const address: fc.Arbitrary<AddressWords> = fc.tuple(word, word, word, word)

describe('address texts', () => {
	it('are those of the shared room, whatever was asked before', () => {
		const texts = new AddressTexts()
		fc.assert(
			fc.property(fc.array(address, { minLength: 1, maxLength: 40 }), (addresses) => {
				for (const words of [...addresses, ...addresses]) {
					expect(texts.of(Int32Array.from(words))).toBe(formatAddress(words))
				}
			}),
		)
	})

	it('are right for more addresses than are kept', () => {
		const texts = new AddressTexts()
		for (const round of [1, 2]) {
			for (let last = 0; last < 5000; last++) {
				const words: AddressWords = [0, 0, 0xffff, (0x0a000000 + last * round) >>> 0]
				expect(texts.of(Int32Array.from(words))).toBe(formatAddress(words))
			}
		}
	})

	it('of the address whose words are all zero are written, although that is what an unused place holds', () => {
		const texts = new AddressTexts()
		expect(texts.of(new Int32Array(4))).toBe('::')
		expect(texts.of(Int32Array.of(0, 0, 0xffff, 0))).toBe('0.0.0.0')
	})
})
