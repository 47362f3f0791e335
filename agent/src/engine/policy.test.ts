import { formatAddress } from '@ringfence/shared/net/address'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hexBytes, sampleFrame } from '../packet/sample-frame.ts'
import type { CompiledPolicy, Decision, PolicyAction, PolicyQuery } from '../policy/policy.ts'
import { createEngine } from './create-engine.ts'
import type { ConversationEvent } from './engine.ts'
import {
	ACK,
	Connection,
	FIN,
	OTHER_MAC,
	PSH_ACK,
	RST,
	SECOND_US,
	START_US,
	SYN,
	Traffic,
	WORKLOAD_MAC,
} from './sample-traffic.ts'

const GET = 'GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n'
const ENDS = { client: '10.0.0.1', server: '10.0.0.2', clientPort: 40_000, serverPort: 80 }

describe('policy', () => {
	it('is asked with the peer, the side and pending, then with the application', () => {
		const seen: unknown[] = []
		const traffic = underPolicy((query) => {
			const { workload, side, peer0, peer1, peer2, peer3, port, protocol, application } = query
			const peer = formatAddress([peer0, peer1, peer2, peer3])
			seen.push({ workload, side, peer, port, protocol, application })
			return 'learn'
		})
		const connection = new Connection(traffic, ENDS)
		connection.open()
		connection.client(PSH_ACK, GET)
		const first = { workload: 'w', side: 'client', peer: '10.0.0.2', port: 80, protocol: 6 }
		expect(seen).toEqual([
			{ ...first, application: 'pending' },
			{ ...first, application: 'http' },
		])
	})

	it('is asked with pending for good where the start was not seen and the name stays unknown', () => {
		const asked = new Set<string | undefined>()
		const traffic = underPolicy((query) => {
			asked.add(query.application)
			return 'learn'
		})
		const connection = new Connection(traffic, { ...ENDS, serverPort: 22 })
		const sealed = '\u0001\u009c\u00e3'.repeat(400)
		for (let turn = 0; turn < 100; turn++) {
			connection.client(PSH_ACK, sealed)
			connection.server(PSH_ACK, sealed)
		}
		traffic.engine.flush(traffic.nowUs, true)
		expect([...asked]).toEqual(['pending'])
		const conversations = traffic.conversations()
		expect(conversations.map(({ isFinal, sessions }) => ({ isFinal, sessions }))).toEqual([
			{ isFinal: false, sessions: 1 },
		])
	})

	it('is asked as the server where the workload is the server', () => {
		const sides: string[] = []
		const traffic = underPolicy((query) => {
			sides.push(`${query.side} ${query.peer3 >>> 0}`)
			return 'learn'
		})
		new Connection(traffic, { ...ENDS, isWorkloadServer: true }).client(SYN)
		expect(sides).toEqual([`server ${0x0a000001}`])
	})

	it('learns the side from the link, and takes the workload for the client where it tells none', () => {
		const sides: string[] = []
		const traffic = underPolicy((query) => {
			sides.push(query.side)
			return 'learn'
		})
		const link = new Uint8Array(0)
		const ends = { source: ENDS.server, destination: ENDS.client, sourcePort: 80 }
		traffic.sendBytes(sampleFrame({ ...ends, destinationPort: 40_000, link }), 1, 101)
		const cooked = hexBytes('0000 0001 0006 0242ac1100020000 0800')
		traffic.sendBytes(sampleFrame({ ...ends, destinationPort: 40_001, link: cooked }), 1, 113)
		traffic.sendBytes(sampleFrame({ ...ends, destinationPort: 40_002, sourceMac: OTHER_MAC }))
		traffic.sendBytes(sampleFrame({ ...ends, destinationPort: 40_003, sourceMac: WORKLOAD_MAC }))
		expect(sides).toEqual(['client', 'client', 'client', 'server'])
	})

	it('judges at a port without a workload for the server that the address map names, else for the client', () => {
		const seen: string[] = []
		const traffic = atCaptureFile(
			['10.0.0.1', '10.0.0.2', '2001:db8::2'],
			({ workload, side, ...query }) => {
				const peer = formatAddress([query.peer0, query.peer1, query.peer2, query.peer3])
				seen.push(`${workload} ${side} ${peer} ${query.port}`)
				return 'violate'
			},
		)
		const pairs = [
			['10.0.0.1', '10.0.0.2'],
			['10.0.0.1', '203.0.113.9'],
			['203.0.113.9', '10.0.0.2'],
			['2001:db8::9', '2001:db8::2'],
			['203.0.113.9', '203.0.113.10'],
		] as const
		for (const [client, server] of pairs)
			new Connection(traffic, { ...ENDS, client, server }).client(SYN)
		expect(seen).toEqual([
			'workload 10.0.0.2 server 10.0.0.1 80',
			'workload 10.0.0.1 client 203.0.113.9 80',
			'workload 10.0.0.2 server 203.0.113.9 80',
			'workload 2001:db8::2 server 2001:db8::9 80',
		])
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.sessions().map(({ action, why }) => `${action}: ${why}`)).toEqual([
			...new Array(4).fill('violate: test violate'),
			'open: no workload',
		])
	})

	it('finds the workloads of a port without one again when the address map changes', () => {
		const traffic = atCaptureFile([], () => 'deny')
		const connection = new Connection(traffic, ENDS)
		expect(connection.client(SYN)).toEqual({ action: 'pass', why: 'no workload' })
		traffic.engine.applyPolicy(
			mapOf(['10.0.0.1'], () => 'deny'),
			traffic.nowUs,
		)
		expect(connection.server(SYN | ACK).action).toBe('drop')
		traffic.engine.applyPolicy(
			mapOf([], () => 'deny'),
			traffic.nowUs,
		)
		expect(connection.client(ACK)).toEqual({ action: 'pass', why: 'no workload' })
	})

	it('is not asked at a port without a workload before there is a policy', () => {
		const traffic = atCaptureFile(undefined, () => 'deny')
		expect(new Connection(traffic, ENDS).client(SYN)).toEqual({
			action: 'pass',
			why: 'no workload',
		})
	})

	it.each<[PolicyAction, string]>([
		['allow', 'pass'],
		['learn', 'pass'],
		['open', 'pass'],
		['violate', 'pass'],
		['pending', 'pending'],
		['deny', 'drop'],
	])('%s makes the verdict %s', (action, verdict) => {
		const traffic = underPolicy(() => action)
		const connection = new Connection(traffic, ENDS)
		const answer = connection.client(SYN)
		expect(answer).toEqual({ action: verdict, why: `test ${action}` })
		connection.clientSequence--
		expect(connection.client(SYN)).toBe(answer)
		expect(Object.isFrozen(answer)).toBe(true)
	})

	it('that changes is applied to a running session at its next packet', () => {
		const traffic = underPolicy(() => 'allow')
		const connection = new Connection(traffic, ENDS)
		connection.open()
		traffic.engine.applyPolicy(
			policyOf(() => 'deny', 2),
			traffic.nowUs,
		)
		expect(connection.client(ACK).action).toBe('drop')
		expect(connection.server(ACK).action).toBe('drop')
	})

	it('applies to TCP between link-local addresses, and to the services that clouds put there', () => {
		const traffic = underPolicy(() => 'deny')
		const metadata = { source: '10.0.0.1', destination: '169.254.169.254' }
		for (const frame of [
			{ ...metadata, tcpFlags: SYN },
			{ ...metadata, protocol: 17, destinationPort: 53 },
			{ source: 'fe80::1', destination: 'fe80::2', tcpFlags: SYN },
		]) {
			expect(traffic.send(frame)).toMatchObject({ action: 'drop' })
		}
		expect(traffic.engine.counters()).toMatchObject({ local: 0, sessionsOpened: 3 })
	})

	it('does not apply to traffic of the link alone', () => {
		const traffic = underPolicy(() => 'deny')
		const udp = { protocol: 17, sourcePort: 5353, destinationPort: 5353 }
		const icmp6 = { protocol: 58, source: '2001:db8::1', destination: '2001:db8::2' }
		const cases: [string, Parameters<Traffic['send']>[0]][] = [
			['multicast', { ...udp, source: '10.0.0.1', destination: '224.0.0.251' }],
			['multicast', { ...udp, source: 'fe80::1', destination: 'ff02::fb' }],
			['broadcast', { ...udp, source: '10.0.0.1', destination: '255.255.255.255' }],
			['broadcast', { ...udp, source: '0.0.0.0', destination: '10.0.0.2' }],
			[
				'broadcast',
				{
					...udp,
					source: '10.0.0.1',
					destination: '10.0.0.255',
					destinationMac: 'ff:ff:ff:ff:ff:ff',
				},
			],
			['link-local', { ...udp, source: '169.254.0.1', destination: '169.254.0.2' }],
			['link-local', { ...udp, source: 'fe80::1', destination: 'fe80::2' }],
			['neighbour discovery', { ...icmp6, sourcePort: 0x8700 }],
			['neighbour discovery', { ...icmp6, sourcePort: 0x8f00 }],
		]
		for (const [why, frame] of cases) {
			expect(traffic.send(frame)).toEqual({ action: 'pass', why })
		}
		expect(traffic.engine.counters()).toMatchObject({ local: cases.length, sessionsOpened: 0 })
		expect(
			traffic.send({
				source: '10.0.0.1',
				destination: '10.0.0.2',
				destinationMac: 'ff:ff:ff:ff:ff:ff',
				tcpFlags: SYN,
			}).action,
		).toBe('drop')
	})
})

