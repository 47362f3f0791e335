import { APPLICATIONS, type ApplicationName } from '@ringfence/shared/contract/application'
import type {
	AddressEntry,
	Mode,
	PolicyEntry,
	PolicySettings,
	RuleEntry,
} from '@ringfence/shared/contract/policy'
import { parseAddress } from '@ringfence/shared/net/address'
import { contains, parseCidr } from '@ringfence/shared/net/cidr'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PolicyDocuments } from '../agent/src/policy/compile.ts'
import { lookupByScan } from '../agent/src/policy/reference.ts'
import { EndIndex } from '../controller/src/fleet/policy/what-if-ends.ts'
import { type JudgedPolicy, judge, RuleList } from '../controller/src/fleet/policy/what-if-judge.ts'
import { Turns } from '../controller/src/fleet/turns.ts'

const RUNS = 3000
const APPLICATION_KINDS = ['', 'pending', ...APPLICATIONS] as const
const GROUPS = ['rf.web', 'rf.db', 'custom', 'partners', 'containers', 'nodes', 'external'] as const
const MODES = ['discover', 'monitor', 'protect'] as const
const OWNED = {
	'workload:web': ['10.0.0.1', 'fd00::1'],
	'workload:db': ['10.0.0.2', 'fd00::2'],
	'workload:odd': ['10.1.0.3'],
	'node:n1': ['192.0.2.1'],
} as const
const OUTSIDE = ['10.0.0.77', '10.9.9.9', '203.0.113.9', '2001:db8::1', 'fd00::77', '192.0.2.1']
const NETWORKS = ['10.0.0.0/8', '10.0.0.0/24', '0.0.0.0/0', '::/0', 'fd00::/64', '203.0.113.9/32']
const PORTS = ['any', 'tcp', 'tcp/80', 'tcp/79-443', 'udp/53', 'icmp', 'icmp/8', 'tcp/443-65535']

describe('the controller judges a conversation', () => {
	test('as the agents do, over generated policies', { timeout: 120_000 }, async () => {
		let cases = 0
		const actions = new Map<string, number>()
		await fc.assert(
			fc.asyncProperty(
				fleetArbitrary(),
				fc.array(sessionArbitrary(), SESSIONS),
				async (fleet, all) => {
					const judging = judgingOf(fleet)
					for (const session of all) {
						for (const side of ['client', 'server'] as const) {
							const expected = scan(fleet, session, side)
							const verdict = await judge(judging.policy, inEyesOf(judging.ends, session), side)
							expect(verdict, JSON.stringify({ session, side })).toEqual(expected)
							if (!verdict) continue
							cases++
							actions.set(verdict.action, (actions.get(verdict.action) ?? 0) + 1)
						}
					}
				},
			),
			{ numRuns: RUNS },
		)
		expect(cases).toBeGreaterThan(10_000)
		expect([...actions.keys()].sort()).toEqual(
			['allow', 'deny', 'learn', 'open', 'pending', 'violate'].sort(),
		)
		expect(Math.min(...actions.values())).toBeGreaterThan(100)
	})
})

const SESSIONS = { minLength: 6, maxLength: 12 }

interface Fleet {
	readonly settings: PolicySettings
	readonly modes: readonly { name: string; mode: Mode }[]
	/** In order. */
	readonly rules: readonly RuleEntry[]
	readonly entries: readonly AddressEntry[]
}

interface Session {
	readonly client: string
	readonly server: string
	readonly protocol: number
	readonly port: number
	readonly application: (typeof APPLICATION_KINDS)[number]
}

/** What the agent at one end says; null where there is none. */
function scan(fleet: Fleet, session: Session, side: 'client' | 'server') {
	const [own, peer] =
		side === 'client' ? [session.client, session.server] : [session.server, session.client]
	if (own.startsWith('external:')) return null
	const words = parseAddress(addressFor(peer))
	if (!words) throw new Error('not an address')
	const { action, rule, why } = lookupByScan(documentsOf(fleet), {
		workload: idOf(own),
		side,
		peer0: words[0],
		peer1: words[1],
		peer2: words[2],
		peer3: words[3],
		protocol: session.protocol,
		port: session.port,
		application:
			session.application === '' ? undefined : (session.application as ApplicationName | 'pending'),
	})
	return { action, rule: rule ?? null, why }
}

function addressFor(endpoint: string): string {
	return OWNED[endpoint as keyof typeof OWNED]?.[0] ?? idOf(endpoint)
}

function idOf(endpoint: string): string {
	return endpoint.slice(endpoint.indexOf(':') + 1)
}

function documentsOf({ settings, modes, rules, entries }: Fleet): PolicyDocuments {
	const groups = modes.map(({ name, mode }) => ({ kind: 'group' as const, name, mode }))
	const policy: PolicyEntry[] = [settings, ...groups, ...rules]
	return { policy: documentOf(policy), addresses: documentOf(entries) }
}

