import type { AddressEntry, Mode, PolicyEntry, RuleEntry } from '@ringfence/shared/contract/policy'
import type { AddressWords } from '@ringfence/shared/net/address'
import { contains, parseCidr } from '@ringfence/shared/net/cidr'
import type { PolicyDocuments } from './compile.ts'
import type { Decision, PolicyAction, PolicyQuery } from './policy.ts'

/**
 * The semantics of policy written down plainly: scans everything for every query. It is the yardstick of the compiled
 * look-ups, shares no code with them and is as slow as it is obvious.
 */
export function lookupByScan(documents: PolicyDocuments, query: Readonly<PolicyQuery>): Decision {
	if (!documents.policy) return { action: 'learn', rule: undefined, why: 'no policy yet' }
	const { client, server, ...circumstances } = endsByScan(documents, query)
	const rules = rulesInOrder(documents)
		.filter((rule) => client.has(rule.from) && server.has(rule.to))
		.filter((rule) => rule.ports.some((range) => isInRange(range, query)))
	return decide(rules, query, circumstances)
}

/** All rules as they are tried: by order, then by id. */
export function rulesInOrder({ policy }: PolicyDocuments): RuleEntry[] {
	return [...(policy?.entries.values() ?? [])]
		.filter((entry) => entry.kind === 'rule')
		.sort((a, b) => a.order - b.order || (a.id < b.id ? -1 : 1))
}

/** Who the two ends of a query are, as its workload sees them. */
export interface ScannedEnds extends Circumstances {
	/** Groups of either end. */
	readonly client: ReadonlySet<string>
	readonly server: ReadonlySet<string>
}

/** Finds out who the two ends of a query are. */
export function endsByScan(documents: PolicyDocuments, query: Readonly<PolicyQuery>): ScannedEnds {
	const policy = [...(documents.policy?.entries.values() ?? [])]
	const addresses = [...(documents.addresses?.entries.values() ?? [])]
	const own = ownGroups(addresses, query.workload)
	const peer = groupsAt(addresses, peerOf(query))
	const isKnown = isPeerKnown(policy, addresses, peerOf(query))
	if (isKnown && !isCovered(addresses, peerOf(query))) peer.add('external')
	const [client, server] = query.side === 'client' ? [own, peer] : [peer, own]
	const mode = modeOfWorkload(policy, addresses, query.workload)
	const isNamed = entriesOf(addresses, query.workload).length > 0
	return { client, server, mode, isKnown, isNamed }
}

interface Circumstances {
	readonly mode: Mode
	/** The address map names the peer, or it is outside the fleet. */
	readonly isKnown: boolean
	/** The address map names the workload itself. */
	readonly isNamed: boolean
}

function decide(
	rules: readonly RuleEntry[],
	query: Readonly<PolicyQuery>,
	circumstances: Circumstances,
): Decision {
	const isNamable = query.protocol === 6 || query.protocol === 17
	const firstFor = (application: string | undefined) =>
		answer(
			rules.find((rule) =>
				rule.applications.some((name) => name === 'any' || name === application),
			),
			circumstances,
		)
	if (!isNamable || query.application === undefined) return firstFor(undefined)
	if (query.application !== 'pending') return firstFor(query.application)
	const named = rules.flatMap((rule) => rule.applications).filter((name) => name !== 'any')
	const isOneAction = named.every((name) => firstFor(name).action === firstFor(undefined).action)
	if (isOneAction) return firstFor(undefined)
	return { action: 'pending', rule: undefined, why: 'application not yet known' }
}

