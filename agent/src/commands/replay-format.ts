import type { SessionEvent } from '../engine/engine.ts'
import { type ReplayTotals, summaryTable, totalsJson } from './replay-totals.ts'

export type ReplayFormat = 'csv' | 'json' | 'table'

/** How sessions are written: text before them, a row each, text after them. */
interface SessionWriter {
	readonly extension: string
	readonly head: string
	/** @param file where the session was, when there are several; else empty */
	row(session: SessionEvent, why: string, file: string): string
	tail(totals: ReplayTotals): string
}

const CSV_HEADER =
	'src,sport,dst,dport,proto,app,clientPackets,clientBytes,serverPackets,serverBytes,why'

/** IP protocol numbers (IANA) that have a word. */
const PROTOCOL_WORDS: ReadonlyMap<number, string> = new Map([
	[1, 'icmp'],
	[6, 'tcp'],
	[17, 'udp'],
	[58, 'icmp'],
])

export const SESSION_WRITERS: Readonly<Record<ReplayFormat, SessionWriter>> = {
	csv: { extension: 'csv', head: `${CSV_HEADER}\n`, row: csvRow, tail: () => '' },
	json: {
		extension: 'jsonl',
		head: '',
		row: (session, why, file) =>
			`${JSON.stringify({ ...fieldsOf(session, why), ...(file !== '' && { file }) })}\n`,
		tail: (totals) => `${JSON.stringify({ totals: totalsJson(totals) })}\n`,
	},
	table: { extension: 'txt', head: '', row: () => '', tail: summaryTable },
}

/** `tcp`, `udp`, `icmp` (of either family), or the number. */
function protocolWord(protocol: number): string {
	return PROTOCOL_WORDS.get(protocol) ?? String(protocol)
}

/** One row of the header's fields (RFC 4180). */
function csvRow(session: SessionEvent, why: string): string {
	return `${Object.values(fieldsOf(session, why)).map(csvField).join(',')}\n`
}

/** In the order of `CSV_HEADER`; client first. */
function fieldsOf(session: SessionEvent, why: string) {
	return {
		src: session.clientAddress,
		sport: session.clientPort,
		dst: session.serverAddress,
		dport: session.serverPort,
		proto: protocolWord(session.protocol),
		app: session.application ?? '',
		clientPackets: session.clientPackets,
		clientBytes: session.clientBytes,
		serverPackets: session.serverPackets,
		serverBytes: session.serverBytes,
		why,
	}
}

function csvField(value: string | number): string {
	const text = String(value)
	return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
