/**
 * Linux "cooked" header, version 2 (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html), offsets in bytes:
 *
 *      0              2              4                     8            10                11                   12
 *     | protocol (2) | reserved (2) | interface index (4) | ARPHRD (2) | packet type (1) | address length (1) | address (8) | payload
 */

export const HEADER_BYTES = 20

/** Whether a whole header is there: the first thing to ask. */
export function isValid(_view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES
}

/** `PACKET_` value of linux/if_packet.h: who sent it to whom. */
export function packetType(view: DataView, at: number): number {
	return view.getUint8(at + 10)
}

/** EtherType of what follows. */
export function protocol(view: DataView, at: number): number {
	return view.getUint16(at)
}
