import { describe, expect, it } from 'vitest'
import { sampleFrame } from '../packet/sample-frame.ts'
import type { CompiledPolicy } from '../policy/policy.ts'
import { createEngine } from './create-engine.ts'
import {
	ACK,
	Connection,
	OTHER_MAC,
	SECOND_US,
	START_US,
	SYN,
	Traffic,
	WORKLOAD_MAC,
} from './sample-traffic.ts'

const PACKET_HOST = 0
const PACKET_OTHERHOST = 3
const PACKET_OUTGOING = 4
const OWN = '10.9.0.1'
const THROUGH = { client: '10.0.0.5', server: '10.1.0.7', clientPort: 40_000, serverPort: 80 }

describe('a workload that forwards packets of others', () => {
	it('is not said to have their sessions, and they violate nothing', () => {
		const traffic = newTraffic([OWN])
		const connection = new Connection(traffic, THROUGH)
		connection.open()
		expect(connection.client(ACK)).toEqual({ action: 'pass', why: 'forwarded' })
		connection.close()
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.conversations()).toEqual([])
		expect(traffic.violations()).toEqual([])
		expect(traffic.engine.counters()).toMatchObject({ forwarded: 7, sessionsOpened: 1 })
	})

	it.each(['10.9.0.1', '2001:DB8::0:1'])('has its own sessions at %s', (own) => {
		const traffic = newTraffic([own])
		const server = own.includes(':') ? '2001:db8::2' : '10.1.0.7'
		new Connection(traffic, { ...THROUGH, client: own, server }).open()
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.conversations()).toMatchObject([{ side: 'client', sessions: 1 }])
		expect(traffic.violations()).toHaveLength(1)
	})

	it('has a session whole, once its address is known', () => {
		const traffic = newTraffic([OWN])
		const connection = new Connection(traffic, THROUGH)
		connection.open()
		traffic.wait(SECOND_US / 2)
		traffic.engine.setOwnAddresses(1, [OWN, THROUGH.client], traffic.nowUs)
		connection.close()
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.conversations()).toMatchObject([
			{ sessions: 1, ...connection.sent, firstUs: START_US, action: 'violate' },
		])
		expect(traffic.violations()).toHaveLength(1)
		expect(traffic.engine.counters()).toMatchObject({ forwarded: 3 })
	})

	it('has all that is seen when it no longer forwards', () => {
		const traffic = newTraffic([OWN])
		const connection = new Connection(traffic, THROUGH)
		connection.open()
		traffic.engine.setOwnAddresses(1, undefined, traffic.nowUs)
		traffic.wait(60 * SECOND_US)
		expect(traffic.conversations()).toMatchObject([{ sessions: 1, ...connection.sent }])
	})
})

describe('the way of a frame, as the kernel tells it', () => {
	it('makes no session of what is for somebody else: the link only showed it', () => {
		const traffic = newTraffic(undefined)
		expect(send(traffic, PACKET_OTHERHOST, OTHER_MAC)).toMatchObject({ why: 'for somebody else' })
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.conversations()).toEqual([])
		expect(traffic.engine.counters()).toMatchObject({ passing: 1, sessionsOpened: 0 })
	})

	it.each([
		['client', PACKET_OUTGOING, OTHER_MAC],
		['server', PACKET_HOST, WORKLOAD_MAC],
	])('makes the workload the %s, whatever the Ethernet address says', (side, packetType, mac) => {
		const traffic = newTraffic(undefined)
		send(traffic, packetType, mac)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.conversations()).toMatchObject([{ side, sessions: 1 }])
	})
})

function send(traffic: Traffic, packetType: number, sourceMac: string) {
	const bytes = sampleFrame({
		source: '10.0.0.5',
		destination: '10.0.0.6',
		sourcePort: 40_000,
		destinationPort: 80,
		tcpFlags: SYN,
		sourceMac,
	})
	const view = new DataView(bytes.buffer)
	const frame = { view, at: 0, end: bytes.length, wireBytes: bytes.length, linkType: 1, port: 1 }
	return traffic.engine.inspect({ ...frame, packetType }, traffic.nowUs)
}

function newTraffic(ownAddresses: readonly string[] | undefined): Traffic {
	const engine = createEngine({
		sessionsMax: 64,
		hasSessionEvents: false,
		hasConversationEvents: true,
		reportIntervalUs: SECOND_US,
	})
	engine.openPort({ id: 1, workload: 'w', mac: WORKLOAD_MAC, ownAddresses })
	engine.applyPolicy(VIOLATE, START_US)
	return new Traffic(engine)
}

const VIOLATE: CompiledPolicy = {
	generation: 1,
	lookup: () => ({ action: 'violate', rule: undefined, why: 'no rule' }),
	peerWorkload: () => undefined,
}
