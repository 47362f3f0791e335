import type { ApplicationName } from '@ringfence/shared/contract/application'
import {
	type AddressEntry,
	addressEntrySchema,
	type Document,
	type Mode,
	type PolicyEntry,
	policyEntrySchema,
	type RuleEntry,
} from '@ringfence/shared/contract/policy'
import { parseAddress } from '@ringfence/shared/net/address'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePolicy, NO_POLICY, type PolicyDocuments } from './compile.ts'
import type { PolicyAction, PolicyQuery, Side } from './policy.ts'
import { lookupByScan } from './reference.ts'
import { PolicyRejected } from './rejected.ts'

describe('without documents', () => {
	test('everything is learned until a policy comes', () => {
		const answer = { action: 'learn', rule: undefined, why: 'no policy yet' }
		expect(NO_POLICY.lookup(query({}))).toEqual(answer)
		expect(NO_POLICY.peerWorkload(query({}))).toBeUndefined()
		const addressesOnly = compilePolicy({ addresses: addressDocument(MAP) })
		expect(addressesOnly.lookup(query({}))).toEqual(answer)
		expect(addressesOnly.peerWorkload(query({}))).toBe('db-1')
	})

	test('a policy without an address map decides by the mode of new services', () => {
		const policy = compilePolicy({ policy: policyDocument([settings('protect')]) })
		expect(policy.lookup(query({ peer: '203.0.113.9' }))).toMatchObject({ action: 'deny' })
		expect(policy.lookup(query({}))).toMatchObject({ why: 'workload not yet known' })
	})
})

describe('the generation', () => {
	test('rises with either document', () => {
		const at = (policy: number, addresses: number) =>
			compilePolicy({
				policy: { ...policyDocument([settings('discover')]), generation: policy },
				addresses: { ...addressDocument(MAP), generation: addresses },
			}).generation
		expect(at(7, 3)).toBeGreaterThan(at(6, 3))
		expect(at(6, 4)).toBeGreaterThan(at(6, 3))
		expect(at(0, 0)).toBeGreaterThan(NO_POLICY.generation)
	})

	test('rises even when the numbers of a new epoch are lower', () => {
		const documents = documentsOf([])
		const before = compilePolicy({
			...documents,
			policy: { ...policyDocument([settings('discover')]), generation: 900 },
		})
		expect(compilePolicy(documents, before).generation).toBeGreaterThan(before.generation)
	})
})

describe('rules', () => {
	test('the lowest order that matches decides', () => {
		const policy = compilePolicy(
			documentsOf([
				rule({ id: 'late', order: 9, action: 'allow' }),
				rule({ id: 'early', order: 2, action: 'deny', ports: ['tcp/6379'] }),
			]),
		)
		expect(policy.lookup(query({}))).toEqual({
			action: 'violate',
			rule: 'early',
			why: 'deny rule early (monitor)',
		})
		expect(policy.lookup(query({ port: 80 }))).toEqual({
			action: 'allow',
			rule: 'late',
			why: 'rule late',
		})
	})

	test('equal orders are decided by id, whatever the order of the entries', () => {
		const rules = [rule({ id: 'b', action: 'deny' }), rule({ id: 'a', action: 'allow' })]
		expect(compilePolicy(documentsOf(rules)).lookup(query({})).rule).toBe('a')
		expect(compilePolicy(documentsOf(rules.reverse())).lookup(query({})).rule).toBe('a')
	})

	test('groups are matched by who is client, from both ends', () => {
		const policy = compilePolicy(documentsOf([rule({})]))
		const fromServer = { workload: 'db-1', side: 'server', peer: '10.0.0.1' } as const
		expect(policy.lookup(query({})).action).toBe('allow')
		expect(policy.lookup(query(fromServer)).action).toBe('allow')
		expect(policy.lookup(query({ ...fromServer, side: 'client' })).action).toBe('learn')
	})

	test('IPv6 peers are looked up as IPv4 peers are', () => {
		const policy = compilePolicy(documentsOf([rule({})]))
		expect(policy.lookup(query({ peer: 'fd00::2' })).action).toBe('allow')
		expect(policy.lookup(query({ peer: 'fd00::1' })).action).toBe('violate')
		expect(policy.peerWorkload(query({ peer: 'fd00::2' }))).toBe('db-1')
	})

	test.each([
		['any', 6, 80, true],
		['any', 132, 0, true],
		['tcp', 6, 65535, true],
		['tcp', 17, 53, false],
		['tcp/80', 6, 80, true],
		['tcp/80', 6, 79, false],
		['tcp/80', 6, 81, false],
		['udp/1000-2000', 17, 1000, true],
		['udp/1000-2000', 17, 2000, true],
		['udp/1000-2000', 17, 999, false],
		['udp/1000-2000', 17, 2001, false],
		['tcp/0-65535', 6, 0, true],
		['icmp', 1, 8, true],
		['icmp', 58, 128, true],
		['icmp', 6, 8, false],
		['icmp/8', 1, 8, true],
		['icmp/8', 1, 0, false],
		['icmp/128', 58, 128, true],
	])('ports %s on protocol %i, port %i: %s', (ports, protocol, port, isMatch) => {
		const policy = compilePolicy(documentsOf([rule({ ports: [ports] })]))
		const decision = policy.lookup(query({ protocol, port }))
		expect(decision.rule).toBe(isMatch ? 'r' : undefined)
	})

	test('answers are frozen and shared', () => {
		const policy = compilePolicy(documentsOf([rule({})]))
		const first = policy.lookup(query({}))
		expect(Object.isFrozen(first)).toBe(true)
		expect(policy.lookup(query({ port: 1 }))).toBe(first)
	})
})

