import { PEER_UNKNOWN } from '@ringfence/shared/contract/reasons'
import type {
	ConversationRecord,
	TelemetryRecord,
	ThreatRecord,
	ViolationRecord,
} from '@ringfence/shared/contract/telemetry'
import { eq, sql } from 'drizzle-orm'
import { nodes } from '../../db/schema.ts'
import { type Report, type ReportedSession, raiseEvents } from '../alerts/raise-events.ts'
import type { Work } from '../work.ts'
import type { NamedConversation } from './conversation-names.ts'
import { addConversations } from './conversation-sums.ts'
import {
	type Directory,
	type End,
	externalEnd,
	type Named,
	type NodeName,
	readDirectory,
} from './directory.ts'
import { type HeldRecord, HOLD_MS_MAX, hold } from './held.ts'
import { type Lesson, learn } from './learn.ts'

/** A record of one node, and when it came first. */
export interface Arrival {
	readonly record: TelemetryRecord
	readonly heldAt: number
}

type SessionRecord = ConversationRecord | ViolationRecord | ThreatRecord

/** A session record with both ends; `isGuess` when the peer is inside the fleet but nobody said who it is. */
interface NamedRecord {
	readonly record: SessionRecord
	readonly own: End
	readonly peer: End
	readonly isGuess: boolean
}

/** Takes records of one node: sums, learns, raises events; holds what cannot be named yet. */
export async function takeRecords(
	work: Work,
	node: NodeName,
	arrivals: readonly Arrival[],
): Promise<void> {
	const sessions = arrivals.flatMap(({ record, heldAt }) =>
		isSession(record) ? [{ record, heldAt }] : [],
	)
	const reports = arrivals.flatMap(({ record }) => agentReport(node, record))
	const directory = await readDirectory(
		work.tx,
		sessions.map(({ record }) => record),
	)
	const sorted = sortByName({ work, node, directory }, sessions)
	const crowdedOut = await hold(work.tx, sorted.waiting)
	for (const { record } of crowdedOut)
		if (isSession(record)) giveUp(sorted, directory, node, record)
	await addConversations(work, sorted.named.flatMap(toConversation))
	const full = await learn(work, directory, sorted.named.flatMap(toLesson))
	reports.push(...sorted.named.flatMap((named) => sessionReport(node, named)))
	reports.push(...fullReports(node, full, work.now), ...lostReports(node, sorted.lost, work.now))
	await raiseEvents(work, reports)
	await keepCounters(work, node, arrivals, sorted.givenUp)
}

/** Takes records that were held, each for its own node. */
export async function takeHeld(work: Work, held: readonly HeldRecord[]): Promise<void> {
	const byNode = new Map<string, HeldRecord[]>()
	for (const one of held) byNode.set(one.nodeId, [...(byNode.get(one.nodeId) ?? []), one])
	for (const [id, its] of byNode) {
		const [row] = await work.tx
			.select({ id: nodes.id, name: nodes.name })
			.from(nodes)
			.where(eq(nodes.id, id))
		if (row) await takeRecords(work, row, its)
	}
}

interface Sorted {
	readonly named: NamedRecord[]
	readonly waiting: HeldRecord[]
	/** Why records were not taken, and how many for each reason. */
	readonly lost: Map<string, number>
	/** Records taken or lost without the name they waited for. */
	givenUp: number
}

function sortByName(
	context: { work: Work; node: NodeName; directory: Directory },
	sessions: readonly { record: SessionRecord; heldAt: number }[],
): Sorted {
	const { work, node, directory } = context
	const sorted: Sorted = { named: [], waiting: [], lost: new Map(), givenUp: 0 }
	for (const { record, heldAt } of sessions) {
		const named = directory.name(node.id, record)
		if (named.kind === 'named') sorted.named.push({ record, ...named, isGuess: false })
		else if (named.kind === 'refused') lose(sorted, named.why)
		else if (work.now - heldAt < HOLD_MS_MAX)
			sorted.waiting.push({ nodeId: node.id, waitsFor: named.waitsFor, record, heldAt })
		else giveUpNamed(sorted, record, named)
	}
	return sorted
}

function giveUp(sorted: Sorted, directory: Directory, node: NodeName, record: SessionRecord): void {
	const named = directory.name(node.id, record)
	if (named.kind === 'waiting') giveUpNamed(sorted, record, named)
}

/** A peer without a name is an address like those outside; a record without its workload belongs to nobody. */
function giveUpNamed(
	sorted: Sorted,
	record: SessionRecord,
	{ own, waitsFor }: Named & { kind: 'waiting' },
): void {
	sorted.givenUp++
	if (!own) lose(sorted, 'the workload was never reported')
	else {
		const peer = externalEnd(waitsFor.slice('address:'.length))
		sorted.named.push({ record, own, peer, isGuess: true })
	}
}

