import type { TelemetryRecord } from '@ringfence/shared/contract/telemetry'
import { expect, test } from 'vitest'
import { Outbox } from './outbox.ts'

const record = (count: number): TelemetryRecord => {
	return { kind: 'agent', name: 'n', severity: 'info', message: '', count, at: 0 }
}

test('hands over what waited, in order, and passes the rest on', () => {
	const outbox = new Outbox()
	const sent: TelemetryRecord[] = []
	outbox.send([record(1)])
	outbox.send([record(2)])
	outbox.open({ send: (records) => sent.push(...records) })
	outbox.send([record(3)])
	expect(sent).toEqual([record(1), record(2), record(3)])
})

test('keeps the newest while it waits, and counts what it dropped', () => {
	const outbox = new Outbox()
	outbox.send(Array.from({ length: 10_003 }, (_, i) => record(i)))
	const sent: TelemetryRecord[] = []
	outbox.open({ send: (records) => sent.push(...records) })
	expect(sent.length).toBe(10_000)
	expect(sent[0]).toEqual(record(3))
	expect(outbox.counters()).toEqual({ recordsDroppedBeforeEnrolment: 3 })
})
