import * as bsdLoopback from './bsd-loopback.ts'
import * as ethernet from './ethernet.ts'
import * as icmp from './icmp.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { readIpv6Addresses } from './ipv6-addresses.ts'
import * as linuxCooked from './linux-cooked.ts'
import * as linuxCookedV2 from './linux-cooked-v2.ts'
import * as mpls from './mpls.ts'
import { type Packet, PROTOCOL, WAY } from './packet.ts'
import * as pppoe from './pppoe.ts'
import * as tcp from './tcp.ts'
import * as udp from './udp.ts'
import * as vlan from './vlan.ts'

/** What became of a frame. `whole` and `otherIp` fill the packet; the malformed ones fill `why`. */
export const OUTCOME = {
	whole: 0,
	/** IP, but neither TCP, UDP nor ICMP: addresses and protocol are filled, ports are 0. */
	otherIp: 1,
	/** A fragment that is not the first: addresses and protocol are filled. */
	fragment: 2,
	/** Not IP, or a link type that is not known. */
	otherLink: 3,
	malformedLink: 4,
	malformedIp: 5,
	malformedTransport: 6,
} as const

export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME]

/** Bytes of one frame and what the capture knows about them. */
export interface FrameBytes {
	readonly view: DataView
	readonly at: number
	readonly end: number
	readonly wireBytes: number
	readonly linkType: number
	/** `PACKET_` value of linux/if_packet.h, where the kernel tells it beside the frame. */
	readonly packetType?: number
}

const ETHER_TYPE = { ipv4: 0x0800, ipv6: 0x86dd } as const

/** `LINKTYPE_` values (https://www.tcpdump.org/linktypes.html). */
const LINK_TYPE = {
	null: 0,
	ethernet: 1,
	/** Raw IP, as some systems number it in files. */
	rawBsd: 12,
	rawOpenBsd: 14,
	raw: 101,
	loop: 108,
	linuxCooked: 113,
	/** Raw IP of one family. */
	ipv4: 228,
	ipv6: 229,
	linuxCookedV2: 276,
} as const

/** linux/if_packet.h */
const PACKET_BROADCAST = 1
const PACKET_MULTICAST = 2
const PACKET_OTHERHOST = 3
const PACKET_OUTGOING = 4

/** Reads the headers of one frame into `packet`. Reads nothing outside `[frame.at, frame.end)`. */
export function decode(frame: FrameBytes, packet: Packet): Outcome {
	const link = decodeLink(frame, packet)
	if (link !== OUTCOME.whole) return link
	if (packet.etherType === ETHER_TYPE.ipv4) return decodeIpv4(frame, packet)
	if (packet.etherType === ETHER_TYPE.ipv6) return decodeIpv6(frame, packet)
	return decodeEncapsulated(frame, packet)
}

/** IP behind one more header of the link. */
function decodeEncapsulated(frame: FrameBytes, packet: Packet): Outcome {
	let inner: Outcome = OUTCOME.otherLink
	if (packet.etherType === pppoe.ETHER_TYPE) inner = decodePppoe(frame, packet)
	else if (mpls.isStack(packet.etherType)) inner = decodeMpls(frame, packet)
	if (inner !== OUTCOME.whole) return inner
	return packet.etherType === ETHER_TYPE.ipv4
		? decodeIpv4(frame, packet)
		: decodeIpv6(frame, packet)
}

function decodeLink(frame: FrameBytes, packet: Packet): Outcome {
	packet.way = WAY.unknown
	packet.isToGroup = false
	switch (frame.linkType) {
		case LINK_TYPE.ethernet:
			return decodeEthernet(frame, packet)
		case LINK_TYPE.raw:
		case LINK_TYPE.rawBsd:
		case LINK_TYPE.rawOpenBsd:
		case LINK_TYPE.ipv4:
		case LINK_TYPE.ipv6:
			return decodeRaw(frame, packet)
		case LINK_TYPE.linuxCooked:
			return decodeCooked(frame, packet)
		case LINK_TYPE.linuxCookedV2:
			return decodeCookedV2(frame, packet)
		case LINK_TYPE.null:
		case LINK_TYPE.loop:
			return decodeLoopback(frame, packet)
		default:
			return OUTCOME.otherLink
	}
}

