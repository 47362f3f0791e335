import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, type FrameBytes, OUTCOME } from './decode.ts'
import { Packet, WAY } from './packet.ts'
import { bytesOf, hexBytes, type SampleFrame, sampleFrame } from './sample-frame.ts'

const V4 = { source: '10.0.0.1', destination: '10.0.0.2' }
const V6 = { source: '2001:db8::1', destination: '2001:db8::2' }
const ETHERNET = 1
const MACS = '0242ac110003 0242ac110002'

describe('decode', () => {
	it('reads a TCP segment over IPv4 as tcpdump does', () => {
		// A SYN with MSS option, written out by hand after RFC 791 §3.1 and RFC 9293 §3.1.
		const bytes = hexBytes(`
			0242ac110003 0242ac110002 0800
			45000030 1c464000 40060000 c0a80001 c0a80002
			c0010050 fffffff0 00000000 7002faf0 00000000 020405b401010402`)
		const packet = decoded(bytes)
		expect(packet).toMatchObject({
			outcome: OUTCOME.whole,
			isV6: false,
			protocol: 6,
			sourcePort: 0xc001,
			destinationPort: 80,
			sequence: -16,
			tcpFlags: 2,
			payloadBytes: 0,
		})
		expect(packet.source3 >>> 0).toBe(0xc0a80001)
		expect(packet.destination3 >>> 0).toBe(0xc0a80002)
	})

	it('does not take the padding of a short Ethernet frame for payload', () => {
		const packet = decoded(sampleFrame({ ...V4, sourcePort: 1, destinationPort: 2, padding: 6 }))
		expect(packet.payloadBytes).toBe(0)
		expect(packet.payloadEnd).toBe(packet.payloadAt)
	})

	it('skips IPv4 and TCP options', () => {
		const bytes = hexBytes(`
			0242ac110003 0242ac110002 0800
			46000031 00000000 40060000 0a000001 0a000002 01010101
			00010002 00000001 00000000 60100000 00000000 01010101 41`)
		expect(payloadOf(bytes)).toBe('A')
	})

	it.each([
		['one VLAN tag', [100]],
		['two VLAN tags', [100, 200]],
	])('reads through %s', (_, vlans) => {
		expect(payloadOf(sampleFrame({ ...V4, vlans, payload: bytesOf('hello') }))).toBe('hello')
	})

	it('walks over IPv6 extension headers', () => {
		const extensions: SampleFrame['extensions'] = [
			[0, hexBytes('0000010400000000')],
			[43, hexBytes('0001000000000000 0000000000000000')],
			[44, hexBytes('0000000000000001')],
			[51, hexBytes('0004000000000000 0000000000000000 0000000000000000')],
			[60, hexBytes('0000010400000000')],
		]
		const packet = decoded(sampleFrame({ ...V6, extensions, payload: bytesOf('abc') }))
		expect(packet).toMatchObject({ outcome: OUTCOME.whole, isV6: true, protocol: 6 })
		expect(packet.payloadBytes).toBe(3)
		expect(packet.destination0 >>> 0).toBe(0x20010db8)
		expect(packet.destination3).toBe(2)
	})

	it.each([
		['IPv4 of total length 0', V4],
		['IPv6 of payload length 0', V6],
	])('takes %s as a large segment that reaches the end of the frame', (_, ends) => {
		const payload = new Uint8Array(70_000)
		const packet = decoded(sampleFrame({ ...ends, lengthField: 0, payload }))
		expect(packet).toMatchObject({ outcome: OUTCOME.whole, payloadBytes: 70_000 })
	})

	it('gives both directions of an echo the same pair of ports', () => {
		const echo = { protocol: 1, destinationPort: 0x77 }
		expect(decoded(sampleFrame({ ...V4, ...echo, sourcePort: 0x0800 }))).toMatchObject({
			sourcePort: 0x77,
			destinationPort: 8,
		})
		expect(decoded(sampleFrame({ ...V4, ...echo, sourcePort: 0 }))).toMatchObject({
			sourcePort: 8,
			destinationPort: 0x77,
		})
		const echo6 = { ...V6, protocol: 58, destinationPort: 0x77 }
		expect(decoded(sampleFrame({ ...echo6, sourcePort: 0x8100 }))).toMatchObject({
			sourcePort: 128,
			destinationPort: 0x77,
		})
	})

	it('names other ICMP by type and code', () => {
		const unreachable = { ...V4, protocol: 1, sourcePort: 0x0301 }
		expect(decoded(sampleFrame(unreachable))).toMatchObject({
			sourcePort: 1,
			destinationPort: 3,
			icmpType: 3,
		})
	})

	it('says how many bytes of payload the capture cut off', () => {
		const whole = sampleFrame({ ...V4, payload: bytesOf('x'.repeat(100)) })
		const packet = new Packet()
		const frame = { ...frameOf(whole), end: 60 }
		expect(decode(frame, packet)).toBe(OUTCOME.whole)
		expect(packet.payloadBytes).toBe(100)
		expect(packet.payloadEnd).toBe(60)
	})

	it('reads the headers of a first fragment and not its payload', () => {
		const payload = bytesOf('x'.repeat(64))
		const fragment = sampleFrame({ ...V4, protocol: 17, fragment: 0x2000, payload })
		expect(decoded(fragment)).toMatchObject({ outcome: OUTCOME.whole, payloadBytes: 0 })
		const first6 = sampleFrame({
			...V6,
			protocol: 17,
			extensions: [[44, hexBytes('0000000100000001')]],
			payload,
		})
		expect(decoded(first6)).toMatchObject({ outcome: OUTCOME.whole, payloadBytes: 0 })
	})

	it('tells later fragments', () => {
		expect(decoded(sampleFrame({ ...V4, fragment: 1 })).outcome).toBe(OUTCOME.fragment)
		const extensions = [[44, hexBytes('0000000800000001')]] as const
		expect(decoded(sampleFrame({ ...V6, extensions })).outcome).toBe(OUTCOME.fragment)
	})

	it('gives protocols without ports the ports 0', () => {
		const gre = sampleFrame({ ...V4, protocol: 47, payload: bytesOf('....') })
		expect(decoded(gre)).toMatchObject({
			outcome: OUTCOME.otherIp,
			sourcePort: 0,
			destinationPort: 0,
		})
	})
})

