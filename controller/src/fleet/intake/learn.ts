import type { Mode } from '@ringfence/shared/contract/policy'
import { asc, eq, max, or, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { groups, rules } from '../../db/schema.ts'
import type { Tx } from '../../db/store.ts'
import { compareText } from '../nodes/addresses.ts'
import {
	type CustomGroup,
	groupsOfAddress,
	isMember,
	readCustomGroups,
} from '../policy/membership.ts'
import { coversSession, portName, type SessionTraits } from '../policy/rule-match.ts'
import { raiseGeneration } from '../revisions.ts'
import type { Work } from '../work.ts'
import type { Directory, End } from './directory.ts'

/** A session that was let through to be learned, or by a rule that may have to learn from it. */
export interface Lesson extends SessionTraits {
	readonly client: End
	readonly server: End
	/** The rule that allowed it. */
	readonly allowedBy?: string | undefined
}

/** Learned rules come after all rules of users. */
export const LEARNED_POSITION_MIN = 1_000_000_000
const POSITION_GAP = 1000

/** Ports that one rule can hold in the contract. */
const PORTS_MAX = 64

type Rule = typeof rules.$inferSelect

/**
 * Adds to the learned rules what these sessions need: between two groups one rule accumulates applications, and one
 * the ports whose application stayed unknown. A port gives way to the application that is found on it, be it by the report
 * of the other end, or by a later session. Nothing is learned where a rule already decides, or where a group left discover.
 * @returns lessons that no rule could take any more
 */
export async function learn(
	work: Work,
	directory: Directory,
	lessons: readonly Lesson[],
): Promise<readonly Lesson[]> {
	const open = await inDiscover(work.tx, await withoutSettled(work.tx, lessons))
	if (open.length === 0) return []
	const custom = await readCustomGroups(work.tx)
	const asked = open.map((lesson) => ({
		lesson,
		from: groupsOf(lesson.client, directory, custom),
		to: groupsOf(lesson.server, directory, custom),
	}))
	const book = new RuleBook(await readRules(work.tx, asked))
	const refused = asked.filter((one) => !book.take(one)).map(({ lesson }) => lesson)
	await book.write(work)
	return refused
}

/** Of what a rule allowed only that teaches something which a learned port allowed. */
async function withoutSettled(tx: Tx, lessons: readonly Lesson[]): Promise<Lesson[]> {
	const asked = new Set(lessons.flatMap(({ allowedBy }) => allowedBy ?? []))
	const rows =
		asked.size === 0
			? []
			: await tx
					.select({ id: rules.id })
					.from(rules)
					.where(
						sql`${rules.id} in ${jsonList([...asked].map(Number).filter(Number.isSafeInteger))}
							and ${rules.isLearned} = 1 and ${rules.applications} = '["any"]'`,
					)
	const ports = new Set(rows.map(({ id }) => String(id)))
	return lessons.filter(({ allowedBy }) => allowedBy === undefined || ports.has(allowedBy))
}

/** Both ends must be in discover as far as they have a mode: what was learned before a change of mode is settled. */
async function inDiscover(tx: Tx, lessons: readonly Lesson[]): Promise<Lesson[]> {
	const names = new Set(lessons.flatMap(({ client, server }) => [client.group, server.group]))
	const rows = await tx
		.select({ name: groups.name, mode: groups.mode })
		.from(groups)
		.where(sql`${groups.name} in ${jsonList(names)}`)
	const modes = new Map<string, Mode | null>(rows.map((row) => [row.name, row.mode]))
	const isOpen = (end: End) => end.kind === 'external' || modes.get(end.group) === 'discover'
	return lessons.filter(({ client, server }) => isOpen(client) && isOpen(server))
}

/** All groups that rules can know an end by. */
function groupsOf(end: End, directory: Directory, custom: readonly CustomGroup[]): string[] {
	const { workload, address } = end
	if (workload) {
		const addresses = directory.addressesOf(workload.id)
		const node = [workload.nodeId, end.node?.name ?? workload.nodeId]
		const traits = { ...workload, node, addresses }
		const its = custom.filter((group) => isMember(group, traits)).map((group) => group.name)
		return [end.group, 'containers', ...its]
	}
	const byAddress = address === undefined ? [] : groupsOfAddress(custom, address)
	// An address that some entry covers is not external any more.
	return end.kind === 'external' && byAddress.length > 0 ? byAddress : [end.group, ...byAddress]
}

interface Asked {
	readonly lesson: Lesson
	readonly from: readonly string[]
	readonly to: readonly string[]
}

/** Rules that may decide, in order. A learned rule that somebody switched off still answers: it is not learned again. */
async function readRules(tx: Tx, asked: readonly Asked[]): Promise<Rule[]> {
	const from = new Set(asked.flatMap((one) => one.from))
	const to = new Set(asked.flatMap((one) => one.to))
	return tx
		.select()
		.from(rules)
		.where(
			sql`${rules.fromGroup} in ${jsonList(from)} and ${rules.toGroup} in ${jsonList(to)}
				and ${or(eq(rules.isEnabled, true), eq(rules.isLearned, true))}`,
		)
		.orderBy(asc(rules.position))
}

interface LearnedRule {
	readonly id: number | undefined
	readonly from: string
	readonly to: string
	readonly isEnabled: boolean
	ports: string[]
	applications: string[]
	isChanged: boolean
}

/** The rules of one batch of lessons, growing while it is taken. */
class RuleBook {
	readonly #rules: readonly Rule[]
	readonly #learned: LearnedRule[]

	constructor(found: readonly Rule[]) {
		this.#rules = found.filter((rule) => !rule.isLearned)
		this.#learned = found
			.filter((rule) => rule.isLearned)
			.map(({ id, fromGroup, toGroup, isEnabled, ports, applications }) => ({
				...{ id, from: fromGroup, to: toGroup, isEnabled, ports, applications },
				isChanged: false,
			}))
	}

	/** @returns false when the rule that should take it is full */
	take({ lesson, from, to }: Asked): boolean {
		const isDecided = this.#rules.some(
			(rule) =>
				from.includes(rule.fromGroup) && to.includes(rule.toGroup) && coversSession(rule, lesson),
		)
		const pair = { from: lesson.client.group, to: lesson.server.group }
		const known = this.#learned.filter((rule) => rule.from === pair.from && rule.to === pair.to)
		if (isDecided) return true
		const covering = known.filter((rule) => coversSession(rule, lesson))
		if (lesson.application === '') return covering.length > 0 || this.#takePort(lesson, pair, known)
		if (covering.some((rule) => !isReplaceable(rule))) return true
		for (const rule of covering) dropPort(rule, lesson)
		// A report that comes late may tell of a port that is gone by now: its application is learned already, or again.
		return this.#takeApplication(lesson.application, pair, known)
	}

	async write({ tx, now, after }: Work): Promise<void> {
		const changed = this.#learned.filter((rule) => rule.isChanged)
		if (changed.length === 0) return
		for (const rule of changed) {
			if (rule.id === undefined) {
				if (rule.ports.length > 0) await insertRule(tx, rule, now)
			} else if (rule.ports.length > 0) await updateRule(tx, rule.id, rule, now)
			else await tx.delete(rules).where(eq(rules.id, rule.id))
		}
		await raiseGeneration(tx, 'policy')
		after.documentsChanged = true
	}

	#takeApplication(application: string, pair: Pair, known: readonly LearnedRule[]): boolean {
		const rule = known.find((one) => !one.applications.includes('any') && one.ports.includes('any'))
		if (!rule) return this.#add({ ...pair, ports: ['any'], applications: [application] })
		rule.applications = [...rule.applications, application].sort(compareText)
		rule.isChanged = true
		return true
	}

	#takePort(lesson: Lesson, pair: Pair, known: readonly LearnedRule[]): boolean {
		const port = portName(lesson)
		if (port === undefined) return false
		const rule = known.find((one) => one.applications.includes('any'))
		if (!rule) return this.#add({ ...pair, ports: [port], applications: ['any'] })
		if (rule.ports.length >= PORTS_MAX) return false
		rule.ports = [...rule.ports, port].sort(comparePorts)
		rule.isChanged = true
		return true
	}

	#add(rule: Omit<LearnedRule, 'id' | 'isEnabled' | 'isChanged'>): true {
		this.#learned.push({ ...rule, id: undefined, isEnabled: true, isChanged: true })
		return true
	}
}