function decodeEthernet({ view, at, end, packetType }: FrameBytes, packet: Packet): Outcome {
	if (!ethernet.isValid(view, at, end)) return malformedLink(packet, 'ethernet header')
	if (packetType !== undefined) packet.way = wayOf(packetType)
	packet.isToGroup = ethernet.isToGroup(view, at)
	packet.networkAt = at + ethernet.HEADER_BYTES
	packet.etherType = ethernet.type(view, at)
	return vlan.isTag(packet.etherType) ? decodeVlan(view, end, packet) : OUTCOME.whole
}

/** Walks over VLAN tags from `packet.networkAt`. */
function decodeVlan(view: DataView, end: number, packet: Packet): Outcome {
	for (let tags = 0; vlan.isTag(packet.etherType); tags++) {
		const at = packet.networkAt
		if (tags === vlan.TAGS_MAX) return malformedLink(packet, 'too many vlan tags')
		if (!vlan.isValid(view, at, end)) return malformedLink(packet, 'vlan tag')
		packet.etherType = vlan.type(view, at)
		packet.networkAt = at + vlan.HEADER_BYTES
	}
	return OUTCOME.whole
}

function decodePppoe({ view, end }: FrameBytes, packet: Packet): Outcome {
	const at = packet.networkAt
	if (!pppoe.isValid(view, at, end)) return malformedLink(packet, 'pppoe header')
	const isIpv4 = pppoe.isIpv4(view, at)
	packet.networkAt = at + pppoe.HEADER_BYTES
	packet.etherType = isIpv4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6
	return isIpv4 || pppoe.isIpv6(view, at) ? OUTCOME.whole : OUTCOME.otherLink
}

/** Walks over the label stack from `packet.networkAt`. */
function decodeMpls({ view, end }: FrameBytes, packet: Packet): Outcome {
	let at = packet.networkAt
	let isBottom = false
	for (let labels = 0; !isBottom; labels++) {
		if (labels === mpls.LABELS_MAX) return malformedLink(packet, 'too many mpls labels')
		if (!mpls.isValid(view, at, end)) return malformedLink(packet, 'mpls label')
		isBottom = mpls.isBottom(view, at)
		at += mpls.ENTRY_BYTES
	}
	packet.networkAt = at
	return decodeVersion(view, end, packet)
}

function decodeRaw({ view, at, end }: FrameBytes, packet: Packet): Outcome {
	packet.networkAt = at
	return decodeVersion(view, end, packet)
}

/** Where nothing announces the family, the first four bits of the packet tell it. */
function decodeVersion(view: DataView, end: number, packet: Packet): Outcome {
	const at = packet.networkAt
	if (at >= end) return malformedLink(packet, 'empty frame')
	const version = view.getUint8(at) >>> 4
	packet.etherType = version === 4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6
	return version === 4 || version === 6 ? OUTCOME.whole : OUTCOME.otherLink
}

function decodeCooked({ view, at, end }: FrameBytes, packet: Packet): Outcome {
	if (!linuxCooked.isValid(view, at, end)) return malformedLink(packet, 'cooked header')
	setPacketType(packet, linuxCooked.packetType(view, at))
	packet.networkAt = at + linuxCooked.HEADER_BYTES
	packet.etherType = linuxCooked.protocol(view, at)
	return decodeVlan(view, end, packet)
}

function decodeCookedV2({ view, at, end }: FrameBytes, packet: Packet): Outcome {
	if (!linuxCookedV2.isValid(view, at, end)) return malformedLink(packet, 'cooked header')
	setPacketType(packet, linuxCookedV2.packetType(view, at))
	packet.networkAt = at + linuxCookedV2.HEADER_BYTES
	packet.etherType = linuxCookedV2.protocol(view, at)
	return decodeVlan(view, end, packet)
}

