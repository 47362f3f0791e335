/**
 * IP addresses as text and as four 32-bit words (IPv4 is IPv4-mapped, RFC 4291 §2.5.5.2), so that both families share one code path.
 */

/** An address in network order: `[0, 0, 0xffff, v4]` for IPv4. Words are unsigned. */
export type AddressWords = readonly [number, number, number, number]

/** The third word of an IPv4-mapped address. */
export const MAPPED_PREFIX = 0xffff

/**
 * Reads IPv4 dotted quad or IPv6 text (RFC 4291 §2.2, every `::` and embedded-IPv4 form, no zone, no prefix length).
 * @returns undefined when the text is not exactly one address
 */
export function parseAddress(text: string): AddressWords | undefined {
	return text.includes(':') ? parseV6(text) : parseV4(text)
}

/** Writes an address as text: dotted quad for IPv4-mapped, RFC 5952 canonical form otherwise. */
export function formatAddress(words: AddressWords): string {
	const [a, b, c, d] = words
	if (a === 0 && b === 0 && c === MAPPED_PREFIX) return formatV4(d)
	return formatV6(words)
}

/** Whether the address is IPv4 (held as IPv4-mapped). */
export function isV4(words: AddressWords): boolean {
	return words[0] === 0 && words[1] === 0 && words[2] === MAPPED_PREFIX
}

function parseV4(text: string): AddressWords | undefined {
	const parts = text.split('.')
	if (parts.length !== 4) return undefined
	let value = 0
	for (const part of parts) {
		if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return undefined
		const octet = Number(part)
		if (octet > 255) return undefined
		value = value * 256 + octet
	}
	return [0, 0, MAPPED_PREFIX, value]
}

function parseV6(text: string): AddressWords | undefined {
	if (text.length > 45) return undefined
	const halves = text.split('::')
	if (halves.length > 2) return undefined
	const isShortened = halves.length === 2
	const head = hextets(halves[0] ?? '', !isShortened)
	const tail = isShortened ? hextets(halves[1] ?? '', true) : []
	if (!head || !tail) return undefined
	const missing = 8 - head.length - tail.length
	if (isShortened ? missing < 1 : missing !== 0) return undefined
	const all = [...head, ...new Array<number>(Math.max(missing, 0)).fill(0), ...tail]
	const word = (i: number) => (all[i] ?? 0) * 65536 + (all[i + 1] ?? 0)
	return [word(0), word(2), word(4), word(6)]
}

/** The 16-bit groups of one side of `::`; an embedded IPv4 address may only end the whole (RFC 4291 §2.2, form 3). */
function hextets(side: string, isEnd: boolean): number[] | undefined {
	if (side === '') return []
	const parts = side.split(':')
	const groups: number[] = []
	for (const [index, part] of parts.entries()) {
		if (part.includes('.')) {
			const v4 = isEnd && index === parts.length - 1 ? parseV4(part) : undefined
			if (!v4) return undefined
			groups.push(Math.floor(v4[3] / 65536), v4[3] % 65536)
		} else {
			if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined
			groups.push(Number.parseInt(part, 16))
		}
	}
	return groups
}

function formatV4(value: number): string {
	return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`
}

function formatV6(words: AddressWords): string {
	const groups = words.flatMap((word) => [word >>> 16, word & 0xffff])
	const run = longestZeroRun(groups)
	const hex = (list: number[]) => list.map((group) => group.toString(16)).join(':')
	if (run.length < 2) return hex(groups)
	return `${hex(groups.slice(0, run.at))}::${hex(groups.slice(run.at + run.length))}`
}

/** RFC 5952 §4.2.3: the longest run of zero groups, the first of equals. */
function longestZeroRun(groups: number[]): { at: number; length: number } {
	let best = { at: 0, length: 0 }
	let length = 0
	for (const [index, group] of groups.entries()) {
		length = group === 0 ? length + 1 : 0
		if (length > best.length) best = { at: index - length + 1, length }
	}
	return best
}