describe('modes', () => {
	test.each([
		['discover', 'learn', 'open', 'learn'],
		['monitor', 'violate', 'violate', 'open'],
		['protect', 'deny', 'deny', 'deny'],
	] as const)('%s: no rule is %s, a deny rule %s, an unknown peer %s', (mode, none, deny, peer) => {
		const policy = compilePolicy(documentsOf([rule({ action: 'deny', ports: ['tcp/1'] })], mode))
		const answers = [
			policy.lookup(query({ port: 2 })),
			policy.lookup(query({ port: 1 })),
			policy.lookup(query({ peer: '10.0.9.9' })),
		]
		expect(answers).toEqual([
			{ action: none, rule: undefined, why: `no rule (${mode})` },
			{ action: deny, rule: 'r', why: `deny rule r (${mode})` },
			{ action: peer, rule: undefined, why: 'peer not yet known' },
		])
	})

	test.each(['discover', 'monitor', 'protect'] as const)('an allow rule allows in %s', (mode) => {
		const policy = compilePolicy(documentsOf([rule({})], mode))
		expect(policy.lookup(query({}))).toEqual({ action: 'allow', rule: 'r', why: 'rule r' })
	})

	test('each workload obeys its own group, not that of its peer', () => {
		const documents = documentsOf([], 'protect')
		const policy = compilePolicy(documents)
		const atDb = query({ workload: 'db-1', side: 'server', peer: '10.0.0.1' })
		expect(policy.lookup(query({})).action).toBe('deny')
		expect(policy.lookup(atDb).action).toBe('learn')
	})

	test.each([
		['discover', 'learn'],
		['monitor', 'open'],
		['protect', 'deny'],
	] as const)('a workload outside the map, where new services %s: %s', (mode, action) => {
		const documents = { policy: policyDocument([settings(mode)]), addresses: addressDocument(MAP) }
		const answer = compilePolicy(documents).lookup(query({ workload: 'just-born' }))
		expect(answer).toEqual({ action, rule: undefined, why: 'workload not yet known' })
	})

	test('a workload without a group that has a mode has that of new services', () => {
		const policy = compilePolicy(documentsOf([], 'protect'))
		expect(policy.lookup(query({ workload: 'odd-1' })).why).toBe('no rule (monitor)')
	})

	test('a node has the mode of group nodes', () => {
		const policy = compilePolicy(documentsOf([]))
		expect(policy.lookup(query({ workload: 'node-1' })).why).toBe('no rule (protect)')
	})
})