describe('link types', () => {
	const payload = bytesOf('hi')
	it.each([
		['raw IP', 101, '', WAY.unknown],
		['raw IP of BSD', 12, '', WAY.unknown],
		['cooked, outgoing', 113, '0004 0001 0006 0242ac1100020000 0800', WAY.leaving],
		['cooked, to us', 113, '0000 0001 0006 0242ac1100020000 0800', WAY.arriving],
		['cooked version 2', 276, '0800 0000 00000002 0001 04 06 0242ac1100020000', WAY.leaving],
		['BSD loopback, little endian', 0, '02000000', WAY.unknown],
		['OpenBSD loopback', 108, '00000002', WAY.unknown],
		['raw IPv4', 228, '', WAY.unknown],
		['PPPoE session', 1, `${MACS} 8864 1100 0001 0019 0021`, WAY.unknown],
		[
			'PPPoE session behind a VLAN tag',
			1,
			`${MACS} 8100 0007 8864 1100 0001 0019 0021`,
			WAY.unknown,
		],
		['MPLS, one label', 1, `${MACS} 8847 00010140`, WAY.unknown],
		[
			'MPLS, as many labels as are read',
			1,
			`${MACS} 8848 ${'00010040'.repeat(7)} 00010140`,
			WAY.unknown,
		],
	])('%s', (_, linkType, link, way) => {
		const bytes = sampleFrame({ ...V4, payload, link: hexBytes(link) })
		expect(decoded(bytes, linkType)).toMatchObject({ outcome: OUTCOME.whole, payloadBytes: 2, way })
	})

	it('reads IPv6 over BSD loopback by each family number', () => {
		for (const family of ['18000000', '1c000000', '1e000000', '0000001e', '0a000000']) {
			const bytes = sampleFrame({ ...V6, payload, link: hexBytes(family) })
			expect(decoded(bytes, 0).outcome).toBe(OUTCOME.whole)
		}
	})

	it.each([
		['raw IPv6', 229, ''],
		['PPPoE session', 1, `${MACS} 8864 1100 0001 002d 0057`],
		['MPLS', 1, `${MACS} 8847 00010140`],
	])('%s carries IPv6', (_, linkType, link) => {
		const bytes = sampleFrame({ ...V6, payload, link: hexBytes(link) })
		const packet = decoded(bytes, linkType)
		expect(packet).toMatchObject({ outcome: OUTCOME.whole, isV6: true, payloadBytes: 2 })
	})

	it('passes over what is not IP behind PPPoE and MPLS', () => {
		const lcp = hexBytes(`${MACS} 8864 1100 0001 000a c021 0101000a 05060000`)
		expect(decoded(lcp).outcome).toBe(OUTCOME.otherLink)
		const discovery = hexBytes(`${MACS} 8863 1109 0000 0004 01010000`)
		expect(decoded(discovery).outcome).toBe(OUTCOME.otherLink)
		const pseudowire = hexBytes(`${MACS} 8847 00010140 00000000 ${MACS}`)
		expect(decoded(pseudowire).outcome).toBe(OUTCOME.otherLink)
	})

	it('passes over what is not IP', () => {
		const arp = hexBytes('ffffffffffff 0242ac110002 0806 0001080006040001')
		expect(decoded(arp)).toMatchObject({ outcome: OUTCOME.otherLink, isToGroup: true })
		expect(decoded(arp, 105).outcome).toBe(OUTCOME.otherLink)
		expect(decoded(hexBytes('90000000'), 101).outcome).toBe(OUTCOME.otherLink)
		expect(decoded(hexBytes('05000000'), 0).outcome).toBe(OUTCOME.otherLink)
	})
})