describe('a violation', () => {
	it('waits for the name of the application', () => {
		const traffic = underPolicy(() => 'violate')
		const connection = new Connection(traffic, ENDS)
		connection.open()
		traffic.wait(300_000)
		expect(traffic.violations()).toEqual([])
		connection.client(PSH_ACK, GET)
		expect(traffic.violations()).toEqual([
			{
				kind: 'violation',
				atUs: START_US + 300_000,
				clientAddress: '10.0.0.1',
				clientPort: 40_000,
				serverAddress: '10.0.0.2',
				serverPort: 80,
				protocol: 6,
				workload: 'w',
				side: 'client',
				peerWorkload: 'peer of 10.0.0.2',
				application: 'http',
				action: 'violate',
				rule: undefined,
				why: 'test violate',
				host: 'shop.example',
				count: 1,
			},
		])
		traffic.wait(60 * SECOND_US)
		expect(traffic.violations()).toEqual([])
	})

	it('waits a second at most', () => {
		const traffic = underPolicy(() => 'deny')
		new Connection(traffic, ENDS).client(SYN)
		traffic.wait(999_999)
		expect(traffic.violations()).toEqual([])
		traffic.wait(200_000)
		expect(traffic.violations()).toMatchObject([{ action: 'deny', application: undefined }])
	})

	it('of a protocol without applications is told at once', () => {
		const traffic = underPolicy(() => 'violate')
		const ping = { protocol: 1, sourcePort: 0x0800, destinationPort: 1 }
		traffic.send({ source: '10.0.0.1', destination: '10.0.0.2', ...ping })
		expect(traffic.violations()).toMatchObject([{ protocol: 1, serverPort: 8 }])
	})

	it('of a refused attempt is told', () => {
		const traffic = underPolicy(() => 'violate')
		const connection = new Connection(traffic, ENDS)
		connection.client(SYN)
		connection.server(RST | ACK)
		expect(traffic.violations()).toHaveLength(1)
	})

	it('is none when the name of the application makes it allowed', () => {
		const traffic = underPolicy(({ application }) => (application === 'http' ? 'allow' : 'violate'))
		const connection = new Connection(traffic, ENDS)
		connection.open()
		connection.client(PSH_ACK, GET)
		traffic.wait(10 * SECOND_US)
		expect(traffic.violations()).toEqual([])
	})

	it('that is pending is told when it resolves, however late', () => {
		const traffic = underPolicy(({ application }) =>
			application === 'pending' ? 'pending' : 'violate',
		)
		const connection = new Connection(traffic, ENDS)
		connection.open()
		traffic.wait(3 * SECOND_US)
		expect(traffic.violations()).toEqual([])
		connection.client(PSH_ACK, GET)
		expect(traffic.violations()).toMatchObject([{ application: 'http', atUs: traffic.nowUs }])
	})

	it('is told once, though policy changes', () => {
		const traffic = underPolicy(() => 'violate')
		const connection = new Connection(traffic, ENDS)
		connection.open()
		connection.client(PSH_ACK, GET)
		traffic.engine.applyPolicy(
			policyOf(() => 'deny', 2),
			traffic.nowUs,
		)
		connection.client(ACK)
		traffic.wait(10 * SECOND_US)
		expect(traffic.violations()).toHaveLength(1)
	})

	it('that repeats is counted, and told every five seconds', () => {
		const traffic = underPolicy(() => 'violate')
		const attempt = (i: number) => {
			const connection = new Connection(traffic, { ...ENDS, clientPort: 50_000 + i })
			connection.client(SYN)
			connection.server(RST | ACK)
		}
		for (let i = 0; i < 10; i++) attempt(i)
		expect(traffic.violations()).toMatchObject([{ count: 1 }])
		traffic.wait(5 * SECOND_US)
		expect(traffic.violations()).toMatchObject([{ count: 9 }])
		traffic.wait(SECOND_US)
		attempt(10)
		expect(traffic.violations()).toEqual([])
		traffic.wait(5 * SECOND_US)
		expect(traffic.violations()).toMatchObject([{ count: 1 }])
		traffic.wait(10 * SECOND_US)
		attempt(11)
		expect(traffic.violations()).toMatchObject([{ count: 1, clientPort: 50_011 }])
	})

	it('is not lost when everything ends before its time', () => {
		const traffic = underPolicy(() => 'violate')
		new Connection(traffic, ENDS).client(SYN)
		new Connection(traffic, { ...ENDS, clientPort: 1 }).client(SYN)
		traffic.engine.flush(traffic.nowUs, true)
		expect(traffic.violations().map((event) => event.count)).toEqual([1, 1])
	})
})

