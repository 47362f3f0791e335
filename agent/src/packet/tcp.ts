/**
 * TCP header (RFC 9293 §3.1), offsets in bytes:
 *
 *      0                 2                      4                     8
 *     | source port (2) | destination port (2) | sequence number (4) | acknowledgment number (4) |
 *      12                     13          14           16             18                   20
 *     | data offset, reserved | flags (1) | window (2) | checksum (2) | urgent pointer (2) | options up to 4 × data offset
 */

const HEADER_BYTES_MIN = 20

export const FIN = 0x01
export const SYN = 0x02
export const RST = 0x04
export const ACK = 0x10

/** Whether a whole header is there, options included: the first thing to ask. */
export function isValid(view: DataView, at: number, end: number): boolean {
	if (end - at < HEADER_BYTES_MIN) return false
	const header = headerBytes(view, at)
	return header >= HEADER_BYTES_MIN && header <= end - at
}

export function sourcePort(view: DataView, at: number): number {
	return view.getUint16(at)
}

export function destinationPort(view: DataView, at: number): number {
	return view.getUint16(at + 2)
}

/** Sequence number as a signed word: differences of two, cut to 32 bits, order them (RFC 9293 §3.4). */
export function sequence(view: DataView, at: number): number {
	return view.getInt32(at + 4)
}

/** Acknowledgment number as a signed word; meaningless without the ACK flag. */
export function acknowledgment(view: DataView, at: number): number {
	return view.getInt32(at + 8)
}

export function headerBytes(view: DataView, at: number): number {
	return (view.getUint8(at + 12) >>> 4) << 2
}

export function flags(view: DataView, at: number): number {
	return view.getUint8(at + 13)
}
