import { describe, expect, test } from 'vitest'
import { APPLICATIONS } from './application.ts'
import {
	BATCH_RECORDS_MAX,
	conversationRecordSchema,
	countersRecordSchema,
	SESSION_ACTIONS,
	telemetryBatchSchema,
	violationRecordSchema,
} from './telemetry.ts'
import { CONTRACT_VERSION } from './version.ts'

describe('a conversation', () => {
	test.each(SESSION_ACTIONS)('may be %s', (action) => {
		expect(isConversation({ action })).toBe(true)
	})

	test.each(APPLICATIONS)('may speak %s', (application) => {
		expect(isConversation({ application })).toBe(true)
	})

	test('may have an unknown application and peer', () => {
		expect(isConversation({ application: undefined, peerWorkload: undefined })).toBe(true)
		expect(isConversation({ application: 'gopher' })).toBe(false)
	})

	test.each([
		['protocol', 0, true],
		['protocol', 255, true],
		['protocol', 256, false],
		['serverPort', 65_535, true],
		['serverPort', 65_536, false],
		['serverPort', -1, false],
		['sessions', 0, true],
		['sessions', -1, false],
		['lastAt', 8_640_000_000_000_000, true],
		['lastAt', 8_640_000_000_000_001, false],
		['peerAddress', '::ffff:10.0.0.1', true],
		['peerAddress', '10.0.0.1/32', false],
		['peerAddress', 'fe80::1%eth0', false],
		['workload', 'a/b', false],
		['workload', '+', false],
		['workload', '', false],
	])('with %s %s is taken: %s', (key, value, isTaken) => {
		expect(isConversation({ [key]: value })).toBe(isTaken)
	})
})

test('counters are so many at most', () => {
	const of = (count: number) => ({
		kind: 'counters',
		at: 1,
		counters: Object.fromEntries(Array.from({ length: count }, (_, index) => [`c${index}`, index])),
	})
	expect(countersRecordSchema.safeParse(of(16_384)).data).toEqual(of(16_384))
	const refused = countersRecordSchema.safeParse({ ...of(16_385), at: 1 })
	expect(refused.error?.issues.map(({ message }) => message)).toEqual(['more than 16384 keys'])
})

test('a violation is of at least one session that was not allowed', () => {
	const violation = { kind: 'violation', ...ENDS, clientPort: 1, action: 'deny', count: 1, at: 1 }
	const isTaken = (some: object) =>
		violationRecordSchema.safeParse({ ...violation, ...some }).success
	expect(isTaken({})).toBe(true)
	expect(isTaken({ count: 0 })).toBe(false)
	expect(isTaken({ action: 'allow' })).toBe(false)
})

test('counters have short names and whole numbers', () => {
	const isTaken = (counters: object) =>
		countersRecordSchema.safeParse({ kind: 'counters', at: 1, counters }).success
	expect(isTaken({})).toBe(true)
	expect(isTaken({ frames: 1, ['n'.repeat(64)]: 0 })).toBe(true)
	expect(isTaken({ ['n'.repeat(65)]: 1 })).toBe(false)
	expect(isTaken({ frames: -1 })).toBe(false)
})

describe('a batch', () => {
	const batch = { v: CONTRACT_VERSION, boot: 'b', seq: 1, floor: 1, at: 1, records: [] }
	const counters = { kind: 'counters', at: 1, counters: {} }

	test('counts from one', () => {
		expect(telemetryBatchSchema.safeParse(batch).success).toBe(true)
		expect(telemetryBatchSchema.safeParse({ ...batch, seq: 0 }).success).toBe(false)
		expect(telemetryBatchSchema.safeParse({ ...batch, floor: 0 }).success).toBe(false)
	})

	test('holds no more than its limit', () => {
		const isTaken = (count: number) =>
			telemetryBatchSchema.safeParse({ ...batch, records: new Array(count).fill(counters) }).success
		expect(isTaken(BATCH_RECORDS_MAX)).toBe(true)
		expect(isTaken(BATCH_RECORDS_MAX + 1)).toBe(false)
	})

	test('with a record of an unknown kind is refused as a whole', () => {
		const records = [counters, { ...counters, kind: 'rumour' }]
		const parsed = telemetryBatchSchema.safeParse({ ...batch, records })
		expect(parsed.error?.issues[0]?.path).toEqual(['records', 1, 'kind'])
	})
})

const ENDS = {
	workload: 'w1',
	side: 'server',
	peerAddress: '10.0.0.1',
	protocol: 6,
	serverPort: 80,
	why: 'no rule (discover)',
}

function isConversation(some: object): boolean {
	const conversation = {
		kind: 'conversation',
		...ENDS,
		isFinal: true,
		action: 'learn',
		sessions: 1,
		clientPackets: 1,
		clientBytes: 1,
		serverPackets: 1,
		serverBytes: 1,
		firstAt: 1,
		lastAt: 1,
	}
	return conversationRecordSchema.safeParse({ ...conversation, ...some }).success
}
