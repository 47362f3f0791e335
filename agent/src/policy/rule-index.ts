import type { ApplicationName } from '@ringfence/shared/contract/application'
import type { RuleEntry } from '@ringfence/shared/contract/policy'
import type { Identities, Identity } from './identity.ts'
import { type PortSpec, parsePortSpec } from './port-spec.ts'

/** A rule with its texts read. */
export interface Rule {
	readonly id: string
	/** Place in the order of all rules, from 0. */
	readonly rank: number
	readonly isAllow: boolean
	readonly ports: PortSpec
	/** Undefined: any application, named or not. */
	readonly applications: readonly ApplicationName[] | undefined
}

/** Rules by (from group, to group). Cost of a look-up grows with the groups of the two ends, not with the rules. */
export class RuleIndex {
	readonly #byGroups = new Map<number, Map<number, Rule[]>>()

	constructor(entries: readonly RuleEntry[], identities: Identities) {
		const portSpecs = new Map<string, PortSpec>()
		const applicationLists = new Map<string, readonly ApplicationName[] | undefined>()
		for (const [rank, entry] of [...entries].sort(byOrder).entries()) {
			this.#add(identities.group(entry.from), identities.group(entry.to), {
				id: entry.id,
				rank,
				isAllow: entry.action === 'allow',
				ports: memoised(portSpecs, entry.ports, parsePortSpec),
				applications: memoised(applicationLists, entry.applications, applicationsOf),
			})
		}
	}

	/** Rules between the two, in order. */
	between(client: Identity, server: Identity): Rule[] {
		const found: Rule[] = []
		for (const from of client.groups) {
			const byTo = this.#byGroups.get(from)
			if (!byTo) continue
			for (const to of server.groups) {
				for (const rule of byTo.get(to) ?? []) found.push(rule)
			}
		}
		return found.sort((a, b) => a.rank - b.rank)
	}

	#add(from: number, to: number, rule: Rule): void {
		const byTo = this.#byGroups.get(from) ?? new Map<number, Rule[]>()
		this.#byGroups.set(from, byTo)
		const rules = byTo.get(to)
		if (rules) rules.push(rule)
		else byTo.set(to, [rule])
	}
}

/** By `order`; equals by id, so that every node decides alike. */
function byOrder(a: RuleEntry, b: RuleEntry): number {
	if (a.order !== b.order) return a.order - b.order
	if (a.id === b.id) return 0
	return a.id < b.id ? -1 : 1
}

function applicationsOf(
	names: readonly (ApplicationName | 'any')[],
): readonly ApplicationName[] | undefined {
	const named = names.filter((name) => name !== 'any')
	return named.length === names.length ? named : undefined
}

/** Most rules share few lists of ports and applications: equal lists become one object. */
function memoised<Item extends string, Value>(
	memo: Map<string, Value>,
	list: readonly Item[],
	read: (list: readonly Item[]) => Value,
): Value {
	const key = list.join(' ')
	const known = memo.get(key)
	if (known !== undefined) return known
	const value = read(list)
	memo.set(key, value)
	return value
}
