import { describe, expect, it } from 'vitest'
import { sampleFrame } from '../packet/sample-frame.ts'
import { createEngine } from './create-engine.ts'
import { OTHER_MAC, SECOND_US, Traffic, WORKLOAD_MAC } from './sample-traffic.ts'

const ETHERNET_BYTES = 14
const UDP = 17

describe.each([
	{ family: 'IPv4', own: '10.0.0.1', peer: '10.0.0.2', router: '10.0.0.9', icmp: 1, type: 3 },
	{ family: 'IPv6', own: 'fd00::1', peer: 'fd00::2', router: 'fd00::9', icmp: 58, type: 1 },
])('an $family error', ({ own, peer, router, icmp, type }) => {
	const question = sampleFrame({
		...{ source: own, destination: peer, protocol: UDP, sourceMac: WORKLOAD_MAC },
		...{ sourcePort: 40_000, destinationPort: 53, payload: new Uint8Array(20) },
	})

	/** Port unreachable (code 3 and 4), with the quoted packet behind 8 bytes of header. */
	const errorAbout = (frame: Uint8Array, quotedBytes = 200) => {
		const quoted = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + quotedBytes)
		const transport = new Uint8Array([type, icmp === 1 ? 3 : 4, 0, 0, 0, 0, 0, 0, ...quoted])
		const ends = { source: router, destination: own, sourceMac: OTHER_MAC }
		return sampleFrame({ ...ends, protocol: icmp, transport })
	}

	it('about a session belongs to it: nobody is learned to talk', () => {
		const traffic = newTraffic()
		traffic.sendBytes(question)
		const verdict = traffic.sendBytes(errorAbout(question))
		expect(verdict).toEqual({ action: 'pass', why: 'error about a session' })
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.conversations()).toMatchObject([{ protocol: UDP, clientPackets: 1 }])
		expect(traffic.engine.counters()).toMatchObject({ related: 1 })
	})

	it.each([
		['about no session', 200, false],
		['that quotes too little to tell', icmp === 1 ? 22 : 42, true],
		['that quotes no header', 8, true],
	])('%s stands for itself', (_, quotedBytes, isAsked) => {
		const traffic = newTraffic()
		if (isAsked) traffic.sendBytes(question)
		traffic.sendBytes(errorAbout(question, quotedBytes))
		traffic.engine.flush(traffic.nowUs, true)
		const its = traffic.conversations().filter(({ protocol }) => protocol === icmp)
		expect(its).toMatchObject([{ side: 'server', peerAddress: router, sessions: 1 }])
		expect(traffic.engine.counters()).toMatchObject({ related: 0 })
	})
})

function newTraffic(): Traffic {
	const engine = createEngine({
		sessionsMax: 64,
		hasSessionEvents: false,
		hasConversationEvents: true,
		reportIntervalUs: SECOND_US,
	})
	engine.openPort({ id: 1, workload: 'w', mac: WORKLOAD_MAC })
	return new Traffic(engine)
}
