import { createHash } from 'node:crypto'
import type { Decoded } from '@ringfence/shared/contract/codec'
import { type Document, shardOf } from '@ringfence/shared/contract/policy'
import type { DocumentName } from '@ringfence/shared/contract/topics'
import {
	compareVersions,
	type DocumentVersion,
	describeVersion,
	type VerifiedHead,
} from './signed-head.ts'

/** What the two documents differ in. */
export interface DocumentForm<Entry> {
	readonly name: DocumentName
	/** Inflates and checks a shard. */
	decode(bytes: Uint8Array): Promise<Decoded<Record<string, Entry>>>
	/** Key that an entry must have. */
	keyOf(entry: Entry): string
}

/** A document that is complete and checked. */
export interface Candidate<Entry> {
	readonly head: VerifiedHead
	/** The shards' bytes, by digest. */
	readonly shards: ReadonlyMap<string, Uint8Array>
	readonly document: Document<Entry>
}

export type HeadOffer =
	| { readonly kind: 'wanted' }
	/** In force, or waiting, already. */
	| { readonly kind: 'known'; readonly isApplied: boolean }
	| { readonly kind: 'refused'; readonly why: string }

export type Assembly =
	/** There is nothing to put together, or it is done: see `ready`. */
	| { readonly kind: 'done' }
	| { readonly kind: 'missing'; readonly shards: number }
	| { readonly kind: 'refused'; readonly head: VerifiedHead; readonly why: string }

/** Shards that no head asks for: they come before their head, or are left over. Beyond, the oldest go. */
const STRAY_SHARDS_MAX = 32
const STRAY_BYTES_MAX = 16 * 1024 * 1024

/**
 * One document on its way to this node: the head that is wanted, the shards that came, and what is in force. Shards are
 * known by the digest of their bytes, so it does not matter when, where and how often they come.
 */
export class DesiredDocument<Entry> {
	readonly form: DocumentForm<Entry>
	#wanted: VerifiedHead | undefined
	#ready: Candidate<Entry> | undefined
	#isReadyTried = false
	#applied: Candidate<Entry> | undefined
	/** No head below it is taken, even when the document itself is lost. */
	#lowest: DocumentVersion | undefined
	readonly #shards = new Map<string, Uint8Array>()
	readonly #decoded = new Map<string, Record<string, Entry>>()

	constructor(form: DocumentForm<Entry>) {
		this.form = form
	}

	get applied(): Candidate<Entry> | undefined {
		return this.#applied
	}

	/** Complete, but not in force: it waits for the other document, or was refused together with it. */
	get ready(): Candidate<Entry> | undefined {
		return this.#ready
	}

	/** `ready`, unless it was tried already. */
	get untried(): Candidate<Entry> | undefined {
		return this.#isReadyTried ? undefined : this.#ready
	}

	/** Sets the version below which nothing is taken. */
	setLowest(version: DocumentVersion): void {
		this.#lowest = version
	}

