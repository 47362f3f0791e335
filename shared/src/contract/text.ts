import { z } from 'zod'

/** Identifiers that we make: workloads, nodes, boots, batches. Safe in topics, paths and logs. */
export const idSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)

/** Names that others make (workloads, services, labels): any text, bounded. Never trusted as HTML, terminal text or topic. */
export const nameSchema = z
	.string()
	.min(1)
	.max(256)
	.refine((text) => !text.includes('\0'), 'has a NUL')

/** Prose for people: reasons, comments, messages. */
export const proseSchema = z.string().max(1024)

/** Milliseconds since 1970-01-01T00:00:00Z. */
export const timestampSchema = z.int().min(0).max(8_640_000_000_000_000)

/** A count, an increment or a number of bytes. */
export const countSchema = z.int().min(0)

/** `sha256` of some bytes, in lower-case hexadecimal. */
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/)

/**
 * A record of at most `sizeMax` keys. They are counted before any of them is looked at: the faults of a million entries
 * would take more time and memory than the message.
 */
export function boundedRecordSchema<Key extends z.core.$ZodRecordKey, Value extends z.ZodType>(
	key: Key,
	value: Value,
	sizeMax: number,
) {
	return z
		.record(z.string(), z.unknown())
		.refine((record) => Object.keys(record).length <= sizeMax, `more than ${sizeMax} keys`)
		.pipe(z.record(key, value))
}
