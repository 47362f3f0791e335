import type { ApplicationName } from '@ringfence/shared/contract/application'
import { PENDING } from './decisions.ts'
import type { Decision, PolicyQuery } from './policy.ts'
import {
	PORT_MAX,
	type PortSpan,
	type RuleTransport,
	TRANSPORTS,
	transportOf,
} from './port-spec.ts'
import type { Rule } from './rule-index.ts'

/** Answers on one stretch of ports, for every state of recognition. */
interface Leaf {
	readonly unnamed: Decision
	readonly pending: Decision
	/** Applications that some rule names; all others are answered as `unnamed`. */
	readonly named: ReadonlyMap<string, Decision> | undefined
}

/** Stretches of ports: leaf `i` holds from `starts[i]` up to the next start. */
interface PortTable {
	readonly starts: Uint16Array
	readonly leaves: readonly Leaf[]
}

/** Everything that the rules say between two identities. */
export type PairTable = Readonly<Record<RuleTransport, PortTable>>

/** Turns the rule that matched, or none, into an answer. */
type Decide = (rule: Rule | undefined) => Decision

/** Start of the only stretch of most tables. */
const FROM_ZERO = Uint16Array.of(0)

/** Puts the rules between two identities into one table. @param rules in order */
export function buildPairTable(rules: readonly Rule[], decide: Decide): PairTable {
	const build = (transport: RuleTransport) => buildPortTable(rules, transport, decide)
	return { tcp: build('tcp'), udp: build('udp'), icmp: build('icmp'), other: build('other') }
}

/** The answer to a query; its identities are those the table was made for. */
export function decideByTable(table: PairTable, query: Readonly<PolicyQuery>): Decision {
	const { starts, leaves } = table[transportOf(query.protocol)]
	const leaf = leaves[stretchAt(starts, query.port)]
	if (!leaf) return PENDING
	const { application } = query
	if (application === 'pending') return leaf.pending
	if (application === undefined || !leaf.named) return leaf.unnamed
	return leaf.named.get(application) ?? leaf.unnamed
}

/** Number of leaves: what the table costs in memory. */
export function leavesOf(table: PairTable): number {
	let leaves = 0
	for (const transport of TRANSPORTS) leaves += table[transport].leaves.length
	return leaves
}

/** Index of the last start that is not above `port`. The first start is 0. */
function stretchAt(starts: Uint16Array, port: number): number {
	let low = 0
	let high = starts.length - 1
	while (low < high) {
		const middle = (low + high + 1) >> 1
		if ((starts[middle] ?? 0) <= port) low = middle
		else high = middle - 1
	}
	return low
}

function buildPortTable(
	rules: readonly Rule[],
	transport: RuleTransport,
	decide: Decide,
): PortTable {
	// Only TCP and UDP are recognised: elsewhere a rule that names applications never matches, and nothing is pending.
	const isNamed = transport === 'tcp' || transport === 'udp'
	const relevant = rules.filter(
		(rule) => rule.ports[transport].length > 0 && (isNamed || !rule.applications),
	)
	const starts = startsOf(relevant, transport)
	const coats = paint(relevant, transport, starts)
	const table = { starts: [] as number[], leaves: [] as Leaf[] }
	for (const [index, start] of starts.entries()) {
		if (index > 0 && coats.all.every((coat) => coat.at(index) === coat.at(index - 1))) continue
		table.starts.push(start)
		table.leaves.push(leafAt(index, coats, (rank) => decide(relevant[rank])))
	}
	const isWhole = table.starts.length === 1
	return { starts: isWhole ? FROM_ZERO : Uint16Array.from(table.starts), leaves: table.leaves }
}

/** Ports at which the set of matching rules may change. */
function startsOf(rules: readonly Rule[], transport: RuleTransport): Uint16Array {
	const starts = new Set([0])
	for (const rule of rules) {
		for (const { first, last } of rule.ports[transport]) {
			starts.add(first)
			if (last < PORT_MAX) starts.add(last + 1)
		}
	}
	return Uint16Array.from(starts).sort()
}

/** Which rule comes first on each stretch, for sessions without a name and for each application that a rule names. */
interface Coats {
	readonly unnamed: Coat
	readonly named: ReadonlyMap<ApplicationName, Coat>
	readonly all: readonly Coat[]
}

function paint(rules: readonly Rule[], transport: RuleTransport, starts: Uint16Array): Coats {
	const unnamed = new Coat(starts.length)
	const named = new Map<ApplicationName, Coat>()
	for (const name of new Set(rules.flatMap((rule) => rule.applications ?? []))) {
		named.set(name, new Coat(starts.length))
	}
	const all = [unnamed, ...named.values()]
	for (const [index, rule] of rules.entries()) {
		const coats = rule.applications ? rule.applications.map((name) => named.get(name)) : all
		for (const span of rule.ports[transport]) {
			const [from, to] = stretchesOf(starts, span)
			for (const coat of coats) coat?.paint(from, to, index)
		}
	}
	return { unnamed, named, all }
}

function stretchesOf(starts: Uint16Array, { first, last }: PortSpan): readonly [number, number] {
	return [stretchAt(starts, first), stretchAt(starts, last)]
}

function leafAt(index: number, coats: Coats, decide: (rank: number) => Decision): Leaf {
	const unnamed = decide(coats.unnamed.at(index))
	const named = new Map<string, Decision>()
	for (const [name, coat] of coats.named) {
		const answer = decide(coat.at(index))
		if (answer !== unnamed) named.set(name, answer)
	}
	if (named.size === 0) return { unnamed, pending: unnamed, named: undefined }
	const isOneAction = [...named.values()].every((answer) => answer.action === unnamed.action)
	return { unnamed, pending: isOneAction ? unnamed : PENDING, named }
}

/**
 * Stretches, painted with rules in order; what is painted stays. Painted stretches are skipped by a disjoint-set
 * forest, so a coat costs its stretches once and each rule little more than its spans.
 */
class Coat {
	readonly #rules: Int32Array
	/** Per stretch: itself when unpainted, otherwise a stretch further on. */
	readonly #next: Int32Array

	constructor(stretches: number) {
		this.#rules = new Int32Array(stretches).fill(-1)
		this.#next = Int32Array.from({ length: stretches + 1 }, (_, index) => index)
	}

	/** Index of the rule on a stretch, -1 for none. */
	at(stretch: number): number {
		return this.#rules[stretch] ?? -1
	}

	/** Paints what is still bare from stretch `from` to `to`, both included. */
	paint(from: number, to: number, rule: number): void {
		for (let at = this.#bareFrom(from); at <= to; at = this.#bareFrom(at)) {
			this.#rules[at] = rule
			this.#next[at] = at + 1
		}
	}

	#bareFrom(stretch: number): number {
		const next = this.#next
		let at = stretch
		while (next[at] !== at) {
			// Path halving keeps later walks short.
			const further = next[next[at] ?? at] ?? at
			next[at] = further
			at = further
		}
		return at
	}
}
