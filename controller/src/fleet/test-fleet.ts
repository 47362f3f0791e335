import type { Hello, TelemetryAck, WorkloadsReport } from '@ringfence/shared/contract/messages'
import type {
	ConversationRecord,
	TelemetryRecord,
	ViolationRecord,
} from '@ringfence/shared/contract/telemetry'
import type { Workload } from '@ringfence/shared/contract/workload'
import type { OpenedStore } from '../db/open-store.ts'
import { nodes } from '../db/schema.ts'
import { openTestStore } from '../db/test-store.ts'
import { ensureCluster } from './cluster.ts'
import type { Fleet, LiveItem } from './fleet.ts'
import { createIntake } from './intake/create-intake.ts'
import type { Intake } from './intake/intake.ts'

interface Published {
	readonly topic: string
	readonly payload: Uint8Array
	readonly isRetained: boolean
}

/** A fleet whose host is the test: it moves the clock, sees what is published and told, and may refuse it. */
export interface TestFleet extends Fleet {
	readonly store: OpenedStore
	readonly intake: Intake
	readonly published: Published[]
	readonly told: LiveItem[]
	readonly counts: { documents: number; outbox: number }
	/** Broker accounts by node. */
	readonly accounts: Map<string, string>
	readonly time: { now: number }
	/** What the broker says to the next publications and accounts. */
	readonly broker: { refuses: boolean }
}

/** Where tests begin: 2026-11-20T00:00:00Z. */
export const START_MS = Date.UTC(2026, 10, 20)

/** A fleet with an empty database, in memory or at a `file:` URL. */
export async function openTestFleet(url?: string): Promise<TestFleet> {
	const store = await openTestStore(url)
	const time = { now: START_MS }
	const broker = { refuses: false }
	const published: Published[] = []
	const told: LiveItem[] = []
	const counts = { documents: 0, outbox: 0 }
	const accounts = new Map<string, string>()
	const refuse = () => {
		if (broker.refuses) throw new Error('the broker refuses')
	}
	const fleet: Fleet = {
		store,
		clock: { now: () => time.now },
		log: () => {},
		changes: {
			documentsChanged: () => void counts.documents++,
			outboxChanged: () => void counts.outbox++,
		},
		live: { publish: (item) => void told.push(item), subscribe: () => () => {} },
		bus: {
			publish: async (topic, payload, { isRetained }) => {
				refuse()
				published.push({ topic, payload, isRetained })
			},
		},
		brokerUrl: () => 'mqtt://127.0.0.1:1883',
		brokerAccounts: {
			provision: async (node, password) => {
				refuse()
				accounts.set(node, password)
			},
			revoke: async (node) => {
				refuse()
				accounts.delete(node)
			},
		},
	}
	await ensureCluster(fleet)
	const intake = createIntake(fleet)
	return { ...fleet, store, intake, published, told, counts, accounts, time, broker }
}

/** An agent as the intake sees it: it says hello, reports workloads, and numbers its batches. */
export class TestAgent {
	readonly node: string
	readonly #fleet: TestFleet
	boot: string
	#revision = 0
	#seq = 0

	constructor(fleet: TestFleet, node: string) {
		this.#fleet = fleet
		this.node = node
		this.boot = `${node}-boot1`
	}

	async hello(addresses: readonly string[] = [], more: Partial<Hello> = {}): Promise<void> {
		const interfaces = [{ name: 'eth0', mac: '02:00:00:00:00:01', addresses: [...addresses] }]
		const words = { hostname: this.node, os: 'os', kernel: 'k', arch: 'a', agentVersion: '0.1.0' }
		await this.#fleet.intake.hello(this.node, {
			v: 1,
			boot: this.boot,
			startedAt: START_MS,
			facts: { ...words, interfaces, canCapture: true },
			applied: [],
			...more,
		})
	}

	async report(workloads: readonly Workload[], more: Partial<WorkloadsReport> = {}): Promise<void> {
		const { now } = this.#fleet.time
		await this.#fleet.intake.workloads(this.node, {
			v: 1,
			boot: this.boot,
			revision: ++this.#revision,
			at: now,
			workloads: [...workloads],
			...more,
		})
	}

	/** Sends the next batch. */
	async send(...records: TelemetryRecord[]): Promise<TelemetryAck> {
		return this.sendAs(++this.#seq, records)
	}

	/** Sends a batch under a number of the test's choice. */
	async sendAs(seq: number, records: TelemetryRecord[], floor = 1): Promise<TelemetryAck> {
		const batch = { v: 1, boot: this.boot, seq, floor, at: this.#fleet.time.now, records } as const
		return this.#fleet.intake.telemetry(this.node, batch)
	}
}

/** A node that has enrolled, and its agent after the hello. */
export async function joinAgent(
	fleet: TestFleet,
	node: string,
	addresses: readonly string[] = [],
): Promise<TestAgent> {
	await fleet.store.write(async (tx) => {
		const { now } = fleet.time
		await tx.insert(nodes).values({
			id: node,
			name: `${node}.example`,
			secretHash: '',
			enrolledAt: now,
			lastSeenAt: now,
		})
	})
	const agent = new TestAgent(fleet, node)
	await agent.hello(addresses)
	return agent
}

/** A workload with one interface; its service is its name unless said otherwise, its domain `shop`. */
export function workload(
	id: string,
	addresses: readonly string[],
	more: Partial<Workload> = {},
): Workload {
	return {
		id,
		name: id,
		runtime: 'netns',
		service: id,
		domain: 'shop',
		labels: {},
		interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:02', addresses: [...addresses] }],
		startedAt: START_MS,
		...more,
	}
}

/** A finished TCP session to port 80 of which nothing else is said, learned at the client's end. */
export function conversation(
	ends: Pick<ConversationRecord, 'workload' | 'peerAddress'> & Partial<ConversationRecord>,
): ConversationRecord {
	return {
		kind: 'conversation',
		side: 'client',
		protocol: 6,
		serverPort: 80,
		why: 'no rule (discover)',
		isFinal: true,
		action: 'learn',
		sessions: 1,
		clientPackets: 5,
		clientBytes: 500,
		serverPackets: 4,
		serverBytes: 4000,
		firstAt: START_MS - 1000,
		lastAt: START_MS - 500,
		...ends,
	}
}

export function violation(
	ends: Pick<ViolationRecord, 'workload' | 'peerAddress'> & Partial<ViolationRecord>,
): ViolationRecord {
	return {
		kind: 'violation',
		side: 'client',
		protocol: 6,
		serverPort: 80,
		clientPort: 40000,
		why: 'no rule (monitor)',
		action: 'violate',
		count: 1,
		at: START_MS - 500,
		...ends,
	}
}
