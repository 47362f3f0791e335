/**
 * VLAN tag as it stands after a type field that announces it (IEEE 802.1Q §9.6), offsets in bytes:
 *
 *      0         2          4
 *     | TCI (2) | type (2) | payload
 */

export const HEADER_BYTES = 4

/** Most tags read one after the other; a frame with more is malformed. Honest ones carry at most two (802.1ad). */
export const TAGS_MAX = 4

/** Whether a whole tag is there: the first thing to ask. */
export function isValid(_view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES
}

/** EtherType of what follows. */
export function type(view: DataView, at: number): number {
	return view.getUint16(at + 2)
}

/** Whether a type field announces a tag: 802.1Q, 802.1ad, and the 0x9100 that came before 802.1ad. */
export function isTag(etherType: number): boolean {
	return etherType === 0x8100 || etherType === 0x88a8 || etherType === 0x9100
}
