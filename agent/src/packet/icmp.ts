/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443 §2.1) header, offsets in bytes:
 *
 *      0          1          2              4                   6
 *     | type (1) | code (1) | checksum (2) | identifier (2)    | sequence (2) |
 *
 * Identifier and sequence stand in echo messages; every other type defined for either also has 4 bytes there.
 */

export const HEADER_BYTES = 8

const ECHO_REPLY = 0
const ECHO = 8
const ECHO_V6 = 128
const ECHO_REPLY_V6 = 129

/** Whether the 8 bytes that every message has are there: the first thing to ask. */
export function isValid(_view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES
}

export function type(view: DataView, at: number): number {
	return view.getUint8(at)
}

export function code(view: DataView, at: number): number {
	return view.getUint8(at + 1)
}

/** Identifier of an echo message. */
export function identifier(view: DataView, at: number): number {
	return view.getUint16(at + 4)
}

/** Type of an echo request in the family. */
export function echoType(isV6: boolean): number {
	return isV6 ? ECHO_V6 : ECHO
}

/** Type of an echo reply in the family. */
export function echoReplyType(isV6: boolean): number {
	return isV6 ? ECHO_REPLY_V6 : ECHO_REPLY
}

/** Whether the type reports an error and quotes the packet: RFC 792 and RFC 1122 §3.2.2; below 128 for ICMPv6 (RFC 4443 §2.1). */
export function isError(isV6: boolean, its: number): boolean {
	return isV6 ? its < 128 : its === 3 || its === 4 || its === 11 || its === 12
}

/** Whether an ICMPv6 type serves only the link: multicast listeners (RFC 2710, RFC 3810) and neighbour discovery (RFC 4861). */
export function isLinkService(icmpv6Type: number): boolean {
	return (icmpv6Type >= 130 && icmpv6Type <= 137) || icmpv6Type === 143
}
