import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AddressWords, parseAddress } from './address.ts'
import { contains, formatCidr, networkOf, networkOfInterface, parseCidr } from './cidr.ts'

describe('networks in text', () => {
	test.each([
		['10.0.0.0/8', '10.0.0.0/8', 104],
		['0.0.0.0/0', '0.0.0.0/0', 96],
		['192.0.2.1', '192.0.2.1/32', 128],
		['192.0.2.1/32', '192.0.2.1/32', 128],
		['::/0', '::/0', 0],
		['2001:DB8::/32', '2001:db8::/32', 32],
		['fe80::/10', 'fe80::/10', 10],
		['::1', '::1/128', 128],
		['2001:db8:0:0:8000::/65', '2001:db8:0:0:8000::/65', 65],
	])('%s is %s', (text, canonical, bits) => {
		const cidr = parseCidr(text)
		expect(cidr?.bits).toBe(bits)
		expect(cidr && formatCidr(cidr)).toBe(canonical)
		expect(parseCidr(canonical)).toEqual(cidr)
	})

	test.each([
		...['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/08', '10.0.0.0/8 '],
		...['10.0.0.0/8/8', '/8', '', '10.0.0.0/1e1', '10.0.0.0/0x8', '10.0.0.0/8.0', 'x/8'],
		// Host bits set.
		...['10.0.0.1/8', '10.0.0.1/31', '128.0.0.0/0', '::1/127', '2001:db8::/28'],
	])('is refused: "%s"', (text) => {
		expect(parseCidr(text)).toBeUndefined()
	})

	test('every network is read back as it was written', () => {
		const run = (words: AddressWords, length: number) => {
			const isV4 = words[0] === 0 && words[1] === 0 && words[2] === 0xffff
			const bits = isV4 ? 96 + (length % 33) : length
			const cidr = { words: networkOf(words, bits), bits }
			expect(parseCidr(formatCidr(cidr))).toEqual(cidr)
		}
		fc.assert(fc.property(addressArbitrary(), fc.nat({ max: 128 }), run), { numRuns: 2_000 })
	})
})

describe('membership', () => {
	test.each([
		['10.0.0.0/8', '10.255.255.255', true],
		['10.0.0.0/8', '11.0.0.0', false],
		['10.0.0.4/31', '10.0.0.5', true],
		['10.0.0.4/31', '10.0.0.6', false],
		['128.0.0.0/1', '255.0.0.1', true],
		['128.0.0.0/1', '127.255.255.255', false],
		['0.0.0.0/0', '203.0.113.1', true],
		['fd00::/8', 'fdff::1', true],
		['fd00::/8', 'fc00::1', false],
		['2001:db8:0:0:8000::/65', '2001:db8::8000:0:0:1', true],
		['2001:db8:0:0:8000::/65', '2001:db8::7fff:0:0:1', false],
		// The families are apart.
		['0.0.0.0/0', '::1', false],
		['::/0', '2001:db8::1', true],
		['::/0', '10.0.0.1', false],
		['::/16', '10.0.0.1', false],
	])('%s holds %s: %s', (network, address, isInside) => {
		const cidr = parseCidr(network)
		const words = parseAddress(address)
		expect(cidr && words && contains(cidr, words)).toBe(isInside)
	})

	test('an address is inside its own networks, and its neighbour beyond the last bit is not', () => {
		const run = (words: AddressWords, length: number) => {
			const isV4 = words[0] === 0 && words[1] === 0 && words[2] === 0xffff
			const bits = isV4 ? 97 + (length % 32) : 1 + (length % 128)
			const cidr = { words: networkOf(words, bits), bits }
			expect(contains(cidr, words)).toBe(true)
			expect(contains(cidr, flip(words, bits - 1))).toBe(false)
			if (bits < 128) expect(contains(cidr, flip(words, bits))).toBe(true)
		}
		const v4 = fc.integer({ min: 0, max: 0xffffffff }).map((w): AddressWords => [0, 0, 0xffff, w])
		const word = fc.integer({ min: 0x10000, max: 0xffffffff })
		fc.assert(
			fc.property(fc.oneof(v4, fc.tuple(word, word, word, word)), fc.nat({ max: 127 }), run),
			{ numRuns: 2_000 },
		)
	})
})

describe('the network of an interface', () => {
	test.each([
		['10.0.0.5/24', '10.0.0.0/24'],
		['10.0.0.5', '10.0.0.5/32'],
		['10.0.0.5/0', '0.0.0.0/0'],
		['fd00::5/64', 'fd00::/64'],
		['fe80::1/10', 'fe80::/10'],
	])('%s is in %s', (text, network) => {
		const cidr = networkOfInterface(text)
		expect(cidr && formatCidr(cidr)).toBe(network)
	})

	test.each([
		...['10.0.0.5/', '10.0.0.5/ 8', '10.0.0.5/1e1', '10.0.0.5/0x8', '10.0.0.5/8.0', '10.0.0.5/08'],
		...['10.0.0.5/33', 'fd00::5/129', 'fd00::5/-1', 'eth0/24', '/24', ''],
	])('is refused: "%s"', (text) => {
		expect(networkOfInterface(text)).toBeUndefined()
	})
})

function flip(words: AddressWords, bit: number): AddressWords {
	const flipped = words.map((word, index) =>
		index === bit >>> 5 ? (word ^ (1 << (31 - (bit & 31)))) >>> 0 : word,
	)
	const [a = 0, b = 0, c = 0, d = 0] = flipped
	return [a, b, c, d]
}

function addressArbitrary(): fc.Arbitrary<AddressWords> {
	const word = fc.integer({ min: 0, max: 0xffffffff })
	const v4 = word.map((last): AddressWords => [0, 0, 0xffff, last])
	return fc.oneof(v4, fc.tuple(word, word, word, word))
}