interface Pair {
	readonly from: string
	readonly to: string
}

/** A rule of learned ports. One that somebody switched off, or a rule of applications, settles what it covers. */
function isReplaceable({ isEnabled, applications }: LearnedRule): boolean {
	return isEnabled && applications.includes('any')
}

function dropPort(rule: LearnedRule, lesson: Lesson): void {
	const port = portName(lesson)
	rule.ports = rule.ports.filter((range) => range !== port)
	rule.isChanged = true
}

async function insertRule(tx: Tx, rule: LearnedRule, now: number): Promise<void> {
	const [last] = await tx.select({ position: max(rules.position) }).from(rules)
	await tx.insert(rules).values({
		position: Math.max((last?.position ?? 0) + POSITION_GAP, LEARNED_POSITION_MIN),
		fromGroup: rule.from,
		toGroup: rule.to,
		ports: rule.ports,
		applications: rule.applications,
		action: 'allow',
		isLearned: true,
		createdAt: now,
		updatedAt: now,
	})
}

async function updateRule(tx: Tx, id: number, rule: LearnedRule, now: number): Promise<void> {
	const { ports, applications } = rule
	await tx
		.update(rules)
		.set({ ports, applications, updatedAt: now, revision: sql`${rules.revision} + 1` })
		.where(eq(rules.id, id))
}

/** `icmp` first, then by protocol and number. */
function comparePorts(a: string, b: string): number {
	const [nameA, nameB] = [a.split('/')[0] ?? '', b.split('/')[0] ?? '']
	return (
		compareText(nameA, nameB) || Number.parseInt(a.slice(4), 10) - Number.parseInt(b.slice(4), 10)
	)
}