function documentOf<Entry>(entries: readonly Entry[]) {
	const keyed = new Map(entries.map((entry, index) => [String(index), entry]))
	return { epoch: 1, generation: 1, entries: keyed }
}

function judgingOf({ settings, modes, rules, entries }: Fleet): {
	ends: EndIndex
	policy: JudgedPolicy
} {
	const ends = new EndIndex(settings.fleetNetworks)
	for (const entry of entries) ends.add(entry)
	return {
		ends,
		policy: {
			rules: new RuleList(rules, new Turns(Number.POSITIVE_INFINITY)),
			modes: new Map(modes.map(({ name, mode }) => [name, mode])),
			newServiceMode: settings.newServiceMode,
		},
	}
}

function inEyesOf(ends: EndIndex, { client, server, ...rest }: Session) {
	return { client: ends.at(client, ''), server: ends.at(server, ''), ...rest }
}

function fleetArbitrary(): fc.Arbitrary<Fleet> {
	const modes = fc.uniqueArray(fc.record({ name: of(GROUPS), mode: of(MODES) }), {
		selector: ({ name }) => name,
	})
	const settings = fc.record({
		kind: fc.constant('settings' as const),
		newServiceMode: of(MODES),
		fleetNetworks: fc.uniqueArray(of(['10.0.0.0/24', '10.0.0.0/8', 'fd00::/64']), { maxLength: 3 }),
	})
	const rules = fc.array(ruleArbitrary(), { maxLength: 14 })
	return fc.record({ settings, modes, rules, entries: entriesArbitrary() }).map((fleet) => ({
		...fleet,
		rules: fleet.rules.map((rule, index) => ({ ...rule, id: `r${index}`, order: index })),
	}))
}

function ruleArbitrary(): fc.Arbitrary<Omit<RuleEntry, 'id' | 'order'>> {
	return fc.record({
		kind: fc.constant('rule' as const),
		from: fc.oneof(of(GROUPS), fc.constant('rf.web')),
		to: fc.oneof(of(GROUPS), fc.constant('rf.db')),
		ports: fc.uniqueArray(of(PORTS), { minLength: 1, maxLength: 3 }),
		applications: fc.oneof(
			fc.constant<RuleEntry['applications']>(['any']),
			fc.uniqueArray(of([...APPLICATIONS, 'any' as const]), { minLength: 1, maxLength: 3 }),
		),
		action: of(['allow', 'deny'] as const),
	})
}

/**
 * Address maps as the controller makes them: all entries of a workload list the same groups, among them every network
 * group that holds one of its addresses.
 */
function entriesArbitrary(): fc.Arbitrary<AddressEntry[]> {
	const custom = fc.uniqueArray(fc.record({ network: of(NETWORKS), group: of(CUSTOM) }), {
		selector: ({ network }) => network,
		maxLength: 4,
	})
	const groups = fc.record({
		'workload:web': groupsArbitrary('rf.web'),
		'workload:db': groupsArbitrary('rf.db'),
		'workload:odd': groupsArbitrary('rf.odd'),
		'node:n1': fc.constant(['nodes']),
	})
	return fc.tuple(custom, groups).map(([networks, groupsOf]) => [
		...networks.map(({ network, group }) => {
			return { network, kind: 'custom' as const, id: group, groups: [group] }
		}),
		...Object.entries(OWNED).flatMap(([owner, addresses]) => {
			const around = networks.filter(({ network }) => addresses.some((one) => isIn(network, one)))
			const its = groupsOf[owner as keyof typeof OWNED]
			const all = [...new Set([...its, ...around.map(({ group }) => group)])]
			const kind = owner.startsWith('node') ? ('node' as const) : ('workload' as const)
			return addresses.map((network) => ({ network, kind, id: idOf(owner), groups: all }))
		}),
	])
}

const CUSTOM = ['custom', 'partners'] as const

function groupsArbitrary(learned: string): fc.Arbitrary<string[]> {
	return fc
		.uniqueArray(of(CUSTOM), { maxLength: 1 })
		.map((custom) => [learned, 'containers', ...custom])
}

function isIn(network: string, address: string): boolean {
	const [cidr, words] = [parseCidr(network), parseAddress(address)]
	return cidr !== undefined && words !== undefined && contains(cidr, words)
}

function sessionArbitrary(): fc.Arbitrary<Session> {
	const ends = [...Object.keys(OWNED), ...OUTSIDE.map((address) => `external:${address}`)]
	return fc.record({
		client: fc.oneof(of(ends), fc.constant('workload:web')),
		server: fc.oneof(of(ends), fc.constant('workload:db')),
		protocol: of([6, 6, 6, 17, 1, 58, 132]),
		port: of([0, 8, 53, 79, 80, 443, 65_535]),
		application: fc.oneof(of(APPLICATION_KINDS), fc.constant('pending' as const)),
	})
}

function of<Item>(items: readonly Item[]): fc.Arbitrary<Item> {
	return fc.constantFrom(...items)
}
