import { expect, it } from 'vitest'
import { sampleFrame } from '../packet/sample-frame.ts'
import type { CompiledPolicy } from '../policy/policy.ts'
import { createEngine } from './create-engine.ts'
import { SECOND_US, START_US, Traffic, WORKLOAD_MAC } from './sample-traffic.ts'

it('what finds no room among the events is counted, and conversations wait', () => {
	const traffic = newTraffic(1)
	const frames = 140_000
	sendScan(traffic, frames)
	const reported = traffic.sessions().length
	const { eventsDropped, conversationsDropped } = traffic.engine.counters()
	expect(eventsDropped).toBeGreaterThan(0)
	expect(reported + eventsDropped).toBe(frames - 1)
	expect(conversationsDropped).toBeGreaterThan(0)
	traffic.wait(60 * SECOND_US)
	const packets = traffic.conversations().reduce((sum, event) => sum + event.clientPackets, 0)
	expect(packets + conversationsDropped).toBe(frames)
}, 20_000)

it('more conversations than fit between two reports are reported early, and none is lost', () => {
	const traffic = newTraffic(70_000)
	sendScan(traffic, 66_000)
	traffic.engine.flush(traffic.nowUs, true)
	expect(traffic.conversations()).toHaveLength(66_000)
	expect(traffic.engine.counters()).toMatchObject({ conversationsDropped: 0, eventsDropped: 0 })
}, 20_000)

it('more kinds of violation than can be counted at once are still told', () => {
	const traffic = newTraffic(10_000)
	traffic.engine.applyPolicy(VIOLATE, START_US)
	sendScan(traffic, 5000)
	sendScan(traffic, 5000, 7)
	traffic.engine.flush(traffic.nowUs, true)
	const told = traffic.violations()
	expect(told.reduce((sum, event) => sum + event.count, 0)).toBe(10_000)
	expect(traffic.engine.nextTimeoutUs()).toBeUndefined()
})

it('options and ports that make no sense are refused', () => {
	expect(() => newTraffic(0)).toThrow(RangeError)
	const { engine } = newTraffic(1)
	expect(() => engine.openPort({ id: 1, workload: undefined, mac: undefined })).toThrow(RangeError)
	expect(() => engine.openPort({ id: -1, workload: undefined, mac: undefined })).toThrow(RangeError)
	expect(() => engine.openPort({ id: 2, workload: 'w', mac: '02:42' })).toThrow(RangeError)
})

const VIOLATE: CompiledPolicy = {
	generation: 1,
	lookup: () => ({ action: 'violate', rule: undefined, why: 'test' }),
	peerWorkload: () => undefined,
}

/** One datagram to each of many addresses, each a session and a conversation of its own. */
function sendScan(traffic: Traffic, count: number, sourcePort = 9): void {
	const ends = { source: '10.0.0.1', destination: '10.9.0.0', sourcePort, destinationPort: 9 }
	const bytes = sampleFrame({ ...ends, protocol: 17, sourceMac: WORKLOAD_MAC })
	const view = new DataView(bytes.buffer)
	for (let i = 0; i < count; i++) {
		view.setUint32(30, 0x0a100000 + i)
		traffic.sendBytes(bytes)
	}
}

function newTraffic(sessionsMax: number): Traffic {
	const engine = createEngine({
		sessionsMax,
		hasSessionEvents: true,
		hasConversationEvents: true,
		reportIntervalUs: 5 * SECOND_US,
	})
	engine.openPort({ id: 1, workload: 'w', mac: WORKLOAD_MAC })
	return new Traffic(engine)
}
