import { decodeMessage } from '@ringfence/shared/contract/codec'
import {
	type DocumentStatus,
	type Hello,
	signedHeadSchema,
} from '@ringfence/shared/contract/messages'
import {
	type AddressEntry,
	addressesShardSchema,
	type Document,
	type PolicyEntry,
	policyShardSchema,
} from '@ringfence/shared/contract/policy'
import type { DocumentName } from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import type { Backoff } from './backoff.ts'
import type { Counters } from './counters.ts'
import { type Candidate, DesiredDocument, type DocumentForm } from './desired-document.ts'
import type { DocumentCache } from './document-cache.ts'
import type { Identity } from './identity.ts'
import type { Log } from './log.ts'
import type { Rejections } from './rejections.ts'
import {
	compareVersions,
	type DocumentVersion,
	describeVersion,
	verifyHead,
} from './signed-head.ts'
import { messageOf } from './uplink-error.ts'

/** Both documents: an address map alone has nothing to say, and a policy alone would call every peer unknown. */
export interface DocumentPair {
	readonly policy: Document<PolicyEntry>
	readonly addresses: Document<AddressEntry>
}

export type ApplyResult = { readonly ok: true } | { readonly ok: false; readonly why: string }

export interface DocumentsOptions {
	readonly identity: Identity
	readonly boot: string
	readonly cache: DocumentCache
	readonly counters: Counters
	readonly rejections: Rejections
	readonly log: Log
	/** How long shards may be missing before all retained messages are asked for again. */
	readonly refetch: Backoff
	apply(documents: DocumentPair): Promise<ApplyResult>
	/** Asks the broker for all retained messages. */
	fetchAgain(): void
	publishStatus(status: DocumentStatus): void
}

const POLICY: DocumentForm<PolicyEntry> = {
	name: 'policy',
	decode: (bytes) => decodeMessage(policyShardSchema, bytes),
	keyOf: (entry) => {
		if (entry.kind === 'settings') return 'settings'
		return entry.kind === 'group' ? `group:${entry.name}` : `rule:${entry.id}`
	},
}
const ADDRESSES: DocumentForm<AddressEntry> = {
	name: 'addresses',
	decode: (bytes) => decodeMessage(addressesShardSchema, bytes),
	keyOf: (entry) => entry.network,
}

type AnyDocument = DesiredDocument<PolicyEntry> | DesiredDocument<AddressEntry>

/** Bytes of a head's message: `SignedHead` with all its fields at their largest, escaped, is smaller. */
const HEAD_BYTES_MAX = 32 * 1024
/** Refusals published in that time; the rest is only counted, so that nobody can have us flood the broker. */
const REFUSALS_MAX = 10
const REFUSALS_PER_MS = 10_000
/** Of `proseSchema`. */
const PROSE_MAX = 1024

/** The desired documents of this node: verified, put together, applied, answered for, and kept for the next start. */
export class Documents {
	readonly #options: DocumentsOptions
	readonly #policy = new DesiredDocument(POLICY)
	readonly #addresses = new DesiredDocument(ADDRESSES)
	readonly #statuses = new Map<DocumentName, DocumentStatus>()
	#refusals = { since: 0, count: 0 }
	#settling: Promise<void> | undefined
	#isSettleWanted = false
	#refetchTimer: NodeJS.Timeout | undefined
	#refetches = 0
	#isLoading = false
	#isStopped = false

	constructor(options: DocumentsOptions) {
		this.#options = options
	}

