import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bytesOf, hexBytes, sampleFrame } from '../packet/sample-frame.ts'
import { createEngine } from './create-engine.ts'
import {
	ACK,
	Connection,
	FIN,
	OTHER_MAC,
	PSH_ACK,
	RST,
	SECOND_US,
	START_US,
	SYN,
	Traffic,
	WORKLOAD_MAC,
} from './sample-traffic.ts'

const GET = 'GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
const V4 = { client: '10.0.0.1', server: '10.0.0.2', clientPort: 40_000, serverPort: 8080 }
const V6 = { ...V4, client: '2001:db8::1', server: '2001:db8::2' }

describe('a TCP session', () => {
	it.each([
		['IPv4', V4],
		['IPv6', V6],
	])('over %s is counted, named and ended by its FINs', (_, ends) => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, ends)
		connection.open()
		connection.client(PSH_ACK, GET)
		connection.server(PSH_ACK, OK)
		connection.close()
		traffic.wait(6 * SECOND_US)
		expect(traffic.sessions()).toMatchObject([
			{
				...connection.sent,
				clientAddress: ends.client,
				clientPort: 40_000,
				serverAddress: ends.server,
				serverPort: 8080,
				protocol: 6,
				application: 'http',
				host: 'shop.example',
				action: 'open',
				why: 'no workload',
				end: 'fin',
				startUs: START_US,
			},
		])
		expect(traffic.engine.sessionsOpen()).toBe(0)
	})

	it('is the same through VLAN tags', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.client(SYN, '', { vlans: [7] })
		connection.server(SYN | ACK, '', { vlans: [7] })
		connection.client(PSH_ACK, GET, { vlans: [7] })
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([{ ...connection.sent, application: 'http' }])
	})

	it('is named though segments come late, twice and split', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.open()
		const start = connection.clientSequence
		const part = (from: number, to: number) => {
			connection.clientSequence = (start + from) >>> 0
			connection.client(PSH_ACK, GET.slice(from, to))
		}
		part(5, 12)
		part(30, GET.length)
		part(0, 8)
		part(0, 8)
		part(10, 31)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([{ application: 'http', host: 'shop.example' }])
		expect(traffic.engine.counters().assemblyGaps).toBe(0)
	})

	it('counts late frames of a closed connection as its own', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.open()
		connection.close()
		traffic.wait(2 * SECOND_US)
		connection.server(ACK)
		traffic.wait(4 * SECOND_US)
		expect(traffic.sessions()).toMatchObject([{ ...connection.sent, end: 'fin' }])
	})

	it.each([
		['closed by FINs', (connection: Connection) => connection.close(), 'fin'],
		['refused', (connection: Connection) => connection.server(RST | ACK), 'rst'],
		['half closed', (connection: Connection) => connection.client(FIN | ACK), 'fin'],
	])('%s gives its 5-tuple to a new SYN', (_, end, reason) => {
		const traffic = newTraffic()
		const first = new Connection(traffic, V4)
		first.open()
		end(first)
		const second = new Connection(traffic, V4, 5_000_000)
		second.open()
		second.client(PSH_ACK, GET)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([
			{ ...first.sent, end: reason, application: undefined },
			{ ...second.sent, end: 'flush', application: 'http' },
		])
	})

	it('that one end has forgotten gives way when the other accepts the new SYN', () => {
		const traffic = newTraffic()
		const first = new Connection(traffic, V4)
		first.open()
		const second = new Connection(traffic, V4, 5_000_000)
		second.open()
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([
			{ clientPackets: 3, serverPackets: 1, end: 'timeout' },
			{ clientPackets: 1, serverPackets: 1, clientAddress: V4.client, end: 'flush' },
		])
	})

	it('stays one session when a SYN is repeated', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.client(SYN)
		connection.clientSequence--
		connection.client(SYN)
		connection.server(SYN | ACK)
		connection.client(PSH_ACK, GET)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([{ ...connection.sent, application: 'http' }])
	})

	it('ignores a FIN far outside the stream', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.open()
		const { serverSequence } = connection
		connection.serverSequence = (serverSequence + 0x40000000) >>> 0
		connection.server(FIN | ACK)
		connection.serverSequence = serverSequence
		traffic.wait(100 * SECOND_US)
		connection.client(PSH_ACK, GET)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([{ ...connection.sent, end: 'flush' }])
	})

	it('ignores a RST far outside the stream', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.open()
		connection.server(RST, '', { sequence: (connection.serverSequence + 0x40000000) >>> 0 })
		connection.client(PSH_ACK, GET)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([{ application: 'http', end: 'flush' }])
	})

	it('met in the middle has the lower port as server', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.server(PSH_ACK, OK)
		connection.client(PSH_ACK, GET)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([
			{ clientAddress: V4.client, serverPort: 8080, ...connection.sent },
		])
	})

	it('first seen at its SYN-ACK has the receiver as client', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, { ...V4, clientPort: 80, serverPort: 40_000 })
		connection.server(SYN | ACK)
		connection.client(PSH_ACK, GET)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([
			{ clientPort: 80, serverPort: 40_000, application: 'http' },
		])
	})

	it('goes on after bytes that the capture lost', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.open()
		connection.client(PSH_ACK, 'GE')
		connection.serverSequence += 1000
		connection.server(PSH_ACK, 'x')
		connection.client(ACK)
		const { assemblyGaps, assemblyDroppedBytes } = traffic.engine.counters()
		expect({ assemblyGaps, assemblyDroppedBytes }).toEqual({
			assemblyGaps: 1,
			assemblyDroppedBytes: 1000,
		})
	})
})

