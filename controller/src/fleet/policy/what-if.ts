import type { AddressEntry } from '@ringfence/shared/contract/policy'
import {
	type TrafficSum,
	WHAT_IF_CONVERSATIONS_MAX,
	type WhatIfAnswer,
	type WhatIfConversation,
	type WhatIfList,
	type WhatIfPair,
	type WhatIfQuestion,
} from '@ringfence/shared/contract/rest'
import type { SessionAction } from '@ringfence/shared/contract/telemetry'
import { sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import type { Db } from '../../db/store.ts'
import { readDocument } from '../desired/documents.ts'
import type { Fleet } from '../fleet.ts'
import { addBounded, gravest } from '../intake/conversation-sums.ts'
import { readFleetNetworks } from '../nodes/addresses.ts'
import { readSettings } from '../settings.ts'
import { Turns } from '../turns.ts'
import { changePolicy, type KnownPolicy, readKnownPolicy } from './what-if-change.ts'
import { EndIndex } from './what-if-ends.ts'
import {
	type JudgedPolicy,
	type JudgedSession,
	judge,
	RuleList,
	type Verdict,
} from './what-if-judge.ts'

const SINCE_MS_DEFAULT = 24 * 3_600_000

/** Conversations judged before others get their turn: some 10 ms. */
const PAGE_ROWS = 300

/** Comparisons of a rule's port, some ten seconds: only a policy of thousands of rules between two groups needs them. */
const WORK_MAX = 30_000_000

/** Conversations that each list shows, and pairs of groups. */
const ITEMS_MAX = 200
const PAIRS_MAX = 2000

/**
 * What a change of modes and rules would have done over the recorded conversations: each is judged by the policy in force
 * and by the changed one, with the groups that its ends have today. Nothing is written.
 * @throws Refusal for what the change itself would be refused for
 */
export async function askWhatIf(fleet: Fleet, question: WhatIfQuestion): Promise<WhatIfAnswer> {
	const { db } = fleet.store
	const known = await readKnownPolicy(db)
	const changed = changePolicy(known, question)
	const turns = new Turns(WORK_MAX)
	const judging = await prepare(db, { known, changed, turns })
	const since = question.since ?? Math.max(fleet.clock.now() - SINCE_MS_DEFAULT, 0)
	const ids = await readIds(db, since)
	await turns.pause()
	const tally = new Tally()
	for (let at = 0; at < Math.min(ids.length, WHAT_IF_CONVERSATIONS_MAX); at += PAGE_ROWS) {
		const end = Math.min(at + PAGE_ROWS, WHAT_IF_CONVERSATIONS_MAX)
		const rows = await readRows(db, ids.slice(at, end))
		await turns.pause()
		for (const row of rows) {
			const judged = await judgeRow(row, judging)
			if (turns.isOver) return tally.answer(since, 'work')
			tally.add(judged)
		}
	}
	return tally.answer(since, ids.length > WHAT_IF_CONVERSATIONS_MAX ? 'conversations' : null)
}

interface Judging {
	readonly ends: EndIndex
	readonly before: JudgedPolicy
	readonly after: JudgedPolicy
}

interface Policies {
	readonly known: KnownPolicy
	readonly changed: KnownPolicy
	readonly turns: Turns
}

async function prepare(db: Db, { known, changed, turns }: Policies): Promise<Judging> {
	const { newServiceMode } = await readSettings(db)
	const ends = new EndIndex(await readFleetNetworks(db))
	const addresses = await readDocument(db, 'addresses')
	await turns.pause()
	for (const entry of addresses.entries.values()) {
		ends.add(entry as AddressEntry)
		if (turns.add(10)) await turns.pause()
	}
	const policyOf = ({ rules, modes }: KnownPolicy): JudgedPolicy => ({
		rules: new RuleList(
			rules.filter((rule) => rule.isEnabled),
			turns,
		),
		modes: new Map([...modes].flatMap(([name, mode]) => (mode ? [[name, mode]] : []))),
		newServiceMode,
	})
	return { ends, before: policyOf(known), after: policyOf(changed) }
}

/** Newest first. They are read before the rows, because rows move to the front while traffic goes on. */
async function readIds(db: Db, since: number): Promise<number[]> {
	// One cell of JSON for all: the driver spends a microsecond on every cell, JSON.parse far less.
	const [found] = await db.all<{ ids: string }>(sql`
		select json_group_array(id) as ids from (
			select id from conversations where last_at >= ${since}
			order by last_at desc, id desc limit ${WHAT_IF_CONVERSATIONS_MAX + 1})`)
	return JSON.parse(found?.ids ?? '[]') as number[]
}

/** A conversation as the query below orders it. */
type Row = readonly [
	...[id: number, client: string, server: string, clientGroup: string, serverGroup: string],
	...[protocol: number, serverPort: number, application: string, isFinal: 0 | 1],
	...[sessions: number, clientBytes: number, serverBytes: number, lastAt: number],
]

/** In the order of `ids`; one that has aged out meanwhile is left out. Of two sides' sums the greater stands. */
async function readRows(db: Db, ids: readonly number[]): Promise<Row[]> {
	const [found] = await db.all<{ rows: string }>(sql`
		select json_group_array(json_array(id, client, server, client_group, server_group, protocol,
			server_port, application, is_final, max(c_sessions, s_sessions),
			max(c_client_bytes, s_client_bytes), max(c_server_bytes, s_server_bytes), last_at)) as rows
		from conversations where id in ${jsonList(ids)}`)
	const rows = new Map((JSON.parse(found?.rows ?? '[]') as Row[]).map((row) => [row[0], row]))
	return ids.flatMap((id) => {
		const row = rows.get(id)
		return row ? [row] : []
	})
}

interface Judged {
	readonly conversation: WhatIfConversation
	readonly isGone: boolean
	readonly before: SessionAction
	readonly after: SessionAction
}

async function judgeRow(row: Row, { ends, before, after }: Judging): Promise<Judged> {
	const [id, client, server, clientGroup, serverGroup, protocol, serverPort, application] = row
	const [, , , , , , , , isFinal, sessions, clientBytes, serverBytes, lastAt] = row
	const session: JudgedSession = {
		client: ends.at(client, clientGroup),
		server: ends.at(server, serverGroup),
		protocol,
		port: serverPort,
		application: application === '' && isFinal === 0 ? 'pending' : application,
	}
	const at = async (side: 'client' | 'server') => {
		const verdict = await judge(before, session, side)
		const changed = await judge(after, session, side)
		return verdict && changed ? { before: verdict, after: changed } : null
	}
	const atClient = await at('client')
	const atServer = await at('server')
	const worst = (which: 'before' | 'after') =>
		gravest([atClient, atServer].flatMap((one) => one?.[which].action ?? [])) as SessionAction
	return {
		conversation: {
			...{ id, client, server, clientGroup, serverGroup, protocol, serverPort, sessions, lastAt },
			application: application || null,
			bytes: addBounded(clientBytes, serverBytes),
			atClient,
			atServer,
		},
		isGone: session.client.isGone || session.server.isGone,
		before: worst('before'),
		after: worst('after'),
	}
}

type Sum = { -readonly [Key in keyof TrafficSum]: number }
type Outcome = 'newlyDenied' | 'newlyAllowed' | 'newlyViolating'
type Pair = Omit<WhatIfPair, 'before' | 'after'> & { before: SessionAction; after: SessionAction }

/** The sums of an answer, while they grow. */
class Tally {
	readonly #all = emptySum()
	readonly #changed = emptySum()
	readonly #pairs = new Map<string, Pair>()
	readonly #lists: Readonly<Record<Outcome, WhatIfList & Sum>> = {
		newlyDenied: emptyList(),
		newlyAllowed: emptyList(),
		newlyViolating: emptyList(),
	}
	#gone = 0

	add({ conversation, isGone, before, after }: Judged): void {
		const { clientGroup: from, serverGroup: to } = conversation
		const key = JSON.stringify([from, to])
		const pair = this.#pairs.get(key) ?? emptyPair(from, to)
		this.#pairs.set(key, pair)
		pair.before = gravest([pair.before, before]) as SessionAction
		pair.after = gravest([pair.after, after]) as SessionAction
		if (isGone) this.#gone++
		addTo([this.#all, pair.all], conversation)
		const sides = [conversation.atClient, conversation.atServer]
		if (!sides.some((one) => one && !isSame(one.before, one.after))) return
		addTo([this.#changed, pair.changed], conversation)
		const outcome = outcomeOf(before, after)
		if (!outcome) return
		const list = this.#lists[outcome]
		addTo([list, pair[outcome]], conversation)
		if (list.items.length < ITEMS_MAX) list.items.push(conversation)
		else list.isTruncated = true
	}

	answer(since: number, truncated: WhatIfAnswer['truncated']): WhatIfAnswer {
		const pairs = [...this.#pairs.values()].sort(
			(a, b) => b.changed.sessions - a.changed.sessions || b.all.sessions - a.all.sessions,
		)
		return {
			since,
			all: this.#all,
			changed: this.#changed,
			gone: this.#gone,
			truncated,
			pairs: pairs.slice(0, PAIRS_MAX),
			isPairsTruncated: pairs.length > PAIRS_MAX,
			...this.#lists,
		}
	}
}

/** Which list a conversation is in; none when it is let through, reported or blocked as before. */
function outcomeOf(before: SessionAction, after: SessionAction): Outcome | undefined {
	const plain = (action: SessionAction) =>
		action === 'deny' || action === 'violate' ? action : 'allow'
	if (plain(before) === plain(after)) return undefined
	const outcomes = {
		deny: 'newlyDenied',
		violate: 'newlyViolating',
		allow: 'newlyAllowed',
	} as const
	return outcomes[plain(after)]
}

function isSame(a: Verdict, b: Verdict): boolean {
	return a.action === b.action && a.rule === b.rule
}

function addTo(sums: readonly Sum[], { sessions, bytes }: WhatIfConversation): void {
	for (const sum of sums) {
		sum.conversations++
		sum.sessions = addBounded(sum.sessions, sessions)
		sum.bytes = addBounded(sum.bytes, bytes)
	}
}

function emptySum(): Sum {
	return { conversations: 0, sessions: 0, bytes: 0 }
}

function emptyList(): WhatIfList & Sum {
	return { ...emptySum(), items: [], isTruncated: false }
}

function emptyPair(from: string, to: string): Pair {
	return {
		from,
		to,
		all: emptySum(),
		changed: emptySum(),
		newlyDenied: emptySum(),
		newlyAllowed: emptySum(),
		newlyViolating: emptySum(),
		before: 'allow',
		after: 'allow',
	}
}
