import type {
	AddressEntry,
	Document,
	Mode,
	PolicyEntry,
	PolicySettings,
	RuleEntry,
} from '@ringfence/shared/contract/policy'
import { defaultDecision, NO_POLICY_DECISION, RuleDecisions } from './decisions.ts'
import { Identities, type Identity } from './identity.ts'
import { PairMemo } from './pair-memo.ts'
import { buildPairTable, decideByTable, type PairTable } from './pair-table.ts'
import { PeerIndex, type PlacedEntry, placeEntries } from './peers.ts'
import type { CompiledPolicy, Decision, PolicyQuery, Side } from './policy.ts'
import { PolicyRejected } from './rejected.ts'
import { RuleIndex } from './rule-index.ts'
import { type Subject, SubjectIndex } from './subjects.ts'

/** What a node was told. Either document may come first. */
export interface PolicyDocuments {
	readonly policy?: Document<PolicyEntry> | undefined
	readonly addresses?: Document<AddressEntry> | undefined
}

/** In force until the first policy document comes: everything is let through and learned. */
export const NO_POLICY: CompiledPolicy = Object.freeze({
	generation: 0,
	lookup: () => NO_POLICY_DECISION,
	peerWorkload: () => undefined,
})

/**
 * Makes look-ups of the documents; `docs/decisions/0002-policy-lookup.md` says how. The documents must have passed
 * their schemas, and are not read again afterwards.
 * @param previous what this replaces: the new generation is higher, also after the controller's numbers fell with a new epoch
 * @throws PolicyRejected when the documents contradict themselves; nothing of them is in force then
 */
export function compilePolicy(
	documents: PolicyDocuments,
	previous: CompiledPolicy = NO_POLICY,
): CompiledPolicy {
	const { policy, addresses } = documents
	const received = (policy?.generation ?? 0) + (addresses?.generation ?? 0)
	const generation = Math.max(received, previous.generation + 1)
	const entries = placeEntries(addresses?.entries.values() ?? [])
	if (!policy) {
		const peers = new PeerIndex(entries, [], new Identities())
		return {
			generation,
			lookup: () => NO_POLICY_DECISION,
			peerWorkload: (query) => peers.find(query).workload,
		}
	}
	return new Compiled(generation, sortEntries(policy), entries)
}

interface SortedEntries {
	readonly settings: PolicySettings
	readonly modes: ReadonlyMap<string, Mode>
	readonly rules: readonly RuleEntry[]
}

function sortEntries(policy: Document<PolicyEntry>): SortedEntries {
	const modes = new Map<string, Mode>()
	const rules: RuleEntry[] = []
	let settings: PolicySettings | undefined
	for (const entry of policy.entries.values()) {
		switch (entry.kind) {
			case 'settings':
				if (settings) throw new PolicyRejected('the policy has two settings')
				settings = entry
				break
			case 'group':
				if (modes.has(entry.name)) throw new PolicyRejected(`group ${entry.name} comes twice`)
				modes.set(entry.name, entry.mode)
				break
			case 'rule':
				rules.push(entry)
				break
		}
	}
	if (!settings) throw new PolicyRejected('the policy has no settings')
	return { settings, modes, rules }
}

class Compiled implements CompiledPolicy {
	readonly generation: number
	readonly #peers: PeerIndex
	readonly #subjects: SubjectIndex
	readonly #rules: RuleIndex
	readonly #decisions = new RuleDecisions()
	readonly #memo = new PairMemo()
	readonly #unruled = new Map<Decision, PairTable>()

	constructor(generation: number, sorted: SortedEntries, addresses: readonly PlacedEntry[]) {
		const { settings, modes, rules } = sorted
		const { newServiceMode, fleetNetworks } = settings
		const identities = new Identities()
		const peers = new PeerIndex(addresses, fleetNetworks, identities)
		this.generation = generation
		this.#peers = peers
		this.#subjects = new SubjectIndex(addresses, { identities, peers, modes, newServiceMode })
		this.#rules = new RuleIndex(rules, identities)
	}

	lookup(query: Readonly<PolicyQuery>): Decision {
		const subject = this.#subjects.find(query.workload)
		const peer = this.#peers.find(query).identity
		const table =
			this.#memo.get(rowOf(subject, query.side), peer.id) ?? this.#make(subject, query.side, peer)
		return decideByTable(table, query)
	}

	peerWorkload(query: Readonly<PolicyQuery>): string | undefined {
		return this.#peers.find(query).workload
	}

	#make(subject: Subject, side: Side, peer: Identity): PairTable {
		const { identity, mode } = subject
		const rules =
			side === 'client' ? this.#rules.between(identity, peer) : this.#rules.between(peer, identity)
		const unruled = defaultDecision(mode, {
			isWorkloadKnown: subject.isKnown,
			isPeerKnown: peer.isKnown,
		})
		const table =
			rules.length === 0
				? this.#unruledTable(unruled)
				: buildPairTable(rules, (rule) => (rule ? this.#decisions.of(rule, mode) : unruled))
		this.#memo.set(rowOf(subject, side), peer.id, table)
		return table
	}

	/** Most pairs have no rule: those of one default share a table. */
	#unruledTable(unruled: Decision): PairTable {
		const made = this.#unruled.get(unruled)
		if (made) return made
		const table = buildPairTable([], () => unruled)
		this.#unruled.set(unruled, table)
		return table
	}
}

function rowOf(subject: Subject, side: Side): number {
	return subject.id * 2 + (side === 'client' ? 0 : 1)
}
