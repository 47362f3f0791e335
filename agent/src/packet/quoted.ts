import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { readIpv6Addresses } from './ipv6-addresses.ts'
import { type Packet, PROTOCOL } from './packet.ts'

/** Ports stand in the first 4 bytes of TCP and UDP; an error quotes at least 8 bytes behind the IP header (RFC 792). */
const PORTS_BYTES = 4

/**
 * Reads the packet that an ICMP error quotes (RFC 792, RFC 4443 §2.4), as far as it tells the session: addresses,
 * protocol and ports. Fills `quoted` and returns true for TCP and UDP whose ports are there.
 */
export function readQuoted(view: DataView, packet: Packet, quoted: Packet): boolean {
	const { payloadAt: at, payloadEnd: end } = packet
	quoted.isV6 = packet.isV6
	const transportAt = packet.isV6
		? readIpv6(view, at, end, quoted)
		: readIpv4(view, at, end, quoted)
	const hasPorts = quoted.protocol === PROTOCOL.tcp || quoted.protocol === PROTOCOL.udp
	if (transportAt < 0 || !hasPorts || transportAt + PORTS_BYTES > end) return false
	quoted.sourcePort = view.getUint16(transportAt)
	quoted.destinationPort = view.getUint16(transportAt + 2)
	return true
}

/** Where the transport header is; -1 when there is no header of the family, or a fragment that is not the first. */
function readIpv4(view: DataView, at: number, end: number, quoted: Packet): number {
	if (!ipv4.isValid(view, at, end) || ipv4.fragmentOffset(view, at) !== 0) return -1
	quoted.source3 = ipv4.source(view, at)
	quoted.destination3 = ipv4.destination(view, at)
	quoted.protocol = ipv4.protocol(view, at)
	return at + ipv4.headerBytes(view, at)
}

/** Extension headers are not followed: such an error stands for itself. */
function readIpv6(view: DataView, at: number, end: number, quoted: Packet): number {
	if (!ipv6.isValid(view, at, end)) return -1
	readIpv6Addresses(view, at, quoted)
	quoted.protocol = ipv6.nextHeader(view, at)
	return at + ipv6.HEADER_BYTES
}
