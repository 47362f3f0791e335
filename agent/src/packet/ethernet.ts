/**
 * Ethernet II (IEEE 802.3 §3.2), offsets in bytes:
 *
 *      0                 6            12         14
 *     | destination (6) | source (6) | type (2) | payload
 *
 * A type below 0x0600 is a length: LLC, never IP here (IEEE 802.3 §3.2.6).
 */

export const HEADER_BYTES = 14

/** Whether a whole header is there: the first thing to ask. */
export function isValid(_view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES
}

/** EtherType of what follows. */
export function type(view: DataView, at: number): number {
	return view.getUint16(at + 12)
}

/** Whether the destination is a group: multicast or broadcast (IEEE 802.3 §3.2.3: lowest bit of the first octet). */
export function isToGroup(view: DataView, at: number): boolean {
	return (view.getUint8(at) & 1) === 1
}

/** First two octets of the source address. */
export function sourceHigh(view: DataView, at: number): number {
	return view.getUint16(at + 6)
}

/** Last four octets of the source address, as a signed word. */
export function sourceLow(view: DataView, at: number): number {
	return view.getInt32(at + 8)
}
