import { type AddressWords, formatAddress, isV4, parseAddress } from './address.ts'

/** A network: `words` has all host bits zero; `bits` counts from the front of the 128-bit (mapped) form, so an IPv4 /24 has 120. */
export interface Cidr {
	readonly words: AddressWords
	readonly bits: number
}

/** Bits in front of an IPv4 address in its mapped form. */
const V4_PREFIX_BITS = 96

/** A prefix length in decimal, without leading zeros. */
const LENGTH = /^(0|[1-9][0-9]{0,2})$/

/**
 * Reads `address` or `address/length`; a bare address is a network of one.
 * @returns undefined when the text is not a network, or has host bits set
 */
export function parseCidr(text: string): Cidr | undefined {
	const slash = text.indexOf('/')
	const words = parseAddress(slash < 0 ? text : text.slice(0, slash))
	if (!words) return undefined
	const familyBits = isV4(words) ? 32 : 128
	const length = slash < 0 ? String(familyBits) : text.slice(slash + 1)
	if (!LENGTH.test(length) || Number(length) > familyBits) return undefined
	const bits = 128 - familyBits + Number(length)
	const network = networkOf(words, bits)
	return network.every((word, i) => word === words[i]) ? { words: network, bits } : undefined
}

/** Writes a network in the form `parseCidr` reads, always with its prefix length. */
export function formatCidr({ words, bits }: Cidr): string {
	return `${formatAddress(words)}/${isV4(words) && bits >= V4_PREFIX_BITS ? bits - V4_PREFIX_BITS : bits}`
}

/** The address with all bits after the first `bits` cleared. */
export function networkOf(words: AddressWords, bits: number): AddressWords {
	const masked = (word: number, index: number) => {
		const keep = Math.min(Math.max(bits - index * 32, 0), 32)
		return keep === 0 ? 0 : (word & (-1 << (32 - keep))) >>> 0
	}
	return [masked(words[0], 0), masked(words[1], 1), masked(words[2], 2), masked(words[3], 3)]
}

/** Whether `words` lies inside the network. Families are apart: `::/0` holds no IPv4 address, mapped or not. */
export function contains(cidr: Cidr, words: AddressWords): boolean {
	if (isV4(words) && cidr.bits < V4_PREFIX_BITS) return false
	const network = networkOf(words, cidr.bits)
	return network.every((word, i) => word === cidr.words[i])
}

/** The network an interface address (`10.0.0.5/24`, host bits set) belongs to; undefined when the text is not one. */
export function networkOfInterface(text: string): Cidr | undefined {
	const slash = text.indexOf('/')
	const words = parseAddress(slash < 0 ? text : text.slice(0, slash))
	if (!words) return undefined
	const familyBits = isV4(words) ? 32 : 128
	const length = slash < 0 ? String(familyBits) : text.slice(slash + 1)
	if (!LENGTH.test(length) || Number(length) > familyBits) return undefined
	const bits = 128 - familyBits + Number(length)
	return { words: networkOf(words, bits), bits }
}
