import type { Mode } from '@ringfence/shared/contract/policy'
import type { Identities, Identity } from './identity.ts'
import type { PeerIndex, PlacedEntry } from './peers.ts'

/** A workload as the owner of a port: what its rules are looked up by. Workloads that are alike share one. */
export interface Subject {
	/** Dense, from 0. */
	readonly id: number
	readonly identity: Identity
	readonly mode: Mode
	/** Whether the address map names it. */
	readonly isKnown: boolean
}

interface SubjectSources {
	readonly identities: Identities
	readonly peers: PeerIndex
	/** Modes of the groups that have one. */
	readonly modes: ReadonlyMap<string, Mode>
	readonly newServiceMode: Mode
}

const STRICTNESS: Readonly<Record<Mode, number>> = { discover: 0, monitor: 1, protect: 2 }

/** Workloads and nodes of the address map by id. */
export class SubjectIndex {
	readonly #byWorkload = new Map<string, Subject>()
	readonly #byKey = new Map<string, Subject>()
	/** A workload that the address map does not name yet: no groups, mode of new services. */
	readonly #stranger: Subject

	constructor(entries: readonly PlacedEntry[], sources: SubjectSources) {
		const { identities, newServiceMode } = sources
		this.#stranger = {
			id: 0,
			identity: identities.intern([], true),
			mode: newServiceMode,
			isKnown: false,
		}
		for (const [workload, its] of entriesByWorkload(entries)) {
			const identity = identityOf(its, sources)
			this.#byWorkload.set(workload, this.#intern(identity, modeOf(its, sources)))
		}
	}

	find(workload: string): Subject {
		return this.#byWorkload.get(workload) ?? this.#stranger
	}

	#intern(identity: Identity, mode: Mode): Subject {
		const key = `${identity.id} ${mode}`
		const made = this.#byKey.get(key)
		if (made) return made
		const subject = { id: this.#byKey.size + 1, identity, mode, isKnown: true }
		this.#byKey.set(key, subject)
		return subject
	}
}

function entriesByWorkload(entries: readonly PlacedEntry[]): Map<string, PlacedEntry[]> {
	const byWorkload = new Map<string, PlacedEntry[]>()
	for (const placed of entries) {
		const { kind, id } = placed.entry
		if (kind === 'custom') continue
		const its = byWorkload.get(id)
		if (its) its.push(placed)
		else byWorkload.set(id, [placed])
	}
	return byWorkload
}

/** Groups of all its addresses, each as a peer sees it, so that both ends of a session find the same rules. */
function identityOf(its: readonly PlacedEntry[], { identities, peers }: SubjectSources): Identity {
	const groups = its.flatMap(({ cidr }) => peers.at(cidr).identity.groups)
	return identities.intern(groups, true)
}

/** The mode of its learned group; the strictest, should an address list more than one. */
function modeOf(its: readonly PlacedEntry[], { modes, newServiceMode }: SubjectSources): Mode {
	let strictest: Mode | undefined
	for (const { entry } of its) {
		for (const name of entry.groups) {
			const mode = modes.get(name)
			if (mode && (!strictest || STRICTNESS[mode] > STRICTNESS[strictest])) strictest = mode
		}
	}
	return strictest ?? newServiceMode
}
