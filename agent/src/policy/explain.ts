import { APPLICATIONS, type ApplicationName } from '@ringfence/shared/contract/application'
import type { AddressEntry, Mode, RuleEntry } from '@ringfence/shared/contract/policy'
import { type AddressWords, parseAddress } from '@ringfence/shared/net/address'
import { contains, parseCidr } from '@ringfence/shared/net/cidr'
import type { PolicyDocuments } from './compile.ts'
import type { CompiledPolicy, Decision, PolicyQuery, Side } from './policy.ts'
import { endsByScan, isInRange, lookupByScan, rulesInOrder } from './reference.ts'

/** One end of the session that is explained. */
export interface SessionEnd {
	readonly address: AddressWords
	/** Workload or node at whose port an agent decides; undefined when the address map names none. */
	readonly workload: string | undefined
}

/** What is asked; `protocol`, `port` and `application` as in `PolicyQuery`. */
export interface Question {
	readonly client: SessionEnd
	readonly server: SessionEnd
	readonly protocol: number
	readonly port: number
	readonly application: PolicyQuery['application']
}

/**
 * How a rule fares: it decides, waits for the application's name, or does not match because of its groups, ports or
 * applications, in this order.
 */
export type StepResult = 'decides' | 'waits' | 'from' | 'to' | 'port' | 'application'

/** A rule that was looked at. */
export interface Step {
	readonly rule: RuleEntry
	readonly result: StepResult
}

/** What each name of the application leads to; `undefined`: recognition ends without a name, or with any other. */
export interface Outcome {
	readonly application: ApplicationName | undefined
	readonly decision: Decision
}

/** The verdict at one port, and the way to it. */
export interface Explanation {
	readonly side: Side
	readonly workload: string
	readonly mode: Mode
	/** The engine's own answer. */
	readonly decision: Decision
	/** What a plain scan of all rules says. Another answer than the engine's is a bug. */
	readonly scanned: Decision
	readonly agrees: boolean
	readonly steps: readonly Step[]
	/** Rules between groups of which neither is an end's. */
	readonly unrelated: number
	/** Rules after the one that decides. */
	readonly unread: number
	/** While the verdict is `pending`. */
	readonly outcomes: readonly Outcome[]
}

/** Explains the verdict at the port of one end; undefined where no agent decides. */
export function explainSide(
	policy: { readonly documents: PolicyDocuments; readonly compiled: CompiledPolicy },
	question: Question,
	side: Side,
): Explanation | undefined {
	const { documents, compiled } = policy
	const [own, peer] =
		side === 'client' ? [question.client, question.server] : [question.server, question.client]
	if (own.workload === undefined) return undefined
	const query = queryOf({ ...question, side, workload: own.workload, peer: peer.address })
	const ends = endsByScan(documents, query)
	const path = walk(rulesInOrder(documents), { ...ends, query })
	const decision = compiled.lookup(query)
	const scanned = lookupByScan(documents, query)
	return {
		side,
		workload: own.workload,
		mode: ends.mode,
		decision,
		scanned,
		agrees: isSame(decision, scanned) && isPathTo(path.steps, decision),
		...path,
		outcomes: decision.action === 'pending' ? outcomesOf(compiled, query, path.steps) : [],
	}
}

/** All groups of an end, in the eyes of the other end's agent and of its own. */
export function groupsOfEnd(
	documents: PolicyDocuments,
	{ address, workload }: SessionEnd,
): string[] {
	const asked = { protocol: 6, port: 0, application: undefined, side: 'client' } as const
	const asPeer = endsByScan(documents, queryOf({ ...asked, workload: '', peer: address }))
	const asOwner =
		workload === undefined
			? undefined
			: endsByScan(documents, queryOf({ ...asked, workload, peer: address }))
	return [...new Set([...(asOwner?.client ?? []), ...asPeer.server])]
}

