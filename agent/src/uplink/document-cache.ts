import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MESSAGE_BYTES_MAX } from '@ringfence/shared/contract/codec'
import { type SignedHead, signedHeadSchema } from '@ringfence/shared/contract/messages'
import { documentVersionSchema } from '@ringfence/shared/contract/policy'
import type { DocumentName } from '@ringfence/shared/contract/topics'
import { replaceFile, syncDirectory } from './atomic-file.ts'
import type { DocumentVersion, VerifiedHead } from './signed-head.ts'

/** A document as it was in force once; nothing of it is checked yet. */
export interface CachedDocument {
	readonly signed: SignedHead
	readonly shards: readonly Uint8Array[]
}

const HEAD_FILE = 'head.json'
const VERSION_FILE = 'version.json'
const HEAD_BYTES_MAX = 16 * 1024
const SHARDS_MAX = 16
const SHARD_NAME = /^[0-9a-f]{64}$/
const DURABLE = { mode: 0o600, isSynced: true }

/**
 * The documents in force, on disk, so that a start without a controller enforces them: a directory each, with the signed
 * head and one file a shard. The head is written last and replaced whole, so it always names shards that are there.
 */
export class DocumentCache {
	readonly #dir: string
	/** Files written by this run. Others may be damaged, so the first `save` writes all of them. */
	readonly #written = new Set<string>()

	/** @param dir of one node's identity: another node's documents are never looked at */
	constructor(dir: string) {
		this.#dir = dir
	}

	/** Reads what was in force; undefined when there is nothing. Throws when it cannot be read or is no cache. */
	async load(document: DocumentName): Promise<CachedDocument | undefined> {
		const dir = join(this.#dir, document)
		const bytes = await readBounded(join(dir, HEAD_FILE), HEAD_BYTES_MAX)
		if (!bytes) return undefined
		const signed = signedHeadSchema.parse(JSON.parse(bytes.toString('utf8')))
		const names = (await readdir(dir)).filter((name) => SHARD_NAME.test(name))
		const shards: Uint8Array[] = []
		for (const name of names.slice(0, 2 * SHARDS_MAX)) {
			const shard = await readBounded(join(dir, name), MESSAGE_BYTES_MAX)
			if (shard) shards.push(shard)
		}
		return { signed, shards }
	}

	/** The highest version that was ever in force here; kept apart, so that an older cache put in place is told. */
	async loadVersion(document: DocumentName): Promise<DocumentVersion | undefined> {
		const bytes = await readBounded(join(this.#dir, document, VERSION_FILE), HEAD_BYTES_MAX)
		return bytes && documentVersionSchema.parse(JSON.parse(bytes.toString('utf8')))
	}

	/** Keeps a document that came into force, and drops the shards of the one before. */
	async save(head: VerifiedHead, shards: ReadonlyMap<string, Uint8Array>): Promise<void> {
		const { document, epoch, generation } = head.head
		const dir = join(this.#dir, document)
		await mkdir(dir, { recursive: true, mode: 0o700 })
		for (const [digest, bytes] of shards) {
			const path = join(dir, digest)
			if (!this.#written.has(path)) await replaceFile(path, bytes, DURABLE)
			this.#written.add(path)
		}
		await replaceFile(join(dir, HEAD_FILE), JSON.stringify(head.signed), DURABLE)
		const version = JSON.stringify({ epoch, generation })
		await replaceFile(join(dir, VERSION_FILE), version, DURABLE)
		await syncDirectory(dir)
		for (const name of await readdir(dir)) {
			if (!SHARD_NAME.test(name) || shards.has(name)) continue
			this.#written.delete(join(dir, name))
			await rm(join(dir, name), { force: true })
		}
	}
}

async function readBounded(path: string, bytesMax: number): Promise<Buffer | undefined> {
	try {
		const { size } = await stat(path)
		if (size > bytesMax) throw new Error(`${path} is larger than ${bytesMax} bytes`)
		return await readFile(path)
	} catch (error) {
		if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
		throw error
	}
}
