/**
 * Linux "cooked" header, version 1 (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html), offsets in bytes:
 *
 *      0                 2            4                    6             14             16
 *     | packet type (2) | ARPHRD (2) | address length (2) | address (8) | protocol (2) | payload
 *
 * The protocol is an EtherType, save for values below 0x0600.
 */

export const HEADER_BYTES = 16

/** Whether a whole header is there: the first thing to ask. */
export function isValid(_view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES
}

/** `PACKET_` value of linux/if_packet.h: who sent it to whom. */
export function packetType(view: DataView, at: number): number {
	return view.getUint16(at)
}

/** EtherType of what follows. */
export function protocol(view: DataView, at: number): number {
	return view.getUint16(at + 14)
}