function decodeLoopback({ view, at, end }: FrameBytes, packet: Packet): Outcome {
	if (!bsdLoopback.isValid(view, at, end)) return malformedLink(packet, 'loopback header')
	const family = bsdLoopback.family(view, at)
	packet.networkAt = at + bsdLoopback.HEADER_BYTES
	packet.etherType = bsdLoopback.isIpv4(family) ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6
	const isIp = bsdLoopback.isIpv4(family) || bsdLoopback.isIpv6(family)
	return isIp ? OUTCOME.whole : OUTCOME.otherLink
}

function setPacketType(packet: Packet, packetType: number): void {
	packet.isToGroup = packetType === PACKET_BROADCAST || packetType === PACKET_MULTICAST
	packet.way = wayOf(packetType)
}

function wayOf(packetType: number): number {
	if (packetType === PACKET_OUTGOING) return WAY.leaving
	return packetType === PACKET_OTHERHOST ? WAY.passing : WAY.arriving
}

function decodeIpv4(frame: FrameBytes, packet: Packet): Outcome {
	const { view } = frame
	const at = packet.networkAt
	if (!ipv4.isValid(view, at, frame.end)) return malformedIp(packet, 'ipv4 header')
	const total = ipv4.totalBytes(view, at)
	const wireEnd = frame.at + frame.wireBytes
	packet.ipEnd = total === 0 ? wireEnd : at + total
	if (packet.ipEnd > wireEnd) return malformedIp(packet, 'ipv4 total length beyond the frame')
	packet.isV6 = false
	packet.source3 = ipv4.source(view, at)
	packet.destination3 = ipv4.destination(view, at)
	packet.protocol = ipv4.protocol(view, at)
	if (ipv4.fragmentOffset(view, at) !== 0) return OUTCOME.fragment
	packet.isFirstFragment = ipv4.hasMoreFragments(view, at)
	return decodeTransport(frame, packet, at + ipv4.headerBytes(view, at))
}

function decodeIpv6(frame: FrameBytes, packet: Packet): Outcome {
	const { view } = frame
	const at = packet.networkAt
	if (!ipv6.isValid(view, at, frame.end)) return malformedIp(packet, 'ipv6 header')
	const payload = ipv6.payloadBytes(view, at)
	const wireEnd = frame.at + frame.wireBytes
	packet.ipEnd = payload === 0 ? wireEnd : at + ipv6.HEADER_BYTES + payload
	if (packet.ipEnd > wireEnd) return malformedIp(packet, 'ipv6 payload length beyond the frame')
	packet.isV6 = true
	readIpv6Addresses(view, at, packet)
	packet.protocol = ipv6.nextHeader(view, at)
	packet.isFirstFragment = false
	const next = at + ipv6.HEADER_BYTES
	if (ipv6.isExtension(packet.protocol)) return decodeExtensions(frame, packet, next)
	return decodeTransport(frame, packet, next)
}

/** Walks over IPv6 extension headers; `packet.protocol` names the one at `start`. */
function decodeExtensions(frame: FrameBytes, packet: Packet, start: number): Outcome {
	const { view } = frame
	const end = Math.min(frame.end, packet.ipEnd)
	let at = start
	for (let count = 0; ipv6.isExtension(packet.protocol); count++) {
		if (count === ipv6.EXTENSIONS_MAX) return malformedIp(packet, 'too many ipv6 extensions')
		if (!ipv6.isValidExtension(view, at, end)) return malformedIp(packet, 'ipv6 extension')
		const header = packet.protocol
		packet.protocol = ipv6.extensionNext(view, at)
		if (header === ipv6.FRAGMENT) {
			if (ipv6.fragmentOffset(view, at) !== 0) return OUTCOME.fragment
			packet.isFirstFragment = ipv6.hasMoreFragments(view, at)
		}
		at += ipv6.extensionBytes(view, at, header)
	}
	if (at > packet.ipEnd) return malformedIp(packet, 'ipv6 extension beyond the packet')
	return decodeTransport(frame, packet, at)
}

