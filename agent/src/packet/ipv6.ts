/**
 * IPv6 header (RFC 8200 §3), offsets in bytes:
 *
 *      0                                       4                    6                 7               8             24
 *     | version, traffic class, flow label (4) | payload length (2) | next header (1) | hop limit (1) | source (16) | destination (16) |
 *
 * Extension headers (RFC 8200 §4): next header (1), length (1) in units of 8 bytes beyond the first 8; the Fragment header is
 * always 8 bytes, and the Authentication header counts units of 4 bytes beyond the first 8 (RFC 4302 §2.2).
 */

export const HEADER_BYTES = 40

/** Most extension headers walked; a packet with more is malformed. RFC 8200 §4.1 names seven places for them. */
export const EXTENSIONS_MAX = 8

export const FRAGMENT = 44
const AUTHENTICATION = 51

/** Whether a whole fixed header is there: the first thing to ask. */
export function isValid(view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES && view.getUint8(at) >>> 4 === 6
}

/** What follows the fixed header; 0 for segments of more than 64 KiB (RFC 2675 §3, and offload without the option). */
export function payloadBytes(view: DataView, at: number): number {
	return view.getUint16(at + 4)
}

export function nextHeader(view: DataView, at: number): number {
	return view.getUint8(at + 6)
}

/** One of four words of the source address, signed. */
export function sourceWord(view: DataView, at: number, word: 0 | 1 | 2 | 3): number {
	return view.getInt32(at + 8 + word * 4)
}

/** One of four words of the destination address, signed. */
export function destinationWord(view: DataView, at: number, word: 0 | 1 | 2 | 3): number {
	return view.getInt32(at + 24 + word * 4)
}

/** Whether a next-header value names an extension header that can be walked over (IANA "IPv6 Extension Header Types"). */
export function isExtension(header: number): boolean {
	switch (header) {
		case 0: // hop-by-hop options
		case 43: // routing
		case FRAGMENT:
		case AUTHENTICATION:
		case 60: // destination options
		case 135: // mobility
		case 139: // host identity
		case 140: // shim6
			return true
		default:
			return false
	}
}

/** Whether the first 8 bytes of an extension header are there: asked before the accessors below. */
export function isValidExtension(_view: DataView, at: number, end: number): boolean {
	return end - at >= 8
}

export function extensionNext(view: DataView, at: number): number {
	return view.getUint8(at)
}

/** Length of the extension header `header` that starts at `at`. */
export function extensionBytes(view: DataView, at: number, header: number): number {
	if (header === FRAGMENT) return 8
	const units = view.getUint8(at + 1)
	return header === AUTHENTICATION ? (units + 2) * 4 : (units + 1) * 8
}

/** Place of a fragment in its packet, in units of 8 bytes (RFC 8200 §4.5). */
export function fragmentOffset(view: DataView, at: number): number {
	return view.getUint16(at + 2) >>> 3
}

export function hasMoreFragments(view: DataView, at: number): boolean {
	return (view.getUint8(at + 3) & 1) === 1
}