	/** Puts in force what an earlier run kept, after the same checks as if it came from the controller. */
	async loadCache(): Promise<void> {
		for (const document of [this.#addresses, this.#policy]) {
			await this.#loadCached(document).catch((error: unknown) => {
				const fields = { document: document.form.name, why: messageOf(error) }
				this.#options.counters.add('documentCacheRefused')
				this.#options.log('error', 'a document on disk is refused', fields)
			})
		}
		this.#isLoading = true
		await this.#settle()
		this.#isLoading = false
	}

	/** Takes a head from the broker. */
	async onHead(name: DocumentName, topic: string, payload: Uint8Array): Promise<void> {
		const { rejections, identity } = this.#options
		if (payload.length > HEAD_BYTES_MAX) {
			rejections.add('tooLarge', topic, `${payload.length} bytes`)
			return
		}
		const decoded = await decodeMessage(signedHeadSchema, payload)
		if (!decoded.ok) {
			rejections.addUndecoded(topic, decoded.why)
			this.#refuse(name, { epoch: 0, generation: 0 }, decoded.why)
			return
		}
		const check = verifyHead(identity, name, decoded.value)
		if (!check.ok) {
			rejections.add(check.reason, topic, check.why)
			this.#refuse(name, check.claimed, check.why)
			return
		}
		const offer = this.#desired(name).offerHead(check)
		if (offer.kind === 'refused') {
			rejections.add('rollback', topic, offer.why)
			this.#refuse(name, check.head, offer.why)
		} else if (offer.kind === 'known' && offer.isApplied) {
			this.#answer(name, check.head)
		}
		this.#settleSoon()
	}

	/** Takes a shard from the broker; whether it is of any use only a head tells. */
	onShard(name: DocumentName, payload: Uint8Array): void {
		this.#desired(name).offerShard(payload)
		this.#settleSoon()
	}

	/** Versions in force. */
	applied(): Hello['applied'] {
		return [this.#policy, this.#addresses].flatMap(({ form, applied }) => {
			if (!applied) return []
			const { epoch, generation } = applied.document
			return [{ document: form.name, epoch, generation }]
		})
	}

	/** Publishes the last answers again: a broker may have lost what it retained. */
	announce(): void {
		for (const status of this.#statuses.values()) this.#options.publishStatus(status)
	}

	async stop(): Promise<void> {
		this.#isStopped = true
		clearTimeout(this.#refetchTimer)
		await this.#settling
	}

	#desired(name: DocumentName): AnyDocument {
		return name === 'policy' ? this.#policy : this.#addresses
	}

	async #loadCached(document: AnyDocument): Promise<void> {
		const { cache, identity } = this.#options
		const { name } = document.form
		const lowest = await cache.loadVersion(name)
		if (lowest) document.setLowest(lowest)
		const cached = await cache.load(name)
		if (!cached) return
		const check = verifyHead(identity, name, cached.signed)
		if (!check.ok) throw new Error(check.why)
		if (lowest && compareVersions(check.head, lowest) < 0) {
			throw new Error(`it is older than ${describeVersion(lowest)}, which was in force here`)
		}
		for (const shard of cached.shards) document.offerShard(shard)
		document.offerHead(check)
		const assembly = await document.assemble()
		if (assembly.kind === 'refused') throw new Error(assembly.why)
		if (assembly.kind === 'missing') throw new Error('shards are missing or damaged')
	}

	#settleSoon(): void {
		this.#isSettleWanted = true
		this.#settling ??= this.#settleAll().finally(() => {
			this.#settling = undefined
			if (this.#isSettleWanted && !this.#isStopped) this.#settleSoon()
		})
	}

	async #settleAll(): Promise<void> {
		while (this.#isSettleWanted && !this.#isStopped) {
			this.#isSettleWanted = false
			await this.#settle()
		}
	}

	/** Puts together what is complete, and in force what is new. */
	async #settle(): Promise<void> {
		let missing = 0
		for (const document of [this.#addresses, this.#policy]) {
			const assembly = await document.assemble()
			if (assembly.kind === 'missing') missing += assembly.shards
			if (assembly.kind !== 'refused') continue
			const { name } = document.form
			this.#options.rejections.add('badShard', name, assembly.why)
			this.#refuse(name, assembly.head.head, assembly.why)
		}
		this.#watchMissing(missing)
		const policy = this.#policy.untried
		const addresses = this.#addresses.untried
		if (!this.#policy.applied || !this.#addresses.applied) {
			if (policy || addresses) await this.#try(this.#policy.ready, this.#addresses.ready)
			return
		}
		// Addresses first: a rule may speak of members that only the new map knows.
		if (addresses) await this.#try(undefined, addresses)
		if (policy) await this.#try(policy, undefined)
	}

	/** Puts candidates in force, beside what is in force of the other document. Without both nothing happens. */
	async #try(
		newPolicy: Candidate<PolicyEntry> | undefined,
		newAddresses: Candidate<AddressEntry> | undefined,
	): Promise<void> {
		const policy = (newPolicy ?? this.#policy.applied)?.document
		const addresses = (newAddresses ?? this.#addresses.applied)?.document
		if (!policy || !addresses) return
		const result = await this.#options
			.apply({ policy, addresses })
			.catch((error: unknown): ApplyResult => ({ ok: false, why: messageOf(error) }))
		if (newAddresses) this.#conclude(this.#addresses, newAddresses, result)
		if (newPolicy) this.#conclude(this.#policy, newPolicy, result)
		if (!result.ok || this.#isLoading) return
		if (newAddresses) await this.#keep(newAddresses)
		if (newPolicy) await this.#keep(newPolicy)
	}

	#conclude<Entry>(
		document: DesiredDocument<Entry>,
		candidate: Candidate<Entry>,
		result: ApplyResult,
	): void {
		const { name } = document.form
		const { head } = candidate.head
		const { counters, log } = this.#options
		const fields = { document: name, epoch: head.epoch, generation: head.generation }
		if (!result.ok) {
			document.decline(candidate)
			log('error', 'a document is refused; the last good one stays in force', {
				...fields,
				why: result.why,
			})
			this.#refuse(name, head, result.why)
			return
		}
		document.commit(candidate)
		counters.add('documentsApplied')
		log('info', 'a document is in force', { ...fields, entries: candidate.document.entries.size })
		this.#answer(name, head)
	}

	/** Keeps a document for the next start. Without a disk it is in force all the same. */
	async #keep({ head, shards }: Candidate<PolicyEntry> | Candidate<AddressEntry>): Promise<void> {
		await this.#options.cache.save(head, shards).catch((error: unknown) => {
			this.#options.counters.add('documentCacheErrors')
			this.#options.log('error', 'a document is in force but not on disk', {
				document: head.head.document,
				why: messageOf(error),
			})
		})
	}

	/** Asks for everything again when shards stay away; the broker may have dropped them. */
	#watchMissing(missing: number): void {
		if (missing === 0) {
			clearTimeout(this.#refetchTimer)
			this.#refetchTimer = undefined
			this.#refetches = 0
			return
		}
		if (this.#refetchTimer !== undefined) return
		const { firstMs, maxMs } = this.#options.refetch
		const waitMs = Math.min(maxMs, firstMs * 2 ** this.#refetches)
		this.#refetchTimer = setTimeout(() => {
			this.#refetchTimer = undefined
			this.#refetches += 1
			this.#options.counters.add('documentsRefetched')
			this.#options.log('warn', 'shards of a document are missing; asked for again', { missing })
			this.#options.fetchAgain()
			this.#settleSoon()
		}, waitMs)
	}

	/** Says that this version is in force. */
	#answer(document: DocumentName, version: DocumentVersion): void {
		this.#publish({ ...this.#statusOf(document, version), state: 'applied' })
	}

	/** Says why this version is not. */
	#refuse(document: DocumentName, version: DocumentVersion, why: string): void {
		this.#options.counters.add('documentsRejected')
		const now = Date.now()
		if (now - this.#refusals.since > REFUSALS_PER_MS) this.#refusals = { since: now, count: 0 }
		this.#refusals.count += 1
		if (this.#refusals.count > REFUSALS_MAX) return
		const status = this.#statusOf(document, version)
		this.#publish({ ...status, state: 'rejected', why: why.slice(0, PROSE_MAX) })
	}

	#statusOf(document: DocumentName, { epoch, generation }: DocumentVersion) {
		const { boot } = this.#options
		return { v: CONTRACT_VERSION, boot, document, epoch, generation, at: Date.now() } as const
	}

	#publish(status: DocumentStatus): void {
		this.#statuses.set(status.document, status)
		this.#options.publishStatus(status)
	}
}
