/** Frames made from nothing: Ethernet, IPv4 or IPv6, UDP. Checksums are 0: a tap reads before anybody checks them. */

export interface UdpFrameOptions {
	readonly sourceMac?: string
	readonly destinationMac?: string
	/** Low 16 bits of 198.18.0.0/15 (RFC 2544, for tests of network devices). */
	readonly sourceAddress?: number
	readonly sourcePort?: number
	readonly destination?: string
	readonly destinationPort?: number
}

const ETHERNET_BYTES = 14

export function udpFrame(options: UdpFrameOptions = {}): Buffer {
	const { sourceAddress = 1, sourcePort = 1, destinationPort = 9 } = options
	const frame = Buffer.alloc(ETHERNET_BYTES + 20 + 8 + 4)
	ethernet(options, 0x0800).copy(frame)
	frame[14] = 0x45
	frame.writeUInt16BE(frame.length - ETHERNET_BYTES, 16)
	frame[22] = 64
	frame[23] = 17
	frame.set([198, 18, sourceAddress >>> 8, sourceAddress & 0xff], 26)
	frame.set((options.destination ?? '198.19.0.1').split('.').map(Number), 30)
	frame.writeUInt16BE(sourcePort, 34)
	frame.writeUInt16BE(destinationPort, 36)
	frame.writeUInt16BE(12, 38)
	return frame
}

export function ethernet(
	{ sourceMac, destinationMac }: Pick<UdpFrameOptions, 'sourceMac' | 'destinationMac'>,
	etherType: number,
): Buffer {
	const header = Buffer.alloc(ETHERNET_BYTES)
	macOf(destinationMac ?? '02:00:00:00:00:02').copy(header, 0)
	macOf(sourceMac ?? '02:00:00:00:00:01').copy(header, 6)
	header.writeUInt16BE(etherType, 12)
	return header
}

function macOf(text: string): Buffer {
	return Buffer.from(text.replaceAll(':', ''), 'hex')
}

type Macs = Pick<UdpFrameOptions, 'sourceMac' | 'destinationMac'>

/** IPv6 with a chain of extension headers (RFC 8200 §4), ended by one of `last`. */
export function ipv6ChainFrame(macs: Macs, extensions: readonly number[], last: number): Buffer {
	const header = Buffer.alloc(40)
	const chain = Buffer.alloc(extensions.length * 8 + 8)
	header[0] = 0x60
	header.writeUInt16BE(chain.length, 4)
	header[6] = extensions[0] ?? last
	header[7] = 64
	header.set([0x20, 0x01, 0x0d, 0xb8], 8)
	header.set([0x20, 0x01, 0x0d, 0xb8], 24)
	for (const [index] of extensions.entries()) chain[index * 8] = extensions[index + 1] ?? last
	return Buffer.concat([ethernet(macs, 0x86dd), header, chain])
}

/** A stack of VLAN tags (IEEE 802.1Q) around a datagram. */
export function vlanStackFrame(macs: Macs, tags: number): Buffer {
	const tag = Buffer.from([0x81, 0, 0, 7])
	const inner = udpFrame(macs)
	const stack = Array.from({ length: tags }, () => tag)
	return Buffer.concat([inner.subarray(0, 12), ...stack, inner.subarray(12)])
}
