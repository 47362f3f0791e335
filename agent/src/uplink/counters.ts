/** Why a message from the broker is not taken. */
const REJECT_REASONS = [
	'tooLarge',
	'overflow',
	'malformed',
	'version',
	'unexpectedTopic',
	'badSignature',
	'wrongAddressee',
	'rollback',
	'badShard',
	'ackAhead',
] as const
export type RejectReason = (typeof REJECT_REASONS)[number]

const NAMES = [
	'isConnected',
	'connects',
	'reconnects',
	'connectFailures',
	'publishesRefused',
	'messagesReceived',
	'messagesRejected',
	'spoolBatches',
	'spoolBytes',
	'spoolMemoryBytes',
	'spoolEvictedBatches',
	'spoolEvictedRecords',
	'spoolCorruptBatches',
	'spoolDiskErrors',
	'recordsTaken',
	'recordsInvalid',
	'recordsDropped',
	'recordsPending',
	'recordsAcked',
	'recordsRejected',
	'batchesCut',
	'batchesSent',
	'batchesResent',
	'batchesAcked',
	'batchesRejected',
	'acksStale',
	'documentsApplied',
	'documentsRejected',
	'documentsRefetched',
	'documentCacheErrors',
	'documentCacheRefused',
	'commandsRun',
	'commandsExpired',
	'commandsDuplicate',
	'commandsRefused',
	'workloadsInvalid',
	'helloInvalid',
] as const

type RejectCounter = `rejected${Capitalize<RejectReason>}`
export type CounterName = (typeof NAMES)[number] | RejectCounter

/** What the uplink counts, by name. All totals since the start, but for `is…`, `spool{Batches,Bytes,MemoryBytes}` and `recordsPending`. */
export class Counters {
	readonly #values = new Map<CounterName, number>([
		...NAMES.map((name): [CounterName, number] => [name, 0]),
		...REJECT_REASONS.map((reason): [CounterName, number] => [rejectCounter(reason), 0]),
	])

	add(name: CounterName, increment = 1): void {
		this.#values.set(name, this.get(name) + increment)
	}

	set(name: CounterName, value: number): void {
		this.#values.set(name, value)
	}

	get(name: CounterName): number {
		return this.#values.get(name) ?? 0
	}

	snapshot(): Readonly<Record<string, number>> {
		return Object.fromEntries(this.#values)
	}
}

/** Name under which rejections of that kind are counted. */
export function rejectCounter(reason: RejectReason): RejectCounter {
	return `rejected${reason.charAt(0).toUpperCase()}${reason.slice(1)}` as RejectCounter
}