	/** Takes a verified head if it is news. */
	offerHead(offered: VerifiedHead): HeadOffer {
		const { head } = offered
		for (const known of [this.#wanted?.head, this.#applied?.head.head]) {
			if (known && compareVersions(head, known) === 0) {
				const isSame = head.shards.join() === known.shards.join()
				if (isSame) return { kind: 'known', isApplied: known === this.#applied?.head.head }
				return { kind: 'refused', why: 'same version as a head before, with other content' }
			}
		}
		const lowest = this.#newest()
		if (lowest && compareVersions(head, lowest) < 0) {
			const why = `older than ${describeVersion(lowest)}, which this node knows`
			return { kind: 'refused', why }
		}
		this.#wanted = offered
		return { kind: 'wanted' }
	}

	/** Keeps a shard until a head asks for it. */
	offerShard(bytes: Uint8Array): void {
		const digest = createHash('sha256').update(bytes).digest('hex')
		if (this.#shards.has(digest)) return
		// The message is a view into the socket's buffer; only its own bytes are kept.
		this.#shards.set(digest, Uint8Array.from(bytes))
		this.#prune()
	}

	/** Puts the wanted document together, if all of it is there; a damaged one is not wanted any more. */
	async assemble(): Promise<Assembly> {
		const wanted = this.#wanted
		if (!wanted || this.#ready?.head === wanted) return { kind: 'done' }
		const digests = wanted.head.shards
		const shards = new Map<string, Uint8Array>()
		for (const digest of digests) {
			const bytes = this.#shards.get(digest)
			if (bytes) shards.set(digest, bytes)
		}
		const missing = new Set(digests).size - shards.size
		if (missing > 0) return { kind: 'missing', shards: missing }
		const entries = await this.#merge(digests, shards)
		if (typeof entries === 'string') {
			this.#drop(wanted)
			return { kind: 'refused', head: wanted, why: entries }
		}
		const { epoch, generation } = wanted.head
		this.#ready = { head: wanted, shards, document: { epoch, generation, entries } }
		this.#isReadyTried = false
		return { kind: 'done' }
	}

	/** The candidate is in force. */
	commit(candidate: Candidate<Entry>): void {
		this.#applied = candidate
		if (this.#ready === candidate) this.#ready = undefined
		this.#drop(candidate.head)
	}

	/** The candidate is not to be in force. The first one is kept: it may be right beside another counterpart. */
	decline(candidate: Candidate<Entry>): void {
		if (this.#ready === candidate) {
			this.#isReadyTried = true
			if (this.#applied) this.#ready = undefined
		}
		this.#drop(candidate.head)
	}

	/** The head is done with. When it is sent again, it is tried again. */
	#drop(head: VerifiedHead): void {
		if (this.#wanted === head) this.#wanted = undefined
		this.#prune()
	}

	/** All entries of all shards, or what is wrong with them. */
	async #merge(
		digests: readonly string[],
		shards: ReadonlyMap<string, Uint8Array>,
	): Promise<ReadonlyMap<string, Entry> | string> {
		const entries = new Map<string, Entry>()
		for (const [index, digest] of digests.entries()) {
			const shard = await this.#decode(digest, shards.get(digest))
			if (!shard.ok) return `shard ${index}: ${shard.why}`
			for (const [key, entry] of Object.entries(shard.value)) {
				const isInPlace = shardOf(key, digests.length) === index
				const why = this.#misplaced(key, entry, isInPlace)
				if (why) return `shard ${index}: ${why}`
				entries.set(key, entry)
			}
		}
		return entries
	}

	#newest(): DocumentVersion | undefined {
		const known = [this.#wanted?.head, this.#applied?.head.head, this.#lowest]
		return known
			.filter((version) => version !== undefined)
			.sort(compareVersions)
			.at(-1)
	}

	async #decode(
		digest: string,
		bytes: Uint8Array | undefined,
	): Promise<Decoded<Record<string, Entry>>> {
		const decoded = this.#decoded.get(digest)
		if (decoded) return { ok: true, value: decoded }
		if (!bytes) return { ok: false, why: 'is gone' }
		const shard = await this.form.decode(bytes)
		if (shard.ok) this.#decoded.set(digest, shard.value)
		return shard
	}

	#misplaced(key: string, entry: Entry, isInPlace: boolean): string | undefined {
		if (!isInPlace) return `entry ${key} belongs into another shard`
		const right = this.form.keyOf(entry)
		return right === key ? undefined : `entry ${key} should have the key ${right}`
	}

	/** Drops what neither the wanted head nor the one in force needs: parsed at once, bytes under a bound. */
	#prune(): void {
		const needed = new Set([
			...(this.#wanted?.head.shards ?? []),
			...(this.#applied?.head.head.shards ?? []),
		])
		for (const digest of this.#decoded.keys()) {
			if (!needed.has(digest)) this.#decoded.delete(digest)
		}
		const strays = [...this.#shards].filter(([digest]) => !needed.has(digest))
		let count = strays.length
		let bytes = strays.reduce((sum, [, shard]) => sum + shard.length, 0)
		for (const [digest, shard] of strays) {
			if (count <= STRAY_SHARDS_MAX && bytes <= STRAY_BYTES_MAX) break
			this.#shards.delete(digest)
			count -= 1
			bytes -= shard.length
		}
	}
}
