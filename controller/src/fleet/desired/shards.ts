import { encodeMessage } from '@ringfence/shared/contract/codec'
import { SHARD_ENTRIES_MAX, shardOf } from '@ringfence/shared/contract/policy'
import { compareText } from '../nodes/addresses.ts'
import type { Entries } from './documents.ts'

/** A part of a document as it is published, named by its digest. */
export interface Shard {
	readonly bytes: Uint8Array
	readonly sha256: string
}

/** More shards cost more messages to every node, fewer make every change larger (measured: 16 are the best up to 100 kB each). */
const SHARDS_MAX = 16

/** JSON of one shard before it is compressed, which makes about a seventh of it. */
const SHARD_CHARS = 32 * 1024

/** JSON of one shard that every broker and agent still takes. */
const SHARD_CHARS_MAX = 4_000_000

/** A document that does not fit into its shards: the one before stays in force. */
export class DocumentTooLarge extends Error {
	readonly code = 'document-too-large'
}

/**
 * Spreads entries over shards. Equal entries make equal bytes: keys are sorted, and the encoding has no time in it.
 * @throws DocumentTooLarge
 */
export async function makeShards(entries: Entries): Promise<Shard[]> {
	const texts = [...entries]
		.sort(([a], [b]) => compareText(a, b))
		.map(([key, entry]) => ({ key, entry, chars: key.length + JSON.stringify(entry).length }))
	const count = shardCount(texts.reduce((sum, { chars }) => sum + chars, 0))
	const parts = Array.from({ length: count }, () => ({
		entries: [] as [string, unknown][],
		chars: 0,
	}))
	for (const { key, entry, chars } of texts) {
		const part = parts[shardOf(key, count)]
		part?.entries.push([key, entry])
		if (part) part.chars += chars
	}
	if (parts.some((one) => one.chars > SHARD_CHARS_MAX || one.entries.length > SHARD_ENTRIES_MAX))
		throw new DocumentTooLarge(`${texts.length} entries do not fit into ${count} shards`)
	return Promise.all(parts.map((part) => toShard(Object.fromEntries(part.entries))))
}

function shardCount(chars: number): number {
	let count = 1
	while (count < SHARDS_MAX && chars / count > SHARD_CHARS) count *= 2
	return count
}

async function toShard(content: unknown): Promise<Shard> {
	const bytes = await encodeMessage(content)
	const digest = new Uint8Array(
		await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>),
	)
	const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
	return { bytes, sha256 }
}