function decodeTransport(frame: FrameBytes, packet: Packet, at: number): Outcome {
	packet.tcpFlags = 0
	if (packet.protocol === PROTOCOL.tcp) return decodeTcp(frame, packet, at)
	if (packet.protocol === PROTOCOL.udp) return decodeUdp(frame, packet, at)
	if (packet.protocol === (packet.isV6 ? PROTOCOL.icmpv6 : PROTOCOL.icmp)) {
		return decodeIcmp(frame, packet, at)
	}
	packet.sourcePort = 0
	packet.destinationPort = 0
	return OUTCOME.otherIp
}

function decodeTcp(frame: FrameBytes, packet: Packet, at: number): Outcome {
	const { view } = frame
	const end = Math.min(frame.end, packet.ipEnd)
	if (!tcp.isValid(view, at, end)) return malformedTransport(packet, 'tcp header')
	packet.sourcePort = tcp.sourcePort(view, at)
	packet.destinationPort = tcp.destinationPort(view, at)
	packet.sequence = tcp.sequence(view, at)
	packet.acknowledgment = tcp.acknowledgment(view, at)
	packet.tcpFlags = tcp.flags(view, at)
	const payloadAt = at + tcp.headerBytes(view, at)
	setPayload(packet, payloadAt, packet.isFirstFragment ? payloadAt : packet.ipEnd, end)
	return OUTCOME.whole
}

function decodeUdp(frame: FrameBytes, packet: Packet, at: number): Outcome {
	const { view } = frame
	const end = Math.min(frame.end, packet.ipEnd)
	if (!udp.isValid(view, at, end)) return malformedTransport(packet, 'udp header')
	const total = udp.totalBytes(view, at)
	if (total === 0 && !packet.isV6) return malformedTransport(packet, 'udp length of 0')
	const wireEnd = total === 0 ? packet.ipEnd : at + total
	const payloadAt = at + udp.HEADER_BYTES
	packet.sourcePort = udp.sourcePort(view, at)
	packet.destinationPort = udp.destinationPort(view, at)
	if (packet.isFirstFragment) setPayload(packet, payloadAt, payloadAt, end)
	else if (wireEnd > packet.ipEnd) {
		return malformedTransport(packet, 'udp length beyond the ip packet')
	} else setPayload(packet, payloadAt, wireEnd, end)
	return OUTCOME.whole
}

function decodeIcmp(frame: FrameBytes, packet: Packet, at: number): Outcome {
	const { view } = frame
	const end = Math.min(frame.end, packet.ipEnd)
	if (!icmp.isValid(view, at, end)) return malformedTransport(packet, 'icmp header')
	const type = icmp.type(view, at)
	const echoType = icmp.echoType(packet.isV6)
	packet.icmpType = type
	if (type === echoType) {
		packet.sourcePort = icmp.identifier(view, at)
		packet.destinationPort = type
	} else if (type === icmp.echoReplyType(packet.isV6)) {
		packet.sourcePort = echoType
		packet.destinationPort = icmp.identifier(view, at)
	} else {
		packet.sourcePort = icmp.code(view, at)
		packet.destinationPort = type
	}
	setPayload(packet, at + icmp.HEADER_BYTES, packet.ipEnd, end)
	return OUTCOME.whole
}

/** Payload from `at` to `wireEnd`, of which the bytes before `end` were captured. */
function setPayload(packet: Packet, at: number, wireEnd: number, end: number): void {
	packet.payloadAt = at
	packet.payloadEnd = Math.min(wireEnd, end)
	packet.payloadBytes = wireEnd - at
}

function malformedLink(packet: Packet, why: string): Outcome {
	packet.why = why
	return OUTCOME.malformedLink
}

function malformedIp(packet: Packet, why: string): Outcome {
	packet.why = why
	return OUTCOME.malformedIp
}

function malformedTransport(packet: Packet, why: string): Outcome {
	packet.why = why
	return OUTCOME.malformedTransport
}