describe('idle time-outs', () => {
	const udp = { protocol: 17 }
	it.each<[string, number, ((connection: Connection) => unknown)[]]>([
		['TCP without an answer', 20, [(c) => c.client(SYN)]],
		['TCP established', 1200, [(c) => c.open()]],
		['TCP half closed', 90, [(c) => c.open(), (c) => c.client(FIN | ACK)]],
		[
			'TCP with both FINs, one acknowledged',
			15,
			[(c) => c.open(), (c) => c.client(FIN | ACK), (c) => c.server(FIN | ACK)],
		],
		['TCP closed', 5, [(c) => c.open(), (c) => c.close()]],
		['TCP reset', 5, [(c) => c.open(), (c) => c.client(RST)]],
		['UDP one way', 30, [(c) => c.client(0, 'x', udp)]],
		['UDP both ways', 180, [(c) => c.client(0, 'x', udp), (c) => c.server(0, 'x', udp)]],
		['ICMP', 10, [(c) => c.client(0, '', { protocol: 1, sourcePort: 0x0800 })]],
		['other IP', 15, [(c) => c.client(0, '....', { protocol: 47 })]],
	])('%s: %i s', (_, seconds, steps) => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		for (const step of steps) step(connection)
		traffic.wait(seconds * SECOND_US - 1)
		expect(traffic.engine.sessionsOpen()).toBe(1)
		traffic.wait(200_000)
		expect(traffic.engine.sessionsOpen()).toBe(0)
		expect(traffic.sessions()).toMatchObject([{ endUs: START_US }])
		expect(traffic.engine.nextTimeoutUs()).toBeUndefined()
	})

	it('start again with each packet', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		for (let i = 0; i < 10; i++) {
			connection.client(0, 'x', { protocol: 17 })
			traffic.wait(29 * SECOND_US)
		}
		expect(traffic.engine.sessionsOpen()).toBe(1)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([{ clientPackets: 10 }])
	})

	it('hold though nobody handles them in time', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.client(0, 'x', { protocol: 17 })
		traffic.nowUs += 31 * SECOND_US
		connection.client(0, 'x', { protocol: 17 })
		expect(traffic.sessions()).toMatchObject([{ clientPackets: 1, end: 'timeout' }])
		expect(traffic.engine.sessionsOpen()).toBe(1)
	})

	it('do not go back with time', () => {
		const traffic = newTraffic()
		const connection = new Connection(traffic, V4)
		connection.client(SYN)
		traffic.nowUs -= 60 * SECOND_US
		connection.server(SYN | ACK)
		traffic.engine.flush(0, true)
		expect(traffic.sessions()).toMatchObject([{ startUs: START_US, endUs: START_US }])
	})
})