function lose(sorted: Sorted, why: string): void {
	sorted.lost.set(why, (sorted.lost.get(why) ?? 0) + 1)
}

function isSession(record: TelemetryRecord): record is SessionRecord {
	return record.kind === 'conversation' || record.kind === 'violation' || record.kind === 'threat'
}

function endsOf({ record, own, peer }: NamedRecord): { client: End; server: End } {
	return record.side === 'client' ? { client: own, server: peer } : { client: peer, server: own }
}

function toConversation(named: NamedRecord): NamedConversation[] {
	const { record } = named
	return record.kind === 'conversation' ? [{ record, ...endsOf(named) }] : []
}

function toLesson(named: NamedRecord): Lesson[] {
	const { record, isGuess } = named
	if (record.kind !== 'conversation' || !record.isFinal || isGuess) return []
	const { action, rule, protocol, serverPort: port, application = '' } = record
	const lesson = { ...endsOf(named), protocol, port, application }
	if (action === 'learn') return [lesson]
	const isNamed = action === 'allow' && rule !== undefined && application !== ''
	return isNamed ? [{ ...lesson, allowedBy: rule }] : []
}

function sessionReport(node: NodeName, named: NamedRecord): Report[] {
	const { record } = named
	if (record.kind === 'conversation') return strangerReport(node, named, record)
	const { at, count, why } = record
	const session: ReportedSession = {
		side: record.side,
		...endsOf(named),
		protocol: record.protocol,
		serverPort: record.serverPort,
		clientPort: record.clientPort,
		application: record.application ?? null,
		action: record.kind === 'violation' ? record.action : null,
		rule: record.rule ?? null,
		host: record.host ?? null,
	}
	const shared = { at, count, why, node, session }
	if (record.kind === 'threat') {
		return [{ kind: 'threat', name: record.name, severity: record.severity, ...shared }]
	}
	return record.action === 'deny'
		? [{ kind: 'violation', name: 'connection blocked', severity: 'high', ...shared }]
		: [{ kind: 'violation', name: 'connection not allowed', severity: 'medium', ...shared }]
}

/**
 * In monitor an agent waits for the name of a peer inside the fleet before it calls a session a violation. When nobody has
 * named it in all that time, somebody is there who should not be.
 */
function strangerReport(node: NodeName, named: NamedRecord, record: ConversationRecord): Report[] {
	const { action, why, sessions, side, protocol, serverPort, application, host } = record
	if (!named.isGuess || action !== 'open' || why !== PEER_UNKNOWN || sessions === 0) return []
	return [
		{
			kind: 'violation',
			name: 'connection with an unknown address of the fleet',
			severity: 'medium',
			at: record.firstAt,
			count: sessions,
			why: 'no rule, and no node reports the peer',
			node,
			session: {
				side,
				...endsOf(named),
				protocol,
				serverPort,
				clientPort: 0,
				application: application ?? null,
				action: 'violate',
				rule: null,
				host: host ?? null,
			},
		},
	]
}

function agentReport(node: NodeName, record: TelemetryRecord): Report[] {
	if (record.kind !== 'agent') return []
	const { name, severity, at, count, message: why } = record
	return [{ kind: 'agent', name, severity, at, count, why, node }]
}

/** A pair of groups whose learned rule is full: what is beyond will be reported as a violation one day. */
function fullReports(node: NodeName, lessons: readonly Lesson[], at: number): Report[] {
	const pairs = new Map<string, number>()
	for (const { client, server } of lessons) {
		const pair = `${client.group} to ${server.group}`
		pairs.set(pair, (pairs.get(pair) ?? 0) + 1)
	}
	return [...pairs].map(([pair, count]) => ({
		kind: 'agent',
		name: 'not learned',
		severity: 'low',
		at,
		count,
		node,
		why: `${pair}: no learned rule can take the port or protocol`,
		about: pair,
	}))
}

function lostReports(node: NodeName, lost: ReadonlyMap<string, number>, at: number): Report[] {
	return [...lost].map(([why, count]) => ({
		kind: 'agent',
		name: 'records refused',
		severity: 'medium',
		at,
		count,
		node,
		why,
		about: why,
	}))
}

async function keepCounters(
	{ tx }: Work,
	node: NodeName,
	arrivals: readonly Arrival[],
	givenUp: number,
): Promise<void> {
	const newest = arrivals.findLast(({ record }) => record.kind === 'counters')?.record
	const counters = newest?.kind === 'counters' ? newest.counters : undefined
	if (givenUp === 0 && !counters) return
	await tx
		.update(nodes)
		.set({
			...(counters ? { counters } : {}),
			givenUp: sql`${nodes.givenUp} + ${givenUp}`,
		})
		.where(eq(nodes.id, node.id))
}