describe('a conversation', () => {
	it('waits for the application, then reports increments', () => {
		const traffic = underPolicy(() => 'learn')
		const connection = new Connection(traffic, ENDS)
		connection.open()
		connection.client(PSH_ACK, GET)
		traffic.wait(5 * SECOND_US)
		expect(traffic.conversations()).toEqual([
			{
				kind: 'conversation',
				workload: 'w',
				side: 'client',
				peerAddress: '10.0.0.2',
				peerWorkload: 'peer of 10.0.0.2',
				protocol: 6,
				serverPort: 80,
				application: 'http',
				isFinal: true,
				action: 'learn',
				rule: undefined,
				why: 'test learn',
				sessions: 1,
				...connection.sent,
				firstUs: START_US,
				lastUs: START_US,
				host: 'shop.example',
			},
		])
		traffic.wait(20 * SECOND_US)
		expect(traffic.conversations()).toEqual([])
		connection.client(ACK)
		const atUs = traffic.nowUs
		traffic.wait(5 * SECOND_US)
		expect(traffic.conversations()).toMatchObject([
			{ sessions: 0, clientPackets: 1, serverPackets: 0, firstUs: atUs, lastUs: atUs },
		])
	})

	it('without a name is reported after five seconds, as not final', () => {
		const traffic = underPolicy(() => 'learn', 2 * SECOND_US)
		const connection = new Connection(traffic, ENDS)
		connection.open()
		traffic.wait(4 * SECOND_US)
		expect(traffic.conversations()).toEqual([])
		traffic.wait(2 * SECOND_US)
		expect(traffic.conversations()).toMatchObject([
			{ isFinal: false, application: undefined, sessions: 1, clientPackets: 2 },
		])
		connection.client(PSH_ACK, GET)
		connection.server(PSH_ACK, 'HTTP/1.1 200 OK\r\n\r\n')
		traffic.wait(2 * SECOND_US)
		const later = traffic.conversations()
		expect(later.map((event) => event.sessions)).toEqual([0, 0])
		expect(later.at(-1)).toMatchObject({ isFinal: true, application: 'http' })
		expect(totalOf([...later])).toEqual({
			clientPackets: 1,
			serverPackets: 1,
			clientBytes: connection.sent.clientBytes - 2 * 54,
			serverBytes: connection.sent.serverBytes - 54,
		})
	})

	it.each([
		['unanswered', (connection: Connection) => connection.client(SYN)],
		[
			'refused',
			(connection: Connection) => {
				connection.client(SYN)
				connection.server(RST | ACK)
			},
		],
	])('of an attempt %s is not final, so that nothing is learned from it', (_, play) => {
		const traffic = underPolicy(() => 'learn')
		play(new Connection(traffic, ENDS))
		traffic.wait(60 * SECOND_US)
		const reported = traffic.conversations()
		expect(reported.length).toBeGreaterThan(0)
		for (const event of reported) expect(event.isFinal).toBe(false)
		expect(reported.reduce((sum, event) => sum + event.sessions, 0)).toBe(1)
	})

	it('sums up the sessions of one key', () => {
		const traffic = underPolicy(() => 'learn')
		for (let i = 0; i < 5; i++) {
			const connection = new Connection(traffic, { ...ENDS, clientPort: 50_000 + i })
			connection.open()
			connection.client(PSH_ACK, GET)
			connection.close()
		}
		traffic.wait(6 * SECOND_US)
		expect(traffic.conversations()).toMatchObject([{ sessions: 5, clientPackets: 25 }])
	})

	it('goes on under another key when the decision changes, and counts the session once', () => {
		const traffic = underPolicy(() => 'violate')
		const connection = new Connection(traffic, ENDS)
		connection.open()
		connection.client(PSH_ACK, GET)
		traffic.wait(5 * SECOND_US)
		connection.client(ACK)
		traffic.engine.applyPolicy(
			policyOf(() => 'allow', 2),
			traffic.nowUs,
		)
		connection.client(ACK)
		connection.client(ACK)
		traffic.wait(5 * SECOND_US)
		const events = traffic.conversations()
		expect(events.map(({ action, sessions }) => ({ action, sessions }))).toEqual([
			{ action: 'violate', sessions: 1 },
			{ action: 'violate', sessions: 0 },
			{ action: 'allow', sessions: 0 },
		])
		expect(totalOf(events)).toEqual(connection.sent)
	})

	it('is reported by a flush, also while sessions go on', () => {
		const traffic = underPolicy(() => 'learn')
		const connection = new Connection(traffic, ENDS)
		connection.open()
		traffic.engine.flush(traffic.nowUs, false)
		expect(traffic.conversations()).toMatchObject([{ clientPackets: 2, isFinal: false }])
		expect(traffic.engine.sessionsOpen()).toBe(1)
	})

	it('increments sum up to what the sessions carried', () => {
		fc.assert(
			fc.property(fc.array(anyMove(), { maxLength: 80 }), (moves) => {
				const traffic = underPolicy(({ application }) => ACTION_OF[`${application}`] ?? 'learn')
				const connections = [0, 1, 2].map(
					(i) => new Connection(traffic, { ...ENDS, clientPort: 50_000 + i }),
				)
				for (const [move, who, waitUs] of moves) {
					const connection = connections[who]
					if (connection) MOVES[move]?.(connection, traffic)
					traffic.wait(waitUs)
				}
				traffic.engine.flush(traffic.nowUs, true)
				const events = traffic.conversations()
				const sent = connections.map((connection) => connection.sent)
				expect(totalOf(events)).toEqual(totalOf(sent))
				const sessions = events.reduce((sum, event) => sum + event.sessions, 0)
				expect(sessions).toBe(traffic.engine.counters().sessionsOpened)
			}),
			{ numRuns: 300 },
		)
	})
})