describe('other protocols', () => {
	it('ICMP echo and its reply are one session, whose server port is the type', () => {
		const traffic = newTraffic()
		const ends = { source: '10.0.0.1', destination: '10.0.0.2', destinationPort: 99 }
		traffic.send({ ...ends, protocol: 1, sourcePort: 0x0800 })
		traffic.send({
			...ends,
			source: '10.0.0.2',
			destination: '10.0.0.1',
			protocol: 1,
			sourcePort: 0,
		})
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([
			{ clientAddress: '10.0.0.1', serverPort: 8, clientPackets: 1, serverPackets: 1 },
		])
	})

	it('ICMPv6 reply seen first comes from the server', () => {
		const traffic = newTraffic()
		traffic.send({
			source: '2001:db8::2',
			destination: '2001:db8::1',
			protocol: 58,
			sourcePort: 0x8100,
			destinationPort: 3,
		})
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([
			{ serverAddress: '2001:db8::2', serverPort: 128, serverPackets: 1 },
		])
	})

	it('UDP is named by its datagrams', () => {
		const traffic = newTraffic()
		const question = hexBytes(
			'1234 0100 0001 0000 0000 0000 0473686f70 076578616d706c65 00 0001 0001',
		)
		traffic.send({
			source: '10.0.0.1',
			destination: '10.0.0.2',
			protocol: 17,
			sourcePort: 40_000,
			destinationPort: 53,
			payload: question,
		})
		const answer = question.slice()
		answer[2] = 0x81
		answer[3] = 0x80
		traffic.send({
			source: '10.0.0.2',
			destination: '10.0.0.1',
			protocol: 17,
			sourcePort: 53,
			destinationPort: 40_000,
			payload: answer,
		})
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions()).toMatchObject([{ application: 'dns', serverPackets: 1 }])
	})

	it('counts what makes no session', () => {
		const traffic = newTraffic()
		const ends = { source: '10.0.0.1', destination: '10.0.0.2' }
		const arp = hexBytes('ffffffffffff 0242ac110002 0806 0001')
		expect(traffic.sendBytes(arp)).toEqual({ action: 'pass', why: 'not ip' })
		expect(traffic.send({ ...ends, fragment: 1 })).toEqual({ action: 'pass', why: 'fragment' })
		expect(traffic.sendBytes(arp.subarray(0, 5))).toEqual({
			action: 'drop',
			why: 'malformed: ethernet header',
		})
		expect(traffic.send({ ...ends, lengthField: 9000 }).action).toBe('drop')
		expect(traffic.send({ ...ends, transport: new Uint8Array(3) }).action).toBe('drop')
		expect(traffic.engine.counters()).toMatchObject({
			frames: 5,
			otherLink: 1,
			fragments: 1,
			malformedLink: 1,
			malformedIp: 1,
			malformedTransport: 1,
			sessionsOpened: 0,
		})
	})

	it('keeps the ports of an engine apart', () => {
		const traffic = newTraffic()
		traffic.engine.openPort({ id: 2, workload: undefined, mac: undefined })
		const frame = sampleFrame({ source: '10.0.0.1', destination: '10.0.0.2', tcpFlags: SYN })
		traffic.sendBytes(frame, 1)
		traffic.sendBytes(frame, 2)
		expect(traffic.engine.sessionsOpen()).toBe(2)
		traffic.engine.closePort(2, traffic.nowUs)
		expect(traffic.sessions()).toMatchObject([{ port: 2, end: 'port closed' }])
		expect(traffic.sendBytes(frame, 2).why).toBe('port not open')
		expect(traffic.engine.sessionsOpen()).toBe(1)
	})
})

describe('limits', () => {
	it('evict the session idle longest', () => {
		const traffic = newTraffic(3)
		const connections = [1, 2, 3, 4].map(
			(i) => new Connection(traffic, { ...V4, clientPort: 40_000 + i }),
		)
		for (const connection of connections.slice(0, 3)) {
			connection.client(SYN)
			traffic.nowUs += SECOND_US
		}
		connections[0]?.server(SYN | ACK)
		connections[3]?.client(SYN)
		expect(traffic.sessions()).toMatchObject([{ clientPort: 40_002, end: 'evicted' }])
		expect(traffic.engine.sessionsOpen()).toBe(3)
		expect(traffic.engine.counters().sessionsEvicted).toBe(1)
	})

	it('give the room of closed sessions first, which is no eviction', () => {
		const traffic = newTraffic(2)
		const [a, b, c] = [1, 2, 3].map(
			(i) => new Connection(traffic, { ...V4, clientPort: 40_000 + i }),
		)
		a?.open()
		traffic.nowUs += SECOND_US
		b?.open()
		b?.close()
		c?.open()
		expect(traffic.sessions()).toMatchObject([{ clientPort: 40_002, end: 'fin' }])
		expect(traffic.engine.counters().sessionsEvicted).toBe(0)
	})
})

