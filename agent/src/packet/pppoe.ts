/**
 * PPPoE session header with the PPP protocol behind it (RFC 2516 §4, §7; RFC 1661 §2), offsets in bytes:
 *
 *      0                          1          2                4            6              8
 *     | version, type (4 bits each) | code (1) | session id (2) | length (2) | protocol (2) | payload
 *
 * The length covers protocol and payload.
 */

export const HEADER_BYTES = 8

/** EtherType of the session stage; the discovery stage (0x8863) carries no packets. */
export const ETHER_TYPE = 0x8864

const PPP_IPV4 = 0x0021
const PPP_IPV6 = 0x0057

/** Whether a whole session header is there: version 1, type 1, code 0 (RFC 2516 §4). The first thing to ask. */
export function isValid(view: DataView, at: number, end: number): boolean {
	return end - at >= HEADER_BYTES && view.getUint16(at) === 0x1100
}

/** Whether an IPv4 packet follows (RFC 1332 §2.1). */
export function isIpv4(view: DataView, at: number): boolean {
	return view.getUint16(at + 6) === PPP_IPV4
}

/** Whether an IPv6 packet follows (RFC 5072 §3). */
export function isIpv6(view: DataView, at: number): boolean {
	return view.getUint16(at + 6) === PPP_IPV6
}
