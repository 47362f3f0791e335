/** IP protocol numbers that the engine knows (IANA "Assigned Internet Protocol Numbers"). */
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const

/** What is known about the way of a frame; `passing`: it is for somebody else, and seen because the link shows it to all. */
export const WAY = { unknown: 0, arriving: 1, leaving: 2, passing: 3 } as const

/**
 * Headers of one frame, as numbers. One record is filled again for each frame.
 * Words (addresses, sequence numbers) are signed: V8 keeps those in the record, unsigned ones go to the heap.
 */
export class Packet {
	isV6 = false
	/** IPv4 addresses use only the last word. */
	source0 = 0
	source1 = 0
	source2 = 0
	source3 = 0
	destination0 = 0
	destination1 = 0
	destination2 = 0
	destination3 = 0
	/** IP protocol number after extension headers. */
	protocol = 0
	/** ICMP echo: identifier at the client's end, request type at the server's. Other ICMP: code at the source, type at the destination. */
	sourcePort = 0
	destinationPort = 0
	tcpFlags = 0
	sequence = 0
	acknowledgment = 0
	/** Captured bytes of the transport's payload: without padding, and empty in a fragment. */
	payloadAt = 0
	payloadEnd = 0
	/** Payload on the wire; more than `payloadEnd - payloadAt` when the capture truncated. */
	payloadBytes = 0
	icmpType = 0
	/** Sent to a group of the link: multicast or broadcast. */
	isToGroup = false
	/** One of `WAY`. */
	way: number = WAY.unknown
	/** First of several fragments: headers are there, payload is not read. */
	isFirstFragment = false
	/** Why the frame is malformed. */
	why = ''
	/** Scratch of the decoder: type announced by the link, start of the network header, end of the IP packet on the wire. */
	etherType = 0
	networkAt = 0
	ipEnd = 0
}