describe('any traffic', () => {
	it('never throws, keeps its bounds and counts each frame once', () => {
		fc.assert(
			fc.property(fc.array(anyStep(), { maxLength: 60 }), (steps) => {
				const traffic = newTraffic(4)
				traffic.engine.openPort({ id: 2, workload: 'w', mac: WORKLOAD_MAC })
				let sizes = 0
				for (const { bytes, waitUs, port } of steps) {
					traffic.sendBytes(bytes, port)
					sizes += bytes.length
					traffic.wait(waitUs)
					expect(traffic.engine.sessionsOpen()).toBeLessThanOrEqual(4)
				}
				traffic.engine.flush(traffic.nowUs, true)
				const counts = traffic.engine.counters()
				const sessions = traffic.sessions()
				const inSessions = sessions.reduce((n, s) => n + s.clientPackets + s.serverPackets, 0)
				const outside =
					counts.malformedLink +
					counts.malformedIp +
					counts.malformedTransport +
					counts.otherLink +
					counts.fragments
				expect(counts.frames).toBe(steps.length)
				expect(counts.bytes).toBe(sizes)
				expect(inSessions + outside).toBe(steps.length)
				expect(counts.sessionsOpened).toBe(sessions.length)
				expect(counts.sessionsClosed).toBe(sessions.length)
				expect(traffic.engine.nextTimeoutUs()).toBeUndefined()
			}),
			{ numRuns: 500 },
		)
	})

	it('gives the same events for the same frames and times', () => {
		fc.assert(
			fc.property(fc.array(anyStep(), { maxLength: 40 }), (steps) => {
				const [a, b] = [0, 1].map(() => {
					const traffic = newTraffic(4)
					traffic.engine.openPort({ id: 2, workload: 'w', mac: WORKLOAD_MAC })
					const verdicts = steps.map(({ bytes, waitUs, port }) => {
						const verdict = traffic.sendBytes(bytes, port)
						traffic.wait(waitUs)
						return verdict
					})
					traffic.engine.flush(traffic.nowUs, true)
					return { verdicts, events: traffic.engine.takeEvents() }
				})
				expect(a).toEqual(b)
			}),
			{ numRuns: 100 },
		)
	})
})

interface Step {
	readonly bytes: Uint8Array
	readonly waitUs: number
	readonly port: number
}

/** Frames between few ends with any flags and sequence numbers, some damaged. */
function anyStep(): fc.Arbitrary<Step> {
	const text = fc.constantFrom('', 'x', GET, OK, GET.slice(0, 9))
	return fc
		.record({
			isV6: fc.boolean(),
			isBack: fc.boolean(),
			protocol: fc.constantFrom(6, 6, 6, 17, 1, 58, 47),
			ports: fc.constantFrom([40_000, 80], [40_000, 81], [5353, 5353]),
			tcpFlags: fc.constantFrom(SYN, SYN | ACK, ACK, PSH_ACK, FIN | ACK, RST, RST | ACK, 0, 255),
			sequence: fc.integer({ min: -40, max: 40 }).map((n) => n >>> 0),
			acknowledgment: fc.integer({ min: -40, max: 40 }).map((n) => n >>> 0),
			text,
			damage: fc.option(fc.tuple(fc.nat(80), fc.nat(255)), { freq: 6 }),
			waitUs: fc.constantFrom(0, 1000, SECOND_US, 25 * SECOND_US, 2000 * SECOND_US),
			port: fc.constantFrom(1, 2),
		})
		.map(({ isV6, isBack, ports, text: payload, damage, waitUs, port, ...sample }) => {
			const ends = isV6 ? ['2001:db8::1', '2001:db8::2'] : ['10.0.0.1', '10.0.0.2']
			const [source = '', destination = ''] = isBack ? ends.reverse() : ends
			const [sourcePort = 0, destinationPort = 0] = isBack ? ports.toReversed() : ports
			const macs = isBack ? [OTHER_MAC, WORKLOAD_MAC] : [WORKLOAD_MAC, OTHER_MAC]
			const bytes = sampleFrame({
				...sample,
				source,
				destination,
				sourcePort,
				destinationPort,
				payload: bytesOf(payload),
				sourceMac: macs[0] ?? '',
				destinationMac: macs[1] ?? '',
			})
			if (damage && damage[0] < bytes.length) bytes[damage[0]] = damage[1]
			return { bytes, waitUs, port }
		})
}

function newTraffic(sessionsMax = 1000): Traffic {
	const engine = createEngine({
		sessionsMax,
		hasSessionEvents: true,
		hasConversationEvents: true,
		reportIntervalUs: 5 * SECOND_US,
	})
	engine.openPort({ id: 1, workload: undefined, mac: undefined })
	return new Traffic(engine)
}
