/**
 * Routing netlink messages (`linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`,
 * `linux/netconf.h`), host byte order.
 *
 * ```
 * nlmsghdr:  0 length  4 type(u16)  6 flags(u16)  8 sequence  12 port  16 body, padded to 4
 * ifinfomsg: 0 family(u8)  2 type(u16)  4 index  8 flags  12 change  16 attributes
 * ifaddrmsg: 0 family(u8)  1 prefix length(u8)  2 flags(u8)  3 scope(u8)  4 index  8 attributes
 * netconfmsg: 0 family(u8)  4 attributes
 * rtattr:    0 length(u16)  2 type(u16)  4 value, padded to 4
 * ```
 */
import { endianness } from 'node:os'
import { type AddressWords, formatAddress, MAPPED_PREFIX } from '@ringfence/shared/net/address'

export const RTM_GETLINK = 18
export const RTM_GETADDR = 22
export const RTM_GETNETCONF = 82
export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
const RTM_NEWLINK = 16
const RTM_NEWADDR = 20
const RTM_NEWNETCONF = 80
const NLM_F_REQUEST = 1
const NLM_F_DUMP = 0x300
/** Something changed during the dump: its parts may not fit together. */
export const NLM_F_DUMP_INTR = 0x10

/** Groups of changes: links, addresses of both families, settings of both (`RTMGRP_`; 1 << (RTNLGRP_ - 1)). */
export const CHANGE_GROUPS = 0x1 | 0x10 | 0x100 | (1 << 23) | (1 << 24)

const AF_INET = 2
const AF_INET6 = 10
const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_LINK = 5
const IFLA_MASTER = 10
const IFLA_LINKINFO = 18
const IFLA_INFO_KIND = 1
/** The link of `IFLA_LINK` is in another namespace. */
const IFLA_LINK_NETNSID = 37
const NETCONFA_IFINDEX = 1
const NETCONFA_FORWARDING = 2
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFF_LOOPBACK = 8
const ARPHRD_ETHER = 1

const isLittle = endianness() === 'LE'

const HEADER_BYTES = 16
const ATTRIBUTE_BYTES = 4
const LINK_BYTES = 16
const ADDRESS_BYTES = 8
const NETCONF_BYTES = 4
/** None that is read is longer. */
const VALUE_BYTES_MAX = 64

export interface Message {
	readonly type: number
	readonly flags: number
	readonly sequence: number
	readonly view: DataView
	/** Body, without padding. */
	readonly at: number
	readonly end: number
}

export interface Link {
	readonly kind: 'link'
	readonly index: number
	readonly name: string
	readonly mac: string
	readonly isLoopback: boolean
	/** `ARPHRD_ETHER`: frames begin with an Ethernet header. */
	readonly isEthernet: boolean
	/** `bridge`, `vlan`, `veth`; empty for hardware. */
	readonly driver: string
	/** Index of the interface that it is a part of (bridge, bond); 0 when none. */
	readonly master: number
	/** Index of the interface below it (of a VLAN, say), in the same namespace; 0 when none. */
	readonly lower: number
}

export interface LinkAddress {
	readonly kind: 'address'
	readonly index: number
	/** With prefix length: `10.0.0.5/24`. */
	readonly text: string
}

/** Whether packets that come in by an interface may leave by another one; negative indexes are defaults. */
export interface LinkForwarding {
	readonly kind: 'forwarding'
	readonly index: number
	readonly isOn: boolean
}

/** Asks for all links, all addresses, or all settings. */
export function dumpRequest(type: number, sequence: number): Uint8Array {
	const view = new DataView(new ArrayBuffer(HEADER_BYTES + LINK_BYTES))
	view.setUint32(0, view.byteLength, isLittle)
	view.setUint16(4, type, isLittle)
	view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, isLittle)
	view.setUint32(8, sequence, isLittle)
	return new Uint8Array(view.buffer)
}

/** Takes a datagram apart; what does not fit its own length ends it. */
export function* messagesOf(view: DataView): Generator<Message> {
	let at = 0
	while (view.byteLength - at >= HEADER_BYTES) {
		const length = view.getUint32(at, isLittle)
		if (length < HEADER_BYTES || length > view.byteLength - at) return
		yield {
			type: view.getUint16(at + 4, isLittle),
			flags: view.getUint16(at + 6, isLittle),
			sequence: view.getUint32(at + 8, isLittle),
			view,
			at: at + HEADER_BYTES,
			end: at + length,
		}
		at += padded(length)
	}
}