describe('peers', () => {
	test('an address that nothing covers is external', () => {
		const policy = compilePolicy(documentsOf([rule({ to: 'external' })]))
		expect(policy.lookup(query({ peer: '203.0.113.9' })).action).toBe('allow')
		expect(policy.lookup(query({ peer: '2001:db8::1' })).action).toBe('allow')
		expect(policy.lookup(query({ peer: '198.51.100.7' })).action).toBe('violate')
		expect(policy.peerWorkload(query({ peer: '203.0.113.9' }))).toBeUndefined()
	})

	test('an address is a member of the groups of every network around it', () => {
		const policy = compilePolicy(
			documentsOf([
				rule({ id: 'wide', order: 1, to: 'partners', ports: ['tcp/1'] }),
				rule({ id: 'narrow', order: 2, to: 'billing', ports: ['tcp/2'] }),
			]),
		)
		const inner = '198.51.100.200'
		expect(policy.lookup(query({ peer: inner, port: 1 })).rule).toBe('wide')
		expect(policy.lookup(query({ peer: inner, port: 2 })).rule).toBe('narrow')
		expect(policy.lookup(query({ peer: '198.51.100.1', port: 1 })).rule).toBe('wide')
		expect(policy.lookup(query({ peer: '198.51.100.1', port: 2 })).rule).toBeUndefined()
	})

	test('a workload is a member of the networks around it at its own port as well', () => {
		const corp = address('10.0.0.0/30', 'custom', 'corp', ['corp'])
		const documents = {
			...documentsOf([rule({ from: 'corp' })]),
			addresses: addressDocument([...MAP, corp]),
		}
		const policy = compilePolicy(documents)
		const atDb = query({ workload: 'db-1', side: 'server', peer: '10.0.0.1' })
		expect(policy.lookup(query({})).action).toBe('allow')
		expect(policy.lookup(atDb).action).toBe('allow')
	})

	test('an unknown peer still obeys rules for a wider network, and is never without a rule', () => {
		const corp = address('10.0.0.0/8', 'custom', 'corp', ['corp'])
		const policy = compilePolicy({
			...documentsOf([rule({ to: 'corp', ports: ['tcp/22'] })], 'protect'),
			addresses: addressDocument([...MAP, corp]),
		})
		expect(policy.lookup(query({ peer: '10.0.9.9', port: 22 })).action).toBe('allow')
		expect(policy.lookup(query({ peer: '10.0.9.9', port: 23 })).why).toBe('peer not yet known')
		expect(policy.lookup(query({ peer: '10.1.0.1', port: 23 })).why).toBe('no rule (protect)')
	})

	test('two workloads behind one address are named the same on every node', () => {
		const twice = [
			address('10.0.0.9', 'workload', 'b', []),
			address('10.0.0.9/32', 'workload', 'a', []),
		]
		for (const entries of [twice, [...twice].reverse()]) {
			const policy = compilePolicy({ addresses: addressDocument(entries) })
			expect(policy.peerWorkload(query({ peer: '10.0.0.9' }))).toBe('a')
		}
	})
})

describe('applications', () => {
	test('the answer waits for a name only while rules differ by it', () => {
		const policy = compilePolicy(documentsOf([rule({ applications: ['redis'] })], 'protect'))
		const ask = (application: PolicyQuery['application']) => policy.lookup(query({ application }))
		expect(ask('pending')).toEqual({
			action: 'pending',
			rule: undefined,
			why: 'application not yet known',
		})
		expect(ask('redis').rule).toBe('r')
		expect(ask('http').action).toBe('deny')
		expect(ask(undefined).action).toBe('deny')
	})

	test('it is given at once when every candidate and the default come to the same', () => {
		const denied = compilePolicy(
			documentsOf([rule({ action: 'deny', applications: ['ssh'] })], 'protect'),
		)
		expect(denied.lookup(query({ application: 'pending' })).why).toBe('no rule (protect)')
		expect(denied.lookup(query({ application: 'ssh' })).why).toBe('deny rule r (protect)')
	})

	test('a rule that an earlier one hides does not make it wait', () => {
		const policy = compilePolicy(
			documentsOf(
				[
					rule({ id: 'first', order: 1, action: 'deny', applications: ['ssh'] }),
					rule({ id: 'hidden', order: 2, applications: ['ssh'] }),
				],
				'protect',
			),
		)
		expect(policy.lookup(query({ application: 'pending' })).action).toBe('deny')
	})

	test('ICMP has no application to wait for', () => {
		const policy = compilePolicy(documentsOf([rule({ applications: ['http'] })]))
		const decision = policy.lookup(query({ protocol: 1, port: 8, application: 'pending' }))
		expect(decision.why).toBe('no rule (monitor)')
	})
})

describe('documents that contradict themselves', () => {
	test.each<[string, PolicyEntry[]]>([
		['no settings', []],
		['two settings', [settings('discover'), settings('monitor')]],
		['comes twice', [settings('discover'), group('g', 'monitor'), group('g', 'protect')]],
		['not a port range', [settings('discover'), rule({ ports: ['tcp/99999'] })]],
		['not a port range', [settings('discover'), rule({ ports: ['any/5'] })]],
	])('are refused: %s', (why, entries) => {
		const compile = () => compilePolicy({ policy: policyDocument(entries) })
		expect(compile).toThrow(PolicyRejected)
		expect(compile).toThrow(why)
	})

	test('are refused: a network that is none', () => {
		const addresses = addressDocument([address('10.0.0.1/8', 'custom', 'x', [])])
		expect(() => compilePolicy({ addresses })).toThrow(PolicyRejected)
	})
})

