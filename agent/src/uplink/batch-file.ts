import { type FileHandle, open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { MESSAGE_BYTES_MAX } from '@ringfence/shared/contract/codec'

/*
 * One batch on disk: a line of JSON (`BatchHeader`), then `payloadBytes` bytes of gzip (RFC 1952) over the records as a
 * JSON array. The header answers all that the spool asks; gzip's own CRC-32 tells damage of the rest.
 */

/** - `conversations`: can be missed, a later record tells the same story. - `events`: kept as long as possible. */
export type BatchKind = 'conversations' | 'events'

export interface BatchHeader {
	readonly format: 1
	/** Run of the agent that made it, and when that run began: streams of several runs are told apart and ordered. */
	readonly boot: string
	readonly startedAt: number
	readonly seq: number
	readonly at: number
	readonly kind: BatchKind
	readonly records: number
	readonly payloadBytes: number
}

const HEADER_BYTES_MAX = 512
const NEWLINE = 0x0a
const BOOT = /^[0-9a-f]{16}$/

const gzipAsync = promisify(gzip)
const gunzipAsync = promisify(gunzip)

/** Files of one run sort by `seq`, and runs by their start. */
export function batchFileName(header: Pick<BatchHeader, 'boot' | 'startedAt' | 'seq'>): string {
	const startedAt = String(header.startedAt).padStart(15, '0')
	return `${startedAt}-${header.boot}-${String(header.seq).padStart(12, '0')}.batch`
}

export async function encodeBatchFile(
	header: Omit<BatchHeader, 'format' | 'payloadBytes'>,
	recordsJson: string,
): Promise<Uint8Array> {
	const payload = await gzipAsync(recordsJson, { level: 1 })
	const whole: BatchHeader = { format: 1, ...header, payloadBytes: payload.length }
	return Buffer.concat([Buffer.from(`${JSON.stringify(whole)}\n`), payload])
}

/** Reads the header of a file; undefined when the file is damaged or cut short. Throws when it cannot be read. */
export async function readBatchHeader(path: string): Promise<BatchHeader | undefined> {
	const file = await open(path, 'r')
	try {
		const start = await readStart(file)
		const header = parseHeader(start)
		if (!header) return undefined
		const { size } = await file.stat()
		return size === start.indexOf(NEWLINE) + 1 + header.payloadBytes ? header : undefined
	} finally {
		await file.close()
	}
}

/** The records of a file's bytes as JSON text; undefined when they are damaged. */
export async function decodeRecords(bytes: Uint8Array): Promise<string | undefined> {
	const at = bytes.indexOf(NEWLINE) + 1
	if (at === 0 || at > HEADER_BYTES_MAX) return undefined
	try {
		const json = await gunzipAsync(bytes.subarray(at), { maxOutputLength: MESSAGE_BYTES_MAX })
		return json.toString('utf8')
	} catch {
		return undefined
	}
}

async function readStart(file: FileHandle): Promise<Buffer> {
	const buffer = Buffer.alloc(HEADER_BYTES_MAX)
	const { bytesRead } = await file.read(buffer, 0, HEADER_BYTES_MAX, 0)
	return buffer.subarray(0, bytesRead)
}

function parseHeader(start: Buffer): BatchHeader | undefined {
	const end = start.indexOf(NEWLINE)
	if (end < 0) return undefined
	try {
		const value: unknown = JSON.parse(start.toString('utf8', 0, end))
		return isHeader(value) ? value : undefined
	} catch {
		return undefined
	}
}

function isHeader(value: unknown): value is BatchHeader {
	if (typeof value !== 'object' || value === null) return false
	const header = value as Partial<Record<keyof BatchHeader, unknown>>
	const counts = [header.startedAt, header.seq, header.at, header.records, header.payloadBytes]
	return (
		header.format === 1 &&
		typeof header.boot === 'string' &&
		BOOT.test(header.boot) &&
		(header.kind === 'conversations' || header.kind === 'events') &&
		counts.every((count) => Number.isSafeInteger(count) && Number(count) >= 0) &&
		Number(header.seq) >= 1
	)
}