describe('malformed frames', () => {
	const tcp = sampleFrame({ ...V4, sourcePort: 1, destinationPort: 2 })
	const tcp6 = sampleFrame({ ...V6, sourcePort: 1, destinationPort: 2 })
	const udp = sampleFrame({ ...V4, protocol: 17, payload: bytesOf('abcd') })
	const udp6 = sampleFrame({ ...V6, protocol: 17, payload: bytesOf('abcd') })
	const hopByHop: [number, Uint8Array] = [0, hexBytes('0000010400000000')]
	const { malformedLink, malformedIp, malformedTransport } = OUTCOME
	it.each([
		['ethernet header', malformedLink, tcp.subarray(0, 13)],
		['vlan tag', malformedLink, sampleFrame({ ...V4, vlans: [1] }).subarray(0, 17)],
		['too many vlan tags', malformedLink, sampleFrame({ ...V4, vlans: [1, 2, 3, 4, 5] })],
		['ipv4 header', malformedIp, tcp.subarray(0, 33)],
		['ipv4 header', malformedIp, patched(tcp, 14, 0x65)],
		['ipv4 header', malformedIp, patched(tcp, 14, 0x44)],
		['ipv4 header', malformedIp, patched(tcp, 14, 0x4f)],
		['ipv4 header', malformedIp, patched(tcp, 17, 19)],
		['ipv4 total length beyond the frame', malformedIp, patched(tcp, 16, 1)],
		['ipv6 header', malformedIp, tcp6.subarray(0, 53)],
		['ipv6 header', malformedIp, patched(tcp6, 14, 0x40)],
		['ipv6 payload length beyond the frame', malformedIp, patched(tcp6, 18, 1)],
		[
			'too many ipv6 extensions',
			malformedIp,
			sampleFrame({ ...V6, extensions: new Array(9).fill(hopByHop) }),
		],
		[
			'ipv6 extension',
			malformedIp,
			sampleFrame({ ...V6, extensions: [hopByHop], transport: new Uint8Array(0) }).subarray(0, 60),
		],
		[
			'ipv6 extension beyond the packet',
			malformedIp,
			sampleFrame({ ...V6, extensions: [[60, hexBytes('00ff000000000000')]] }),
		],
		['tcp header', malformedTransport, sampleFrame({ ...V4, transport: new Uint8Array(19) })],
		['tcp header', malformedTransport, patched(tcp, 46, 0x40)],
		['tcp header', malformedTransport, patched(tcp, 46, 0x60)],
		[
			'udp header',
			malformedTransport,
			sampleFrame({ ...V4, protocol: 17, transport: new Uint8Array(7) }),
		],
		['udp header', malformedTransport, patched(udp, 39, 7)],
		['udp length of 0', malformedTransport, patched(udp, 39, 0)],
		['udp length beyond the ip packet', malformedTransport, patched(udp, 39, 13)],
		['udp length beyond the ip packet', malformedTransport, patched(udp6, 59, 13)],
		[
			'icmp header',
			malformedTransport,
			sampleFrame({ ...V4, protocol: 1, transport: new Uint8Array(7) }),
		],
	])('%s', (why, outcome, bytes) => {
		// The last extension case cuts the frame; its length on the wire is what was sent.
		const packet = new Packet()
		const wireBytes = why === 'ipv6 extension' ? 62 : bytes.length
		expect(decode({ ...frameOf(bytes), wireBytes }, packet)).toBe(outcome)
		expect(packet.why).toBe(why)
	})

	it.each([
		['empty frame', 101, ''],
		['cooked header', 113, '00'.repeat(15)],
		['cooked header', 276, '00'.repeat(19)],
		['loopback header', 0, '000000'],
		['pppoe header', 1, `${MACS} 8864 1100 0001 0019 00`],
		['pppoe header', 1, `${MACS} 8864 1109 0001 0019 0021`],
		['mpls label', 1, `${MACS} 8847 00010040 000101`],
		['too many mpls labels', 1, `${MACS} 8847 ${'00010040'.repeat(8)} 00010140`],
		['empty frame', 1, `${MACS} 8847 00010140`],
	])('%s of link type %i', (why, linkType, hex) => {
		const packet = decoded(hexBytes(hex), linkType)
		expect(packet).toMatchObject({ outcome: OUTCOME.malformedLink, why })
	})
})

