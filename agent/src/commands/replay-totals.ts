import {
	ENGINE_COUNTERS,
	type EngineCounters,
	type SessionEvent,
	type ThreatEvent,
} from '../engine/engine.ts'

/** Threats and failures told one by one; all are counted. */
const LISTED_MAX = 100

interface ApplicationSum {
	readonly protocol: number
	readonly application: string
	sessions: number
	packets: number
	bytes: number
}

/** What all captures of one `replay` came to. */
export class ReplayTotals {
	captures = 0
	sessions = 0
	threats = 0
	/** Packets that the capturing programs say they lost. */
	losses = 0
	seconds = 0
	readonly listedThreats: ThreatEvent[] = []
	readonly failures: { readonly file: string; readonly why: string }[] = []
	readonly counters = Object.fromEntries(ENGINE_COUNTERS.map((name) => [name, 0])) as Record<
		keyof EngineCounters,
		number
	>
	readonly #applications = new Map<string, ApplicationSum>()
	readonly #say: (text: string) => void

	/** @param say takes what a person must hear at once */
	constructor(say: (text: string) => void) {
		this.#say = say
	}

	session(event: SessionEvent): void {
		this.sessions++
		const { protocol, application = 'unknown' } = event
		const key = `${protocol} ${application}`
		let sum = this.#applications.get(key)
		if (!sum) {
			sum = { protocol, application, sessions: 0, packets: 0, bytes: 0 }
			this.#applications.set(key, sum)
		}
		sum.sessions++
		sum.packets += event.clientPackets + event.serverPackets
		sum.bytes += event.clientBytes + event.serverBytes
	}

	threat(event: ThreatEvent): void {
		this.threats += event.count
		if (this.listedThreats.length < LISTED_MAX) this.listedThreats.push(event)
	}

	fail(file: string, why: string): void {
		this.failures.push({ file, why })
		this.#say(`${file}: ${why}\n`)
	}

	add(counters: EngineCounters, losses: number, nanoseconds: bigint): void {
		this.captures++
		this.losses += losses
		this.seconds += Number(nanoseconds) / 1e9
		for (const name of ENGINE_COUNTERS) this.counters[name] += counters[name]
	}

	/** Sums by protocol and application, most bytes first. */
	applications(): ApplicationSum[] {
		return [...this.#applications.values()].sort((a, b) => b.bytes - a.bytes)
	}
}

/** The last line of `--json`. */
export function totalsJson(totals: ReplayTotals): object {
	const { captures, sessions, threats, losses, seconds, counters, failures } = totals
	return {
		captures,
		sessions,
		packets: counters.frames,
		bytes: counters.bytes,
		seconds,
		packetsPerSecond: rate(counters.frames, seconds),
		losses,
		counters,
		threats,
		listedThreats: totals.listedThreats,
		failures,
	}
}

/** What standard error is told at the end: totals, what was not counted in sessions, threats. */
export function totalsText(totals: ReplayTotals): string {
	const { captures, sessions, seconds, counters, losses } = totals
	const speed = `${rate(counters.frames, seconds)} packets/s`
	const lines = [
		`${captures} captures, ${counters.frames} packets, ${counters.bytes} bytes, ${sessions} sessions, ${seconds.toFixed(3)} s, ${speed}`,
		...ENGINE_COUNTERS.filter((name) => !TOLD.has(name) && counters[name] > 0).map(
			(name) => `${name}: ${counters[name]}`,
		),
		...(losses > 0 ? [`lost by the capturing program: ${losses}`] : []),
		...totals.listedThreats.map(threatText),
		...(totals.threats > 0 ? [`threats: ${totals.threats}`] : []),
	]
	return `${lines.join('\n')}\n`
}

/** Sums by application, for people. */
export function summaryTable(totals: ReplayTotals): string {
	const rows = totals
		.applications()
		.map(({ protocol, application, sessions, packets, bytes }) =>
			row([`${protocol}`, application, String(sessions), String(packets), String(bytes)]),
		)
	return [row(['protocol', 'application', 'sessions', 'packets', 'bytes']), ...rows].join('')
}

/** Counters that the first line tells, or that are no loss. */
const TOLD = new Set<string>(['frames', 'bytes', 'sessionsOpened', 'sessionsClosed'])

function threatText(threat: ThreatEvent): string {
	const { name, severity, why, clientAddress, clientPort, serverAddress, serverPort } = threat
	return `threat ${name} (${severity}): ${clientAddress} ${clientPort} > ${serverAddress} ${serverPort}: ${why}`
}

function row([protocol = '', application = '', ...numbers]: string[]): string {
	const cells = numbers.map((number) => number.padStart(14))
	return `${protocol.padEnd(9)}${application.padEnd(14)}${cells.join('')}\n`
}

function rate(packets: number, seconds: number): number {
	return seconds > 0 ? Math.round(packets / seconds) : 0
}
