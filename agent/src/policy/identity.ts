/**
 * A set of groups as one small integer: rules are looked up by identity, so that a thousand addresses with the
 * same groups cost as much as one.
 */
export interface Identity {
	/** Dense, from 0. */
	readonly id: number
	/** Group numbers, ascending, each once. */
	readonly groups: readonly number[]
	/** False for an address inside the fleet that the address map does not name yet. */
	readonly isKnown: boolean
}

/** Numbers for group names, and one `Identity` for each distinct set of groups. */
export class Identities {
	readonly #groups = new Map<string, number>()
	readonly #byKey = new Map<string, Identity>()

	/** The number of a group; the first time it is named it gets the next one. */
	group(name: string): number {
		const known = this.#groups.get(name)
		if (known !== undefined) return known
		const next = this.#groups.size
		this.#groups.set(name, next)
		return next
	}

	/** The identity of a set of groups, whatever their order. */
	intern(groups: Iterable<number>, isKnown: boolean): Identity {
		const sorted = [...new Set(groups)].sort((a, b) => a - b)
		const key = `${isKnown ? '+' : '-'}${sorted.join(' ')}`
		const known = this.#byKey.get(key)
		if (known) return known
		const identity = { id: this.#byKey.size, groups: sorted, isKnown }
		this.#byKey.set(key, identity)
		return identity
	}
}