const ACTION_OF: Record<string, PolicyAction> = { http: 'violate', pending: 'pending' }

const MOVES: ((connection: Connection, traffic: Traffic) => void)[] = [
	(connection) => connection.open(),
	(connection) => connection.client(PSH_ACK, GET),
	(connection) => connection.server(PSH_ACK, 'HTTP/1.1 200 OK\r\n\r\n'),
	(connection) => connection.close(),
	(connection) => connection.client(FIN | ACK),
	(connection) => connection.server(RST | ACK),
	(_, traffic) =>
		traffic.engine.applyPolicy(
			policyOf(() => 'allow', 5),
			traffic.nowUs,
		),
	(_, traffic) => traffic.engine.flush(traffic.nowUs, false),
]

function anyMove(): fc.Arbitrary<[number, number, number]> {
	const waitsUs = fc.constantFrom(0, 200_000, SECOND_US, 6 * SECOND_US, 100 * SECOND_US)
	return fc.tuple(fc.nat(MOVES.length - 1), fc.nat(2), waitsUs)
}

type Totals = Pick<
	ConversationEvent,
	'clientPackets' | 'clientBytes' | 'serverPackets' | 'serverBytes'
>

function totalOf(parts: readonly Totals[]): Totals {
	const total = { clientPackets: 0, clientBytes: 0, serverPackets: 0, serverBytes: 0 }
	for (const part of parts) {
		total.clientPackets += part.clientPackets
		total.clientBytes += part.clientBytes
		total.serverPackets += part.serverPackets
		total.serverBytes += part.serverBytes
	}
	return total
}

