import type { Mode } from '@ringfence/shared/contract/policy'
import type { RulePlace, WhatIfQuestion } from '@ringfence/shared/contract/rest'
import { asc, gt } from 'drizzle-orm'
import { groups, rules } from '../../db/schema.ts'
import type { Db } from '../../db/store.ts'
import { Refusal } from '../refusal.ts'
import type { JudgedRule } from './what-if-judge.ts'

/** A rule with what decides whether it counts and may be changed. */
export interface KnownRule extends JudgedRule {
	readonly isEnabled: boolean
	readonly isLearned: boolean
}

/** Rules and modes in force. */
export interface KnownPolicy {
	/** In order, those switched off included. */
	readonly rules: readonly KnownRule[]
	/** Mode of every group; null for those that have none. */
	readonly modes: ReadonlyMap<string, Mode | null>
}

/** Rows read at once: the driver holds the event loop for about a microsecond a cell. */
const PAGE_ROWS = 500

export async function readKnownPolicy(db: Db): Promise<KnownPolicy> {
	const modes = await db.select({ name: groups.name, mode: groups.mode }).from(groups)
	const known: KnownRule[] = []
	const { id, fromGroup: from, toGroup: to, position, ports, applications, action } = rules
	const { isEnabled, isLearned } = rules
	let last = Number.MIN_SAFE_INTEGER
	for (;;) {
		const page = await db
			.select({ id, from, to, position, ports, applications, action, isEnabled, isLearned })
			.from(rules)
			.where(gt(position, last))
			.orderBy(asc(position))
			.limit(PAGE_ROWS)
		for (const row of page) known.push({ ...row, id: String(row.id) })
		last = page.at(-1)?.position ?? last
		if (page.length < PAGE_ROWS) break
		await new Promise((resolve) => setTimeout(resolve, 0))
	}
	return { rules: known, modes: new Map(modes.map(({ name, mode }) => [name, mode])) }
}

/**
 * The policy after the change: rules are patched, then added one after the other, then removed, so that an added one may take
 * the place of one that goes.
 * @throws Refusal for what the change itself would be refused for
 */
export function changePolicy(known: KnownPolicy, question: WhatIfQuestion): KnownPolicy {
	const modes = changeModes(known.modes, question.modes ?? {})
	const { add = [], remove = [], patch = [] } = question.rules ?? {}
	const list = [...known.rules]
	for (const [index, { id, ...fields }] of patch.entries()) {
		const at = indexOfRule(list, id, `/rules/patch/${index}/id`)
		const before = list[at]
		if (before) list[at] = patched(known, before, { fields, pointer: `/rules/patch/${index}` })
	}
	for (const [index, { before, after, comment: _, ...rule }] of add.entries()) {
		const pointer = `/rules/add/${index}`
		requireGroups(known, rule, pointer)
		const made = { ...rule, id: `new:${index}`, isLearned: false }
		list.splice(placeOf(list, { before, after }, pointer), 0, made)
	}
	for (const [index, id] of remove.entries()) {
		list.splice(indexOfRule(list, id, `/rules/remove/${index}`), 1)
	}
	return { rules: list, modes }
}

function changeModes(
	known: KnownPolicy['modes'],
	asked: Readonly<Record<string, Mode>>,
): KnownPolicy['modes'] {
	const modes = new Map(known)
	for (const [name, mode] of Object.entries(asked)) {
		const pointer = `/modes/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`
		const before = known.get(name)
		if (before === undefined) throw new Refusal('invalid', 'there is no such group', { pointer })
		if (before === null) {
			throw new Refusal('invalid', 'a workload obeys its learned group; this one has no mode', {
				pointer,
			})
		}
		modes.set(name, mode)
	}
	return modes
}

type Patch = NonNullable<NonNullable<WhatIfQuestion['rules']>['patch']>[number]

function patched(
	known: KnownPolicy,
	rule: KnownRule,
	{ fields, pointer }: { readonly fields: Omit<Patch, 'id'>; readonly pointer: string },
): KnownRule {
	const { isEnabled = rule.isEnabled, comment: _, ...content } = fields
	const given = Object.entries(content).filter(([, value]) => value !== undefined)
	const [changed] = given
	if (rule.isLearned && changed) {
		throw new Refusal('invalid', 'belongs to a learned rule; make a rule of your own', {
			pointer: `${pointer}/${changed[0]}`,
		})
	}
	requireGroups(known, fields, pointer)
	return { ...rule, isEnabled, ...Object.fromEntries(given) }
}

function requireGroups(
	{ modes }: KnownPolicy,
	{ from, to }: { readonly from?: string | undefined; readonly to?: string | undefined },
	pointer: string,
): void {
	for (const [field, name] of Object.entries({ from, to })) {
		if (name === undefined || modes.has(name)) continue
		throw new Refusal('invalid', 'there is no such group', { pointer: `${pointer}/${field}` })
	}
}

/** Where a new rule comes to stand among those of users; without a place after the last of them. */
function placeOf(list: readonly KnownRule[], place: RulePlace, pointer: string): number {
	const anchor = (id: number, field: string) => {
		const index = list.findIndex((rule) => rule.id === String(id) && !rule.isLearned)
		if (index >= 0) return index
		throw new Refusal('invalid', 'no rule of a user', { pointer: `${pointer}/${field}` })
	}
	if (place.before !== undefined) return anchor(place.before, 'before')
	if (place.after !== undefined) return anchor(place.after, 'after') + 1
	return list.findLastIndex((rule) => !rule.isLearned) + 1
}

function indexOfRule(list: readonly KnownRule[], id: number, pointer: string): number {
	const index = list.findIndex((rule) => rule.id === String(id))
	if (index < 0) throw new Refusal('invalid', 'there is no such rule', { pointer })
	return index
}