describe('any bytes', () => {
	const linkTypes = fc.constantFrom(0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 7)
	const frames = fc.oneof(fc.uint8Array({ maxLength: 200 }), damaged())

	it('never throw, and payload stays inside the frame', () => {
		fc.assert(
			fc.property(frames, linkTypes, (bytes, linkType) => {
				const packet = new Packet()
				const outcome = decode({ ...frameOf(bytes), linkType }, packet)
				if (outcome !== OUTCOME.whole) return
				expect(packet.payloadAt).toBeLessThanOrEqual(packet.payloadEnd)
				expect(packet.payloadEnd).toBeLessThanOrEqual(bytes.length)
				expect(packet.payloadBytes).toBeGreaterThanOrEqual(packet.payloadEnd - packet.payloadAt)
			}),
			{ numRuns: 3000 },
		)
	})

	it('mean the same whatever lies beside them', () => {
		fc.assert(
			fc.property(frames, linkTypes, fc.nat(20), (bytes, linkType, cut) => {
				const wireBytes = bytes.length
				const kept = bytes.subarray(0, Math.max(0, bytes.length - cut))
				const [a, b] = [0x00, 0xff].map((fill) => {
					const ring = new Uint8Array(kept.length + 64).fill(fill)
					ring.set(kept, 32)
					const view = new DataView(ring.buffer)
					const packet = new Packet()
					const frame = { view, at: 32, end: 32 + kept.length, wireBytes, linkType }
					return { outcome: decode(frame, packet), packet }
				})
				expect(a).toEqual(b)
			}),
			{ numRuns: 3000 },
		)
	})
})

/** A valid frame with up to three bytes changed. */
function damaged(): fc.Arbitrary<Uint8Array> {
	const samples: SampleFrame[] = [
		{ ...V4, payload: bytesOf('abc') },
		{ ...V4, protocol: 17, payload: bytesOf('abc') },
		{ ...V4, vlans: [1, 2] },
		{ ...V4, link: hexBytes(`${MACS} 8864 1100 0001 0016 0021`) },
		{ ...V4, link: hexBytes(`${MACS} 8847 00010040 00010140`) },
		{ ...V6, protocol: 58 },
		{ ...V6, extensions: [[0, hexBytes('0000010400000000')]], payload: bytesOf('abc') },
	]
	const change = fc.tuple(fc.nat(90), fc.nat(255))
	return fc
		.tuple(fc.constantFrom(...samples), fc.array(change, { maxLength: 3 }))
		.map(([sample, changes]) => {
			const bytes = sampleFrame(sample)
			for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
			return bytes
		})
}

function patched(bytes: Uint8Array, at: number, value: number): Uint8Array {
	const copy = bytes.slice()
	copy[at] = value
	return copy
}

function frameOf(bytes: Uint8Array): FrameBytes {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
	return { view, at: 0, end: bytes.length, wireBytes: bytes.length, linkType: ETHERNET }
}

function decoded(bytes: Uint8Array, linkType = ETHERNET): Packet & { outcome: number } {
	const packet = new Packet()
	const outcome = decode({ ...frameOf(bytes), linkType }, packet)
	return Object.assign(packet, { outcome })
}

function payloadOf(bytes: Uint8Array): string {
	const packet = decoded(bytes)
	return String.fromCharCode(...bytes.subarray(packet.payloadAt, packet.payloadEnd))
}