/** A policy that decides by a function: what stands behind the interface is another room's. */
function policyOf(
	decide: (query: Readonly<PolicyQuery>) => PolicyAction,
	generation: number,
): CompiledPolicy {
	const decisions = new Map<PolicyAction, Decision>()
	return {
		generation,
		lookup: (query) => {
			const action = decide(query)
			const decision = decisions.get(action) ?? { action, rule: undefined, why: `test ${action}` }
			decisions.set(action, decision)
			return decision
		},
		peerWorkload: ({ peer0, peer1, peer2, peer3 }) =>
			`peer of ${formatAddress([peer0, peer1, peer2, peer3])}`,
	}
}

/** A policy whose address map knows these addresses only. */
function mapOf(
	addresses: readonly string[],
	decide: (query: Readonly<PolicyQuery>) => PolicyAction,
): CompiledPolicy {
	return {
		...policyOf(decide, 1),
		peerWorkload: ({ peer0, peer1, peer2, peer3 }) => {
			const address = formatAddress([peer0, peer1, peer2, peer3])
			return addresses.includes(address) ? `workload ${address}` : undefined
		},
	}
}

/** A port without a workload, under a policy whose address map knows `addresses`; undefined: under none. */
function atCaptureFile(
	addresses: readonly string[] | undefined,
	decide: (query: Readonly<PolicyQuery>) => PolicyAction,
): Traffic {
	const engine = createEngine({
		sessionsMax: 1000,
		hasSessionEvents: true,
		hasConversationEvents: false,
		reportIntervalUs: SECOND_US,
	})
	engine.openPort({ id: 1, workload: undefined, mac: undefined })
	if (addresses !== undefined) engine.applyPolicy(mapOf(addresses, decide), START_US)
	return new Traffic(engine)
}

function underPolicy(
	decide: (query: Readonly<PolicyQuery>) => PolicyAction,
	reportIntervalUs = 5 * SECOND_US,
): Traffic {
	const engine = createEngine({
		sessionsMax: 1000,
		hasSessionEvents: false,
		hasConversationEvents: true,
		reportIntervalUs,
	})
	engine.openPort({ id: 1, workload: 'w', mac: WORKLOAD_MAC })
	engine.applyPolicy(policyOf(decide, 1), START_US)
	return new Traffic(engine)
}
