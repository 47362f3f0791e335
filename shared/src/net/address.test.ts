import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AddressWords, formatAddress, isV4, parseAddress } from './address.ts'

describe('text to address and back', () => {
	test.each([
		// RFC 4291 §2.2, forms 1 and 2.
		['ABCD:EF01:2345:6789:ABCD:EF01:2345:6789', 'abcd:ef01:2345:6789:abcd:ef01:2345:6789'],
		['2001:DB8:0:0:8:800:200C:417A', '2001:db8::8:800:200c:417a'],
		['2001:DB8::8:800:200C:417A', '2001:db8::8:800:200c:417a'],
		['FF01:0:0:0:0:0:0:101', 'ff01::101'],
		['FF01::101', 'ff01::101'],
		['0:0:0:0:0:0:0:1', '::1'],
		['0:0:0:0:0:0:0:0', '::'],
		// Form 3: an IPv4 address at the end; a mapped one is IPv4 (§2.5.5.2).
		['0:0:0:0:0:0:13.1.68.3', '::d01:4403'],
		['::13.1.68.3', '::d01:4403'],
		['0:0:0:0:0:FFFF:129.144.52.38', '129.144.52.38'],
		['::FFFF:129.144.52.38', '129.144.52.38'],
		['::ffff:8190:3426', '129.144.52.38'],
		['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
		// RFC 5952 §4.1: no leading zeros. §4.2.2: one group is not shortened. §4.2.3: the longest run, the first of equals.
		['2001:0db8::0001', '2001:db8::1'],
		['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
		['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
		['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
		['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
		['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
		['1:2:3:4:5:6::', '1:2:3:4:5:6::'],
		['::8', '::8'],
		['0.0.0.0', '0.0.0.0'],
		['255.255.255.255', '255.255.255.255'],
	])('%s is written %s', (text, canonical) => {
		const words = parseAddress(text)
		expect(words && formatAddress(words)).toBe(canonical)
		expect(parseAddress(canonical)).toEqual(words)
	})

	test('words are unsigned and in network order', () => {
		expect(parseAddress('192.0.2.1')).toEqual([0, 0, 0xffff, 0xc0000201])
		expect(parseAddress('fe80::ffff:1')).toEqual([0xfe800000, 0, 0, 0xffff0001])
	})

	test('every address is read back as it was written', () => {
		const run = (words: AddressWords) => {
			const text = formatAddress(words)
			expect(parseAddress(text)).toEqual(words)
			expect(text).toMatch(isV4(words) ? /^[0-9.]+$/ : /^[0-9a-f:]+$/)
		}
		fc.assert(fc.property(addressArbitrary(), run), { numRuns: 2_000 })
	})
})

describe('what is not one address', () => {
	test.each([
		...['', ' ', '10.0.0', '10.0.0.0.1', '10.0.0.256', '10.0.0.-1', '1e1.0.0.1', '10.0.0.1 '],
		// Leading zeros are octal to some readers (RFC 6943 §3.1.1).
		...['010.0.0.1', '10.0.0.00', '0x0a.0.0.1', '10.0.0.1/8', '167772161', '１0.0.0.1'],
		...[':', ':::', '::1::', '1::2::3', ':1', '1:', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9'],
		...['1:2:3:4:5:6:7:8::', '::1:2:3:4:5:6:7:8', '12345::', 'g::', '::1 ', '-1::', '0x1::'],
		...['fe80::1%eth0', '[::1]', '::1/128', '::ffff:1.2.3', '::1.2.3.4.5', '::256.0.0.1'],
		...['1.2.3.4::', '::1.2.3.4:5', '1.2.3.4::5', '1:2:3:4:5:6:7:1.2.3.4', '::ffff:01.2.3.4'],
	])('is refused: "%s"', (text) => {
		expect(parseAddress(text)).toBeUndefined()
	})

	test('no text makes the reader throw, and what it takes it can write', () => {
		const hostile = fc.oneof(
			fc.string({ unit: 'binary', maxLength: 60 }),
			fc.string({ unit: fc.constantFrom(...'0123456789abcdef:.'), maxLength: 60 }),
		)
		const run = (text: string) => {
			const words = parseAddress(text)
			if (words) expect(parseAddress(formatAddress(words))).toEqual(words)
		}
		fc.assert(fc.property(hostile, run), { numRuns: 5_000 })
	})
})

test('only mapped addresses are IPv4', () => {
	expect(isV4([0, 0, 0xffff, 0])).toBe(true)
	expect(isV4([0, 0, 0, 1])).toBe(false)
	expect(isV4([1, 0, 0xffff, 1])).toBe(false)
})

/** Addresses with many zero groups, where shortening happens, and all others. */
function addressArbitrary(): fc.Arbitrary<AddressWords> {
	const word = fc.oneof(
		fc.constantFrom(0, 0xffff, 0xffff0000, 1),
		fc.integer({ min: 0, max: 0xffffffff }),
	)
	const mapped = word.map((last): AddressWords => [0, 0, 0xffff, last])
	return fc.oneof(mapped, fc.tuple(word, word, word, word))
}
