import { telemetryRecordSchema } from '@ringfence/shared/contract/telemetry'
import { describe, expect, test } from 'vitest'
import type { ConversationEvent, ThreatEvent, ViolationEvent } from '../engine/engine.ts'
import { agentRecord, recordOf } from './records.ts'

const AT_US = 1_790_000_000_123_999
const context = {
	shiftUs: 0,
	isOwnAddress: (workload: string, address: string) => workload === 'w1' && address === '10.0.0.2',
}

const ends = {
	clientAddress: '10.0.0.1',
	clientPort: 40_000,
	serverAddress: '10.0.0.2',
	serverPort: 80,
	protocol: 6,
}

const conversation: ConversationEvent = {
	kind: 'conversation',
	workload: 'w1',
	side: 'server',
	peerAddress: '10.0.0.1',
	peerWorkload: undefined,
	protocol: 6,
	serverPort: 80,
	application: undefined,
	isFinal: true,
	action: 'learn',
	rule: undefined,
	why: 'no rule (discover)',
	sessions: 1,
	clientPackets: 2,
	clientBytes: 3,
	serverPackets: 4,
	serverBytes: 5,
	firstUs: AT_US,
	lastUs: AT_US + 1000,
	host: undefined,
}

const violation: ViolationEvent = {
	...ends,
	kind: 'violation',
	atUs: AT_US,
	workload: 'w1',
	side: 'server',
	peerWorkload: 'w2',
	application: 'http',
	action: 'violate',
	rule: 'r1',
	why: 'rule r1',
	host: 'h'.repeat(300),
	count: 2,
}

const threat: ThreatEvent = {
	...ends,
	kind: 'threat',
	atUs: AT_US,
	workload: 'w1',
	name: 'syn flood',
	severity: 'high',
	why: 'w'.repeat(2000),
	count: 1,
}

describe('records of events', () => {
	test('pass the contract, with and without what may be unknown', () => {
		const events = [
			conversation,
			{ ...conversation, application: 'http', rule: 'r1', peerWorkload: 'w2', host: 'a.b' },
			violation,
			threat,
		] as const
		for (const event of events) {
			const record = recordOf(event, context)
			expect(telemetryRecordSchema.parse(record)).toEqual(record)
		}
	})

	test('carry milliseconds of the wall clock', () => {
		expect(recordOf(violation, context)).toMatchObject({ at: 1_790_000_000_123 })
		expect(recordOf(violation, { ...context, shiftUs: 3_000_000 })).toMatchObject({
			at: 1_789_999_997_123,
		})
	})

	test('name the other end as the peer', () => {
		expect(recordOf(violation, context)).toMatchObject({ peerAddress: '10.0.0.1' })
		expect(recordOf({ ...violation, side: 'client' }, context)).toMatchObject({
			peerAddress: '10.0.0.2',
		})
		expect(recordOf(threat, context)).toMatchObject({ side: 'server', peerAddress: '10.0.0.1' })
		expect(recordOf({ ...threat, workload: 'w2' }, context)).toMatchObject({
			side: 'client',
			peerAddress: '10.0.0.2',
		})
	})

	test('an event of the agent itself passes the contract, however long', () => {
		const message = 'm'.repeat(5000)
		const record = agentRecord({ name: 'ring-losses', severity: 'medium', message, count: 3 }, 5)
		expect(telemetryRecordSchema.parse(record)).toEqual(record)
	})
})
