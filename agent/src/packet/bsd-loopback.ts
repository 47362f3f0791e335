/**
 * BSD loopback header (https://www.tcpdump.org/linktypes/LINKTYPE_NULL.html): the address family as one word, in the byte
 * order of the machine that captured (`NULL`) or in network order (`LOOP`).
 *
 *      0            4
 *     | family (4) | payload
 */

export const HEADER_BYTES = 4

/** Whether a whole header is there: the first thing to ask. */
export function isValid(_view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES
}

/** The family. Families are small numbers, so a large one is one in the other byte order. */
export function family(view: DataView, at: number): number {
	const big = view.getUint32(at)
	return big <= 0xffff ? big : view.getUint32(at, true)
}

/** `AF_INET` is 2 everywhere. */
export function isIpv4(addressFamily: number): boolean {
	return addressFamily === 2
}

/** `AF_INET6`: 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on Darwin, 10 on Linux. */
export function isIpv6(addressFamily: number): boolean {
	return (
		addressFamily === 24 || addressFamily === 28 || addressFamily === 30 || addressFamily === 10
	)
}
