import * as icmp from '../packet/icmp.ts'
import { type Packet, PROTOCOL } from '../packet/packet.ts'
import type { Verdict } from './engine.ts'

const pass = (why: string): Verdict => Object.freeze({ action: 'pass', why })
const MULTICAST = pass('multicast')
const BROADCAST = pass('broadcast')
const LINK_LOCAL = pass('link-local')
const NEIGHBOUR_DISCOVERY = pass('neighbour discovery')

/**
 * Whether the packet belongs to the link alone, so that no policy applies: the verdict that says why, or undefined.
 * TCP is judged like any, also between link-local addresses and in a link-layer broadcast: neighbours on a bridge reach
 * each other's services that way, and it must not be a way around policy.
 */
export function localVerdict(packet: Packet): Verdict | undefined {
	if (packet.protocol === PROTOCOL.tcp) return undefined
	const verdict = packet.isV6 ? localV6(packet) : localV4(packet)
	if (verdict !== undefined) return verdict
	return packet.isToGroup ? BROADCAST : undefined
}

/**
 * 224.0.0.0/4 (RFC 5771), 255.255.255.255 (RFC 919 §7), 0.0.0.0 that asks for an address, and 169.254.0.0/16 (RFC 3927)
 * at both ends: with another source it is a service that clouds put there (metadata, names), behind a gateway.
 */
function localV4(packet: Packet): Verdict | undefined {
	const destination = packet.destination3
	if (destination >>> 28 === 0xe) return MULTICAST
	if (destination === -1) return BROADCAST
	if (destination >>> 16 === 0xa9fe && packet.source3 >>> 16 === 0xa9fe) return LINK_LOCAL
	return packet.source3 === 0 ? BROADCAST : undefined
}

/** ff00::/8 and fe80::/10 (RFC 4291 §2.4), `::` that asks for an address, neighbour discovery between any addresses. */
function localV6(packet: Packet): Verdict | undefined {
	if (packet.protocol === PROTOCOL.icmpv6 && icmp.isLinkService(packet.icmpType)) {
		return NEIGHBOUR_DISCOVERY
	}
	if (packet.destination0 >>> 24 === 0xff) return MULTICAST
	if (packet.destination0 >>> 22 === 0x3fa || packet.source0 >>> 22 === 0x3fa) return LINK_LOCAL
	return undefined
}