/** What a message tells; undefined for what is none of these, or of another address family. */
export function readMessage(message: Message): Link | LinkAddress | LinkForwarding | undefined {
	if (message.type === RTM_NEWNETCONF) return readForwarding(message)
	if (message.type === RTM_NEWLINK) return readLink(message)
	if (message.type === RTM_NEWADDR) return readAddress(message)
	return undefined
}

/** The errno of an error message; 0 acknowledges. */
export function errnoOf({ view, at, end }: Message): number {
	return end - at >= 4 ? -view.getInt32(at, isLittle) : 0
}

function readLink({ view, at, end }: Message): Link | undefined {
	if (end - at < LINK_BYTES) return undefined
	const attributes = attributesOf(view, at + LINK_BYTES, end)
	const mac = attributes.get(IFLA_ADDRESS) ?? []
	const name = (attributes.get(IFLA_IFNAME) ?? []).filter((byte) => byte !== 0)
	return {
		kind: 'link',
		index: view.getInt32(at + 4, isLittle),
		name: String.fromCharCode(...name),
		mac: mac.map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
		isLoopback: (view.getUint32(at + 8, isLittle) & IFF_LOOPBACK) !== 0,
		isEthernet: view.getUint16(at + 2, isLittle) === ARPHRD_ETHER && mac.length === 6,
		driver: driverOf(view, at + LINK_BYTES, end),
		master: intOf(attributes.get(IFLA_MASTER)),
		lower: attributes.has(IFLA_LINK_NETNSID) ? 0 : intOf(attributes.get(IFLA_LINK)),
	}
}

function driverOf(view: DataView, at: number, end: number): string {
	for (const attribute of attributesIn(view, at, end)) {
		if (attribute.type !== IFLA_LINKINFO) continue
		const kind = attributesOf(view, attribute.at, attribute.end).get(IFLA_INFO_KIND) ?? []
		return String.fromCharCode(...kind.filter((byte) => byte !== 0))
	}
	return ''
}

function readForwarding({ view, at, end }: Message): LinkForwarding | undefined {
	if (end - at < NETCONF_BYTES) return undefined
	const attributes = attributesOf(view, at + NETCONF_BYTES, end)
	const index = intOf(attributes.get(NETCONFA_IFINDEX))
	return { kind: 'forwarding', index, isOn: intOf(attributes.get(NETCONFA_FORWARDING)) !== 0 }
}

/** An attribute of four bytes; 0 when it is not there. */
function intOf(bytes: readonly number[] | undefined): number {
	if (bytes?.length !== 4) return 0
	return new DataView(Uint8Array.from(bytes).buffer).getInt32(0, isLittle)
}

function readAddress({ view, at, end }: Message): LinkAddress | undefined {
	if (end - at < ADDRESS_BYTES) return undefined
	const family = view.getUint8(at)
	const attributes = attributesOf(view, at + ADDRESS_BYTES, end)
	// On a point-to-point link IFA_ADDRESS is the other end; IPv6 has IFA_LOCAL only there.
	const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS)
	const words = bytes && wordsOf(family, bytes)
	if (!words) return undefined
	const index = view.getUint32(at + 4, isLittle)
	return { kind: 'address', index, text: `${formatAddress(words)}/${view.getUint8(at + 1)}` }
}

function wordsOf(family: number, bytes: readonly number[]): AddressWords | undefined {
	const word = (i: number) =>
		(((bytes[i] ?? 0) << 24) |
			((bytes[i + 1] ?? 0) << 16) |
			((bytes[i + 2] ?? 0) << 8) |
			(bytes[i + 3] ?? 0)) >>>
		0
	if (family === AF_INET && bytes.length === 4) return [0, 0, MAPPED_PREFIX, word(0)]
	if (family === AF_INET6 && bytes.length === 16) return [word(0), word(4), word(8), word(12)]
	return undefined
}

/** Values of the small attributes, by type. */
function attributesOf(view: DataView, from: number, to: number): Map<number, number[]> {
	const found = new Map<number, number[]>()
	for (const { type, at, end } of attributesIn(view, from, to)) {
		if (end - at > VALUE_BYTES_MAX) continue
		found.set(type, [...new Uint8Array(view.buffer, view.byteOffset + at, end - at)])
	}
	return found
}

/** Where the value of each attribute is. */
function* attributesIn(view: DataView, from: number, to: number) {
	let at = from
	while (to - at >= ATTRIBUTE_BYTES) {
		const length = view.getUint16(at, isLittle)
		if (length < ATTRIBUTE_BYTES || length > to - at) return
		// Top bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
		const type = view.getUint16(at + 2, isLittle) & 0x3fff
		yield { type, at: at + ATTRIBUTE_BYTES, end: at + length }
		at += padded(length)
	}
}

function padded(length: number): number {
	return (length + 3) & ~3
}
