import { APPLICATIONS } from '@ringfence/shared/contract/application'
import type { Mode } from '@ringfence/shared/contract/policy'
import { PEER_UNKNOWN } from '@ringfence/shared/contract/reasons'
import type { SessionAction } from '@ringfence/shared/contract/telemetry'
import type { Turns } from '../turns.ts'
import { type Conditions, coversSession, type SessionTraits } from './rule-match.ts'
import type { PolicyEnd } from './what-if-ends.ts'

/** A rule that is switched on; its place in the list is its order. */
export interface JudgedRule extends Conditions {
	/** Its number; `new:0` for one that the question adds. */
	readonly id: string
	readonly from: string
	readonly to: string
	readonly action: 'allow' | 'deny'
}

/** What a policy says at one port, in the words of the agent's `Decision`. */
export interface Verdict {
	readonly action: SessionAction
	/** Null: the mode's default decides. */
	readonly rule: string | null
	readonly why: string
}

/** A session between two ends. */
export interface JudgedSession {
	readonly client: PolicyEnd
	readonly server: PolicyEnd
	readonly protocol: number
	readonly port: number
	/** Empty: it has no name. `pending`: recognition goes on. */
	readonly application: string
}

/** Answers kept for sessions that are alike; when there are more, all are forgotten and made again on demand. */
const MEMO_MAX = 100_000

type Placed = JudgedRule & { readonly order: number }

/** An ordered list of rules that is asked for the first that matches. */
export class RuleList {
	readonly #turns: Turns
	readonly #byPair = new Map<string, Map<string, Placed[]>>()
	readonly #between = new Map<string, readonly Placed[]>()
	readonly #first = new Map<string, JudgedRule | null>()

	constructor(rules: readonly JudgedRule[], turns: Turns) {
		this.#turns = turns
		for (const [order, rule] of rules.entries()) {
			const row = this.#byPair.get(rule.from) ?? new Map<string, Placed[]>()
			this.#byPair.set(rule.from, row)
			const cell = row.get(rule.to) ?? []
			row.set(rule.to, cell)
			cell.push({ ...rule, order })
		}
	}

	async first(session: JudgedSession): Promise<JudgedRule | null> {
		const { client, server, protocol, port } = session
		const isNamable = protocol === 6 || protocol === 17
		// Only TCP and UDP have applications to recognise.
		const application = isNamable ? session.application : ''
		const key = `${client.identity} ${server.identity} ${protocol} ${port} ${application}`
		const known = this.#first.get(key)
		if (known !== undefined) return known
		if (this.#first.size >= MEMO_MAX) this.#first.clear()
		const rules = await this.#rulesBetween(client, server)
		const found = await this.#scan(rules, { protocol, port, application })
		this.#first.set(key, found)
		return found
	}

	async #scan(rules: readonly Placed[], traits: SessionTraits): Promise<JudgedRule | null> {
		if (this.#turns.add(1)) await this.#turns.pause()
		for (const rule of rules) {
			if (coversSession(rule, traits)) return rule
			if (this.#turns.add(rule.ports.length)) await this.#turns.pause()
			if (this.#turns.isOver) return null
		}
		return null
	}

	async #rulesBetween(client: PolicyEnd, server: PolicyEnd): Promise<readonly Placed[]> {
		const key = `${client.identity} ${server.identity}`
		const known = this.#between.get(key)
		if (known) return known
		if (this.#between.size >= MEMO_MAX) this.#between.clear()
		const rows = client.groups.flatMap((group) => this.#byPair.get(group) ?? [])
		const rules = rows.flatMap((row) => server.groups.flatMap((group) => row.get(group) ?? []))
		rules.sort((a, b) => a.order - b.order)
		this.#between.set(key, rules)
		const work = client.groups.length + rows.length * server.groups.length + rules.length
		if (this.#turns.add(work)) await this.#turns.pause()
		return rules
	}
}

/** A policy as the agents would follow it. */
export interface JudgedPolicy {
	readonly rules: RuleList
	/** Of the groups that have one. */
	readonly modes: ReadonlyMap<string, Mode>
	readonly newServiceMode: Mode
}

/** The verdict at the port of one end; null where no agent decides, or the end's group is gone. */
export async function judge(
	policy: JudgedPolicy,
	session: JudgedSession,
	side: 'client' | 'server',
): Promise<Verdict | null> {
	const [own, peer] =
		side === 'client' ? [session.client, session.server] : [session.server, session.client]
	const mode = modeOf(own, policy)
	if (mode === undefined) return null
	const decide = async (application: string) =>
		verdictOf(await policy.rules.first({ ...session, application }), mode, peer.isKnown)
	if (session.application !== 'pending') return decide(session.application)
	const unnamed = await decide('')
	for (const name of APPLICATIONS) {
		if ((await decide(name)).action === unnamed.action) continue
		return { action: 'pending', rule: null, why: 'application not yet known' }
	}
	return unnamed
}

const STRICTEST_FIRST: readonly Mode[] = ['protect', 'monitor', 'discover']

function modeOf(end: PolicyEnd, { modes, newServiceMode }: JudgedPolicy): Mode | undefined {
	const its = end.modeGroups?.flatMap((group) => modes.get(group) ?? [])
	if (!its) return undefined
	const strictest = STRICTEST_FIRST.find((mode) => its.includes(mode))
	return strictest ?? (end.isGone ? undefined : newServiceMode)
}

function verdictOf(rule: JudgedRule | null, mode: Mode, isPeerKnown: boolean): Verdict {
	const inMode = (discover: SessionAction, monitor: SessionAction): SessionAction => {
		if (mode === 'protect') return 'deny'
		return mode === 'monitor' ? monitor : discover
	}
	if (rule?.action === 'allow') return { action: 'allow', rule: rule.id, why: `rule ${rule.id}` }
	if (rule) {
		const why = `deny rule ${rule.id} (${mode})`
		return { action: inMode('open', 'violate'), rule: rule.id, why }
	}
	if (!isPeerKnown) return { action: inMode('learn', 'open'), rule: null, why: PEER_UNKNOWN }
	return { action: inMode('learn', 'violate'), rule: null, why: `no rule (${mode})` }
}
