const SEQUENCES = 4096

/** Random text, base64url without padding: 43 characters for 32 bytes. */
export function randomSecret(bytes = 32): string {
	return toBase64Url(crypto.getRandomValues(new Uint8Array(bytes)))
}

/** Random identifier of 16 lower-case letters and digits (80 bits): safe in paths, topics and composite tokens. */
export function randomId(): string {
	const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
	const bytes = crypto.getRandomValues(new Uint8Array(16))
	return Array.from(bytes, (byte) => alphabet.charAt(byte % 32)).join('')
}

/** Of the newest `timeOrderedId`: its millisecond, and its number within that. */
const newest = { ms: 0, sequence: 0 }

/**
 * A UUID that sorts by time, and by order of making within this process: 12 bits count within a millisecond
 * (RFC 9562 §5.7 and §6.2, method 1).
 */
export function timeOrderedId(now: number): string {
	const isSameMs = now <= newest.ms
	newest.sequence = isSameMs ? newest.sequence + 1 : 0
	newest.ms = Math.max(now, newest.ms) + Math.floor(newest.sequence / SEQUENCES)
	newest.sequence %= SEQUENCES
	const bytes = crypto.getRandomValues(new Uint8Array(16))
	const view = new DataView(bytes.buffer)
	view.setUint32(0, Math.floor(newest.ms / 65536))
	view.setUint16(4, newest.ms % 65536)
	view.setUint16(6, 0x7000 | newest.sequence)
	view.setUint8(8, (view.getUint8(8) & 0x3f) | 0x80)
	const hex = toHex(bytes)
	const cuts = [0, 8, 12, 16, 20, 32]
	return cuts
		.slice(1)
		.map((end, index) => hex.slice(cuts[index], end))
		.join('-')
}

/** `sha256` of the text's UTF-8 bytes, lower-case hexadecimal. */
export async function sha256Hex(text: string): Promise<string> {
	return toHex(
		new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))),
	)
}

/** Compares without telling by its duration where the texts differ. */
export function isEqualText(a: string, b: string): boolean {
	let difference = a.length ^ b.length
	for (let i = 0; i < a.length; i++)
		difference |= a.charCodeAt(i) ^ b.charCodeAt(i % (b.length || 1))
	return difference === 0
}

export function toBase64(bytes: Uint8Array): string {
	return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
}

/** @throws DOMException when the text is not base64 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
	return Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
}

export function toBase64Url(bytes: Uint8Array): string {
	return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

function toHex(bytes: Uint8Array): string {
	return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