function answer(rule: RuleEntry | undefined, { mode, isKnown, isNamed }: Circumstances): Decision {
	const inMode = (discover: PolicyAction, monitor: PolicyAction): PolicyAction => {
		if (mode === 'protect') return 'deny'
		return mode === 'monitor' ? monitor : discover
	}
	if (rule?.action === 'allow') return { action: 'allow', rule: rule.id, why: `rule ${rule.id}` }
	if (rule) {
		const why = `deny rule ${rule.id} (${mode})`
		return { action: inMode('open', 'violate'), rule: rule.id, why }
	}
	if (!isKnown || !isNamed) {
		const why = isNamed ? 'peer not yet known' : 'workload not yet known'
		return { action: inMode('learn', 'open'), rule: undefined, why }
	}
	return { action: inMode('learn', 'violate'), rule: undefined, why: `no rule (${mode})` }
}

function peerOf(query: Readonly<PolicyQuery>): AddressWords {
	return [query.peer0, query.peer1, query.peer2, query.peer3]
}

/** Groups of all entries that cover the address. */
function groupsAt(addresses: readonly AddressEntry[], words: AddressWords): Set<string> {
	const covering = addresses.filter((entry) => isInside(entry.network, words))
	return new Set(covering.flatMap((entry) => entry.groups))
}

function isCovered(addresses: readonly AddressEntry[], words: AddressWords): boolean {
	return addresses.some((entry) => isInside(entry.network, words))
}

/** Outside the fleet's networks everybody is known; inside, whom an entry names at least as exactly as the fleet's network does. */
function isPeerKnown(
	policy: readonly PolicyEntry[],
	addresses: readonly AddressEntry[],
	words: AddressWords,
): boolean {
	const fleet = policy.flatMap((entry) => (entry.kind === 'settings' ? entry.fleetNetworks : []))
	const exactness = (networks: readonly string[]) =>
		Math.max(
			-1,
			...networks
				.filter((network) => isInside(network, words))
				.map((network) => parseCidr(network)?.bits ?? -1),
		)
	return exactness(fleet) <= exactness(addresses.map((entry) => entry.network))
}

/** Groups of a workload: at each of its addresses, all entries that hold that address or network whole. */
function ownGroups(addresses: readonly AddressEntry[], workload: string): Set<string> {
	const groups = new Set<string>()
	for (const its of entriesOf(addresses, workload)) {
		const cidr = parseCidr(its.network)
		for (const entry of addresses) {
			const isWider = (parseCidr(entry.network)?.bits ?? 129) <= (cidr?.bits ?? -1)
			if (!cidr || !isWider || !isInside(entry.network, cidr.words)) continue
			for (const group of entry.groups) groups.add(group)
		}
	}
	return groups
}

function modeOfWorkload(
	policy: readonly PolicyEntry[],
	addresses: readonly AddressEntry[],
	workload: string,
): Mode {
	const groups = new Set(entriesOf(addresses, workload).flatMap((entry) => entry.groups))
	const modes = policy
		.filter((entry) => entry.kind === 'group')
		.filter((group) => groups.has(group.name))
		.map((group) => group.mode)
	const fallback = policy.find((entry) => entry.kind === 'settings')?.newServiceMode
	const strictest = (['protect', 'monitor', 'discover'] as const).find((m) => modes.includes(m))
	return strictest ?? fallback ?? 'discover'
}

function entriesOf(addresses: readonly AddressEntry[], workload: string): AddressEntry[] {
	return addresses.filter((entry) => entry.kind !== 'custom' && entry.id === workload)
}

function isInside(network: string, words: AddressWords): boolean {
	const cidr = parseCidr(network)
	return cidr !== undefined && contains(cidr, words)
}

/** Whether a rule's port range covers the query. */
export function isInRange(range: string, query: Readonly<PolicyQuery>): boolean {
	if (range === 'any') return true
	const protocols: Readonly<Record<string, readonly number[]>> = {
		tcp: [6],
		udp: [17],
		icmp: [1, 58],
	}
	const [name = '', numbers] = range.split('/')
	if (!protocols[name]?.includes(query.protocol)) return false
	if (numbers === undefined) return true
	const [first = 0, last = first] = numbers.split('-').map(Number)
	return first <= query.port && query.port <= last
}
