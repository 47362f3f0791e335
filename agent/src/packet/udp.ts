/**
 * UDP header (RFC 768), offsets in bytes:
 *
 *      0                 2                      4            6              8
 *     | source port (2) | destination port (2) | length (2) | checksum (2) | data
 *
 * The length covers header and data; it is 0 in IPv6 jumbograms (RFC 2675 §4).
 */

export const HEADER_BYTES = 8

/** Whether a whole header is there and its length is possible: the first thing to ask. */
export function isValid(view: DataView, at: number, end: number): boolean {
	if (end - at < HEADER_BYTES) return false
	const length = totalBytes(view, at)
	return length === 0 || length >= HEADER_BYTES
}

export function sourcePort(view: DataView, at: number): number {
	return view.getUint16(at)
}

export function destinationPort(view: DataView, at: number): number {
	return view.getUint16(at + 2)
}

/** Header and data; 0 when they reach the end of the IP packet. */
export function totalBytes(view: DataView, at: number): number {
	return view.getUint16(at + 4)
}
