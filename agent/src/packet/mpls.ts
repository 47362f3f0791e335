/**
 * MPLS label stack entry (RFC 3032 §2.1), 4 bytes, most significant bits first:
 *
 *     | label (20 bits) | traffic class (3 bits) | bottom of stack (1 bit) | time to live (8 bits) |
 *
 * Nothing says what the bottom label carries: the first four bits of an IP packet are its version (RFC 4928 §2).
 */

export const ENTRY_BYTES = 4

/** Most entries read; a frame with more is malformed. Networks stack three or four. */
export const LABELS_MAX = 8

/** Whether a whole entry is there: the first thing to ask. */
export function isValid(_view: DataView, at: number, end: number): boolean {
	return end - at >= ENTRY_BYTES
}

/** Whether the entry is the last of the stack. */
export function isBottom(view: DataView, at: number): boolean {
	return (view.getUint8(at + 2) & 1) === 1
}

/** Whether a type field announces a label stack: unicast, or upstream-assigned (RFC 5332 §3). */
export function isStack(etherType: number): boolean {
	return etherType === 0x8847 || etherType === 0x8848
}