describe('compiled look-ups', () => {
	test('agree with a plain scan of all rules', { timeout: 60_000 }, () => {
		let cases = 0
		const answers = new Map<PolicyAction, number>()
		const run = ([documents, queries]: [PolicyDocuments, PolicyQuery[]]) => {
			const policy = compilePolicy(documents)
			for (const asked of queries) {
				const expected = lookupByScan(documents, asked)
				cases++
				answers.set(expected.action, (answers.get(expected.action) ?? 0) + 1)
				expect(policy.lookup(asked)).toEqual(expected)
			}
		}
		fc.assert(
			fc.property(fc.tuple(documentsArbitrary(), fc.array(queryArbitrary(), QUERIES)), run),
			{ numRuns: 2_500 },
		)
		expect(cases).toBeGreaterThanOrEqual(20_000)
		expect(answers.size).toBe(6)
		expect(Math.min(...answers.values())).toBeGreaterThan(200)
	})
})

/** Web (10.0.0.1), database (10.0.0.2, fd00::2), a workload without a group that has a mode, a node, partners. */
const MAP: readonly AddressEntry[] = [
	address('10.0.0.1', 'workload', 'web-1', ['rf.web.shop', 'containers']),
	address('fd00::1/128', 'workload', 'web-1', ['rf.web.shop', 'containers']),
	address('10.0.0.2/32', 'workload', 'db-1', ['rf.db.shop', 'containers']),
	address('fd00::2/128', 'workload', 'db-1', ['rf.db.shop', 'containers']),
	address('10.0.0.3', 'workload', 'odd-1', ['containers']),
	address('192.0.2.1', 'node', 'node-1', ['nodes']),
	address('198.51.100.0/24', 'custom', 'partners', ['partners']),
	address('198.51.100.192/26', 'custom', 'billing', ['billing']),
]

/** The database's group is in discover, nodes in protect, new services in monitor. */
function documentsOf(rules: readonly RuleEntry[], webMode: Mode = 'monitor'): PolicyDocuments {
	const entries = [
		settings('monitor'),
		group('rf.web.shop', webMode),
		group('rf.db.shop', 'discover'),
		group('nodes', 'protect'),
		...rules,
	]
	return { policy: policyDocument(entries), addresses: addressDocument(MAP) }
}

function settings(newServiceMode: Mode): PolicyEntry {
	return { kind: 'settings', newServiceMode, fleetNetworks: ['10.0.0.0/16', 'fd00::/64'] }
}

function group(name: string, mode: Mode): PolicyEntry {
	return { kind: 'group', name, mode }
}

/** From web to database, everything allowed, unless told otherwise. */
function rule(some: Partial<RuleEntry>): RuleEntry {
	return {
		kind: 'rule',
		id: 'r',
		order: 1,
		from: 'rf.web.shop',
		to: 'rf.db.shop',
		ports: ['any'],
		applications: ['any'],
		action: 'allow',
		...some,
	}
}

function address(
	network: string,
	kind: AddressEntry['kind'],
	id: string,
	groups: string[],
): AddressEntry {
	return { network, kind, id, groups }
}

function policyDocument(entries: readonly PolicyEntry[]): Document<PolicyEntry> {
	return { epoch: 1, generation: 1, entries: numbered(entries) }
}

function addressDocument(entries: readonly AddressEntry[]): Document<AddressEntry> {
	return { epoch: 1, generation: 1, entries: numbered(entries) }
}

function numbered<Entry>(entries: readonly Entry[]): Map<string, Entry> {
	return new Map(entries.map((entry, index) => [String(index), entry]))
}

interface Asked {
	readonly workload?: string
	readonly side?: Side
	readonly peer?: string
	readonly protocol?: number
	readonly port?: number
	readonly application?: PolicyQuery['application']
}

/** The web workload as client of the database's Redis port, unless told otherwise. */
function query(asked: Asked): PolicyQuery {
	const words = parseAddress(asked.peer ?? '10.0.0.2')
	if (!words) throw new Error('not an address')
	return {
		workload: asked.workload ?? 'web-1',
		side: asked.side ?? 'client',
		peer0: words[0],
		peer1: words[1],
		peer2: words[2],
		peer3: words[3],
		protocol: asked.protocol ?? 6,
		port: asked.port ?? 6379,
		application: asked.application,
	}
}