/**
 * Finds who is meant by an address or by the id of a workload or node. A workload may have several addresses.
 * @returns nothing for an id that the address map does not know
 */
export function endsNamed(documents: PolicyDocuments, text: string): SessionEnd[] {
	const entries = [...(documents.addresses?.entries.values() ?? [])]
	const address = parseAddress(text)
	if (address) return [{ address, workload: ownerOf(entries, address) }]
	return entries
		.filter(({ kind, id }) => kind !== 'custom' && id === text)
		.flatMap(({ network }) => parseCidr(network) ?? [])
		.map(({ words }) => ({ address: words, workload: text }))
}

/** The most specific entry of a workload, else of a node; the smallest id where two share it. */
function ownerOf(entries: readonly AddressEntry[], address: AddressWords): string | undefined {
	const owners = entries.flatMap(({ kind, id, network }) => {
		const cidr = parseCidr(network)
		if (kind === 'custom' || !cidr || !contains(cidr, address)) return []
		return [{ isWorkload: kind === 'workload', id, bits: cidr.bits }]
	})
	owners.sort(
		(a, b) =>
			Number(b.isWorkload) - Number(a.isWorkload) || b.bits - a.bits || (a.id < b.id ? -1 : 1),
	)
	return owners[0]?.id
}

interface Asked {
	readonly workload: string
	readonly side: Side
	readonly peer: AddressWords
	readonly protocol: number
	readonly port: number
	readonly application: PolicyQuery['application']
}

function queryOf({ workload, side, peer, protocol, port, application }: Asked): PolicyQuery {
	const [peer0, peer1, peer2, peer3] = peer
	return { workload, side, peer0, peer1, peer2, peer3, protocol, port, application }
}

interface Walk {
	readonly client: ReadonlySet<string>
	readonly server: ReadonlySet<string>
	readonly query: PolicyQuery
}

/** Looks at one rule after the other until one decides. */
function walk(rules: readonly RuleEntry[], asked: Walk) {
	const steps: Step[] = []
	let unrelated = 0
	for (const [index, rule] of rules.entries()) {
		if (!asked.client.has(rule.from) && !asked.server.has(rule.to)) {
			unrelated++
			continue
		}
		const result = resultOf(rule, asked)
		steps.push({ rule, result })
		if (result === 'decides') return { steps, unrelated, unread: rules.length - index - 1 }
	}
	return { steps, unrelated, unread: 0 }
}

function resultOf(rule: RuleEntry, { client, server, query }: Walk): StepResult {
	if (!client.has(rule.from)) return 'from'
	if (!server.has(rule.to)) return 'to'
	if (!rule.ports.some((range) => isInRange(range, query))) return 'port'
	const { application, protocol } = query
	// Only TCP and UDP have applications to recognise.
	const isNamable = protocol === 6 || protocol === 17
	if (rule.applications.includes('any')) return 'decides'
	if (!isNamable || application === undefined) return 'application'
	if (application === 'pending') return 'waits'
	return rule.applications.includes(application) ? 'decides' : 'application'
}

/** Whether the walk ends where the decision says; a pending one depends on some rule that waits. */
function isPathTo(steps: readonly Step[], { action, rule }: Decision): boolean {
	if (action === 'pending') return steps.some(({ result }) => result === 'waits')
	return steps.find(({ result }) => result === 'decides')?.rule.id === rule
}

function isSame(a: Decision, b: Decision): boolean {
	return a.action === b.action && a.rule === b.rule && a.why === b.why
}

function outcomesOf(
	compiled: CompiledPolicy,
	query: PolicyQuery,
	steps: readonly Step[],
): Outcome[] {
	const waiting = steps.filter(({ result }) => result === 'waits')
	const named = APPLICATIONS.filter((name) =>
		waiting.some(({ rule }) => rule.applications.includes(name)),
	)
	return [...named, undefined].map((application) => ({
		application,
		decision: compiled.lookup({ ...query, application }),
	}))
}
