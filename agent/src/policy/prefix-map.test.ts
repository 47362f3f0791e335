import { type AddressWords, formatAddress, parseAddress } from '@ringfence/shared/net/address'
import { type Cidr, contains, networkOf, parseCidr } from '@ringfence/shared/net/cidr'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PrefixMap } from './prefix-map.ts'

test('an empty map finds nothing', () => {
	expect(find(new PrefixMap(0), '10.0.0.1')).toBe(-1)
})

test('the most specific network answers', () => {
	const map = mapOf(['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.3'])
	expect(find(map, '10.1.2.3')).toBe(3)
	expect(find(map, '10.1.2.4')).toBe(2)
	expect(find(map, '10.2.0.0')).toBe(1)
	expect(find(map, '192.0.2.1')).toBe(0)
})

test('networks of one family hold no address of the other', () => {
	const map = mapOf(['0.0.0.0/0', '::/0'])
	expect(find(map, '192.0.2.1')).toBe(0)
	expect(find(map, '2001:db8::1')).toBe(1)
	expect(find(mapOf(['::/0']), '192.0.2.1')).toBe(-1)
})

test('a network given twice keeps the later value', () => {
	const map = new PrefixMap(1)
	map.set(cidr('10.0.0.0/8'), 1)
	map.set(cidr('10.0.0.0/8'), 2)
	expect(find(map, '10.9.9.9')).toBe(2)
	expect(map.get(cidr('10.0.0.0/8'))).toBe(2)
	expect(map.get(cidr('10.0.0.0/9'))).toBe(-1)
})

test('more networks than announced are a bug of the caller', () => {
	const map = mapOf(['10.0.0.0/8'])
	expect(() => map.set(cidr('11.0.0.0/8'), 1)).toThrow(RangeError)
})

test('words may be signed or unsigned', () => {
	const map = mapOf(['255.255.0.0/16', 'fd00::/8'])
	expect(map.find(0, 0, 0xffff, 0xffff0001)).toBe(0)
	expect(map.find(0, 0, 0xffff, 0xffff0001 | 0)).toBe(0)
	expect(map.find(0xfd000000, 0, 0, 1)).toBe(1)
	expect(map.find(0xfd000000 | 0, 0, 0, 1)).toBe(1)
})

test('agrees with a scan of all networks', () => {
	const run = (networks: readonly Cidr[], addresses: readonly AddressWords[]) => {
		const map = new PrefixMap(networks.length)
		for (const [value, network] of networks.entries()) map.set(network, value)
		// Addresses inside a network, next to one, and anywhere.
		const near = networks.flatMap(({ words }): AddressWords[] => [
			words,
			[words[0], words[1], words[2], (words[3] ^ 1) >>> 0],
			[words[0], words[1], words[2], (words[3] ^ 0x80000000) >>> 0],
		])
		for (const words of [...near, ...addresses]) {
			const text = formatAddress(words)
			expect(find(map, text), text).toBe(scan(networks, words))
		}
	}
	fc.assert(fc.property(fc.array(networkArbitrary()), fc.array(addressArbitrary()), run))
})

/** Value of the longest network that holds the address, the last of equals. */
function scan(networks: readonly Cidr[], words: AddressWords): number {
	let best = -1
	for (const [value, network] of networks.entries()) {
		if (contains(network, words) && network.bits >= (networks[best]?.bits ?? -1)) best = value
	}
	return best
}

function addressArbitrary(): fc.Arbitrary<AddressWords> {
	const word = fc.oneof(
		fc.constantFrom(0, 1, 0xffff, 0x80000000, 0xffffffff),
		fc.integer({ min: 0, max: 0xffffffff }),
	)
	const v4 = word.map((last): AddressWords => [0, 0, 0xffff, last])
	return fc.oneof(v4, fc.tuple(word, word, word, word))
}

function networkArbitrary(): fc.Arbitrary<Cidr> {
	return fc.tuple(addressArbitrary(), fc.nat({ max: 128 })).map(([words, length]) => {
		const isV4 = words[0] === 0 && words[1] === 0 && words[2] === 0xffff
		const bits = isV4 ? 96 + (length % 33) : length
		return { words: networkOf(words, bits), bits }
	})
}

function mapOf(networks: readonly string[]): PrefixMap {
	const map = new PrefixMap(networks.length)
	for (const [value, text] of networks.entries()) map.set(cidr(text), value)
	return map
}

function cidr(text: string): Cidr {
	const parsed = parseCidr(text)
	if (!parsed) throw new Error(`${text} is not a network`)
	return parsed
}

function find(map: PrefixMap, text: string): number {
	const words = parseAddress(text)
	if (!words) throw new Error(`${text} is not an address`)
	return map.find(words[0], words[1], words[2], words[3])
}