const QUERIES = { minLength: 10, maxLength: 20 }
const GROUPS = ['a', 'b', 'containers', 'nodes', 'external'] as const
const MODES: readonly Mode[] = ['discover', 'monitor', 'protect']
const NAMES: readonly ApplicationName[] = ['http', 'tls', 'dns', 'ssh', 'redis']
const NETWORKS = [
	...['0.0.0.0/0', '10.0.0.0/8', '10.0.0.0/16', '10.0.0.0/24', '10.0.0.0/31', '10.0.0.0/32'],
	...['10.0.0.1', '10.0.0.3/32', '128.0.0.0/1', '255.255.255.255', '10.0.128.0/17'],
	...['::/0', 'fd00::/8', 'fd00::/64', 'fd00::1', 'fd00::/127', 'fd00:0:0:0:8000::/65', '::1'],
]
const PEERS = [
	...['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.1.1', '10.0.200.1', '10.9.9.9'],
	...['0.0.0.0', '255.255.255.255', '128.1.1.1', '8.8.8.8'],
	...['fd00::', 'fd00::1', 'fd00::2', 'fd00::8000:0:0:1', 'fd01::1', '::1', '::', '2001:db8::1'],
]
const PORTS = [0, 1, 8, 22, 53, 79, 80, 81, 128, 443, 1000, 6379, 32768, 65534, 65535]
const PORT_TEXTS = [
	...['any', 'any', 'any', 'tcp', 'udp', 'icmp', 'icmp/8', 'icmp/128', 'tcp/80', 'tcp/0'],
	...['tcp/65535'],
	...['tcp/79-81', 'tcp/1-65535', 'udp/53', 'udp/0-1000', 'tcp/0-65534', 'tcp/443-6379'],
]
const WORKLOADS = ['w1', 'w2', 'n1', 'stranger']

function documentsArbitrary(): fc.Arbitrary<PolicyDocuments> {
	const rules = fc.array(ruleArbitrary(), { maxLength: 20 })
	const modes = fc.uniqueArray(fc.record({ name: of(GROUPS), mode: of(MODES) }), {
		selector: (entry) => entry.name,
	})
	const fleetNetworks = fc.uniqueArray(of(NETWORKS), { maxLength: 3 })
	return fc
		.record({ rules, modes, fleetNetworks, newServiceMode: of(MODES), entries: entriesArbitrary() })
		.map(({ rules, modes, fleetNetworks, newServiceMode, entries }) => ({
			policy: policyDocument(
				[
					{ kind: 'settings' as const, newServiceMode, fleetNetworks },
					...modes.map((entry) => group(entry.name, entry.mode)),
					...rules.map((some, index) => rule({ ...some, id: `r${index}` })),
				].map((entry) => policyEntrySchema.parse(entry)),
			),
			addresses: addressDocument(entries),
		}))
}

function ruleArbitrary(): fc.Arbitrary<Partial<RuleEntry>> {
	return fc.record({
		order: fc.integer({ min: 0, max: 6 }),
		from: of(GROUPS),
		to: of(GROUPS),
		ports: fc.uniqueArray(of(PORT_TEXTS), { minLength: 1, maxLength: 3 }),
		applications: fc.oneof(
			fc.constant<RuleEntry['applications']>(['any']),
			fc.uniqueArray(of(NAMES), { minLength: 1, maxLength: 3 }),
			fc.uniqueArray(of([...NAMES, 'any' as const]), { minLength: 1, maxLength: 3 }),
		),
		action: of(['allow', 'deny'] as const),
	})
}

function entriesArbitrary(): fc.Arbitrary<AddressEntry[]> {
	const entry = fc.record({
		network: of(NETWORKS),
		kind: of(['workload', 'node', 'custom'] as const),
		id: of(WORKLOADS.slice(0, -1)),
		groups: fc.uniqueArray(of(GROUPS.slice(0, -1)), { maxLength: 4 }),
	})
	return fc
		.array(entry, { minLength: 2, maxLength: 14 })
		.map((entries) => entries.map((some) => addressEntrySchema.parse(some)))
}

function queryArbitrary(): fc.Arbitrary<PolicyQuery> {
	return fc
		.record({
			workload: of(WORKLOADS),
			side: of(['client', 'server'] as const),
			peer: of(PEERS),
			protocol: of([6, 6, 6, 17, 17, 1, 58, 132]),
			port: of(PORTS),
			application: fc.oneof(fc.constant('pending' as const), of([undefined, ...NAMES])),
		})
		.map(query)
}

function of<Item>(items: readonly Item[]): fc.Arbitrary<Item> {
	return fc.constantFrom(...items)
}
