import { type AddressWords, isV4, parseAddress } from '@ringfence/shared/net/address'

/** A frame to make, for tests and benches: what is left out gets a plain value. Ports are the type and code word for ICMP. */
export interface SampleFrame {
	readonly source: string
	readonly destination: string
	/** IP protocol number; TCP by default. */
	readonly protocol?: number
	readonly sourcePort?: number
	readonly destinationPort?: number
	readonly tcpFlags?: number
	readonly sequence?: number
	readonly acknowledgment?: number
	readonly payload?: Uint8Array
	/** Bytes of the transport header and payload, for other protocols and broken headers. */
	readonly transport?: Uint8Array
	readonly sourceMac?: string
	readonly destinationMac?: string
	/** VLAN identifiers, outermost first. */
	readonly vlans?: readonly number[]
	/** IPv4 flags and fragment offset word. */
	readonly fragment?: number
	/** Total length (IPv4) or payload length (IPv6) to write, whatever is true. */
	readonly lengthField?: number
	/** IPv6 extension headers: number and bytes, the first byte of which is filled in. */
	readonly extensions?: readonly (readonly [number, Uint8Array])[]
	/** Bytes behind the IP packet: what the link pads with. */
	readonly padding?: number
	/** Link header to write before the IP packet; Ethernet by default. */
	readonly link?: Uint8Array
}

const CLIENT_MAC = '02:42:ac:11:00:02'
const SERVER_MAC = '02:42:ac:11:00:03'
const TCP = 6
const UDP = 17
const ICMP = 1
const ICMPV6 = 58

/** Makes the bytes of a frame. */
export function sampleFrame(sample: SampleFrame): Uint8Array {
	const source = addressOf(sample.source)
	const destination = addressOf(sample.destination)
	const transport = sample.transport ?? transportOf(sample)
	const isIpv4 = isV4(source)
	const ip = isIpv4
		? ipv4(sample, { source, destination, transport })
		: ipv6(sample, { source, destination, transport })
	const link = sample.link ?? ethernet(sample, isIpv4 ? 0x0800 : 0x86dd)
	return joined([link, ip, new Uint8Array(sample.padding ?? 0)])
}

/** Text as bytes. */
export function bytesOf(text: string): Uint8Array {
	return Uint8Array.from(text, (letter) => letter.charCodeAt(0))
}

/** Hexadecimal digits as bytes; white space is passed over. */
export function hexBytes(text: string): Uint8Array {
	const digits = text.replaceAll(/\s/g, '')
	return Uint8Array.from({ length: digits.length / 2 }, (_, i) =>
		Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16),
	)
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
	const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
	let at = 0
	for (const part of parts) {
		bytes.set(part, at)
		at += part.length
	}
	return bytes
}

interface Ends {
	readonly source: AddressWords
	readonly destination: AddressWords
	readonly transport: Uint8Array
}

function ethernet(sample: SampleFrame, type: number): Uint8Array {
	const macs = [sample.destinationMac ?? SERVER_MAC, sample.sourceMac ?? CLIENT_MAC]
	const tags = (sample.vlans ?? []).map((vlan) => words16([0x8100, vlan]))
	return joined([hexBytes(macs.join('').replaceAll(':', '')), ...tags, words16([type])])
}

function ipv4(sample: SampleFrame, { source, destination, transport }: Ends): Uint8Array {
	const length = sample.lengthField ?? 20 + transport.length
	const header = new DataView(new ArrayBuffer(20))
	header.setUint8(0, 0x45)
	header.setUint16(2, length)
	header.setUint16(6, sample.fragment ?? 0)
	header.setUint8(8, 64)
	header.setUint8(9, sample.protocol ?? TCP)
	header.setUint32(12, source[3])
	header.setUint32(16, destination[3])
	return joined([new Uint8Array(header.buffer), transport])
}

function ipv6(sample: SampleFrame, { source, destination, transport }: Ends): Uint8Array {
	const extensions = sample.extensions ?? []
	const protocol = sample.protocol ?? TCP
	const chain = extensions.map(([, bytes], i) => {
		const copy = bytes.slice()
		copy[0] = extensions[i + 1]?.[0] ?? protocol
		return copy
	})
	const payload = joined([...chain, transport])
	const header = new DataView(new ArrayBuffer(40))
	header.setUint8(0, 0x60)
	header.setUint16(4, sample.lengthField ?? payload.length)
	header.setUint8(6, extensions[0]?.[0] ?? protocol)
	header.setUint8(7, 64)
	for (const [i, word] of [...source, ...destination].entries()) header.setUint32(8 + i * 4, word)
	return joined([new Uint8Array(header.buffer), payload])
}

function transportOf(sample: SampleFrame): Uint8Array {
	const payload = sample.payload ?? new Uint8Array(0)
	const { sourcePort = 0, destinationPort = 0 } = sample
	switch (sample.protocol ?? TCP) {
		case TCP:
			return joined([tcpHeader(sample), payload])
		case UDP:
			return joined([words16([sourcePort, destinationPort, 8 + payload.length, 0]), payload])
		case ICMP:
		case ICMPV6:
			return joined([words16([sourcePort, 0, destinationPort, 1]), payload])
		default:
			return payload
	}
}

function tcpHeader(sample: SampleFrame): Uint8Array {
	const header = new DataView(new ArrayBuffer(20))
	header.setUint16(0, sample.sourcePort ?? 0)
	header.setUint16(2, sample.destinationPort ?? 0)
	header.setUint32(4, sample.sequence ?? 0)
	header.setUint32(8, sample.acknowledgment ?? 0)
	header.setUint8(12, 0x50)
	header.setUint8(13, sample.tcpFlags ?? 0x10)
	return new Uint8Array(header.buffer)
}

function words16(words: readonly number[]): Uint8Array {
	return Uint8Array.from(words.flatMap((word) => [word >>> 8, word & 255]))
}

function addressOf(text: string): AddressWords {
	const words = parseAddress(text)
	if (!words) throw new RangeError(`address ${text}`)
	return words
}
