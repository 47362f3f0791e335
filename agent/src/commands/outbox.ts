import type { TelemetryRecord } from '@ringfence/shared/contract/telemetry'

/** Records that wait for the first enrolment; beyond, the oldest go and are counted. */
const WAITING_MAX = 10_000

/** Holds records until there is an uplink to hand them to. */
export class Outbox {
	#waiting: TelemetryRecord[] = []
	#uplink: { send(records: readonly TelemetryRecord[]): void } | undefined
	#dropped = 0

	open(uplink: { send(records: readonly TelemetryRecord[]): void }): void {
		this.#uplink = uplink
		this.send(this.#waiting)
		this.#waiting = []
	}

	send(records: readonly TelemetryRecord[]): void {
		if (records.length === 0) return
		if (this.#uplink) {
			this.#uplink.send(records)
			return
		}
		for (const record of records) this.#waiting.push(record)
		const excess = this.#waiting.length - WAITING_MAX
		if (excess <= 0) return
		this.#waiting.splice(0, excess)
		this.#dropped += excess
	}

	counters(): Record<string, number> {
		return { recordsDroppedBeforeEnrolment: this.#dropped }
	}
}
