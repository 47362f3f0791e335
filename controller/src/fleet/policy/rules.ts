import type {
	RuleCreate,
	RulePatch,
	RulePlace,
	RuleResource,
} from '@ringfence/shared/contract/rest'
import { and, asc, eq, gt, inArray, lt, max, min, ne, or, sql } from 'drizzle-orm'
import { groups, rules } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'
import { type Act, recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { LEARNED_POSITION_MIN } from '../intake/learn.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { type Expected, Refusal, requireRow } from '../refusal.ts'
import { raiseGeneration } from '../revisions.ts'

/** Distance between neighbours when there is room: rules can be put between them without touching others. */
const POSITION_GAP = 1000

/** Rules of users; a fleet with more wants groups instead. */
const USER_RULES_MAX = 20_000

type Rule = typeof rules.$inferSelect

export interface RuleQuery extends PageRequest {
	readonly group?: string | undefined
	readonly isLearned?: boolean | undefined
}

/** In the order in which they are tried. */
export async function listRules(db: Db, query: RuleQuery): Promise<Page<RuleResource>> {
	const [position] = readCursor(query.cursor, ['number']) ?? []
	const { group, isLearned } = query
	const rows = await db
		.select()
		.from(rules)
		.where(
			and(
				position === undefined ? undefined : gt(rules.position, Number(position)),
				group === undefined ? undefined : or(eq(rules.fromGroup, group), eq(rules.toGroup, group)),
				isLearned === undefined ? undefined : eq(rules.isLearned, isLearned),
			),
		)
		.orderBy(asc(rules.position))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => [row.position])
	return mapPage(page, toResource)
}

export async function getRule(db: Db, id: number): Promise<RuleResource> {
	const [row] = await db.select().from(rules).where(eq(rules.id, id))
	return toResource(requireRow(row, 'rule', '*'))
}

/** Makes a rule of a user; without a place it comes after all others of users. */
export async function createRule(
	fleet: Fleet,
	act: Act,
	{ before: beforeId, after: afterId, from, to, ...fields }: RuleCreate,
): Promise<RuleResource> {
	const made = await fleet.store.write(async (tx) => {
		await requireGroups(tx, { from, to })
		const [count] = await tx
			.select({ rules: sql<number>`count(*)` })
			.from(rules)
			.where(lt(rules.position, LEARNED_POSITION_MIN))
		if (count && count.rules >= USER_RULES_MAX) {
			throw new Refusal('conflict', `There are ${USER_RULES_MAX} rules already.`)
		}
		const position = await placeFor(tx, { before: beforeId, after: afterId })
		const [row] = await tx
			.insert(rules)
			.values({
				...fields,
				fromGroup: from,
				toGroup: to,
				position,
				isLearned: false,
				createdAt: act.now,
				updatedAt: act.now,
			})
			.returning()
		const after = toResource(requireRow(row, 'rule', '*'))
		await recordAudit(tx, act, { action: 'rule.create', target: `rule:${after.id}`, after })
		await raiseGeneration(tx, 'policy')
		return after
	})
	fleet.changes.documentsChanged()
	return made
}

type NewRow = typeof rules.$inferInsert
type RuleFields = { [Field in keyof NewRow]?: NewRow[Field] | undefined }

interface Target {
	readonly id: number
	readonly expected: Expected
}

/** Changes a rule. A learned one can be switched and commented; its content belongs to the learning. */
export async function patchRule(
	fleet: Fleet,
	act: Act,
	{ id, expected }: Target,
	{ from, to, ...fields }: RulePatch,
): Promise<RuleResource> {
	const { before, after } = await fleet.store.write(async (tx) => {
		const before = await loadRule(tx, id, expected)
		if (before.isLearned) refuseContent({ from, to, ...fields })
		await requireGroups(tx, { from, to })
		const after = await updateRule(tx, before, {
			...fields,
			...(from !== undefined && { fromGroup: from }),
			...(to !== undefined && { toGroup: to }),
			updatedAt: act.now,
		})
		await recordAudit(tx, act, { action: 'rule.update', target: `rule:${id}`, before, after })
		if (isOtherPolicy(before, after)) await raiseGeneration(tx, 'policy')
		return { before, after }
	})
	if (isOtherPolicy(before, after)) fleet.changes.documentsChanged()
	return toResource(after)
}

/** Gives a rule of a user another place among those of users. */
export async function moveRule(
	fleet: Fleet,
	act: Act,
	{ id, expected }: Target,
	place: RulePlace,
): Promise<RuleResource> {
	const moved = await fleet.store.write(async (tx) => {
		const before = await loadRule(tx, id, expected)
		if (before.isLearned) throw new Refusal('conflict', 'Learned rules keep their order.')
		const position = await placeFor(tx, place, id)
		const after = await updateRule(tx, before, { position, updatedAt: act.now })
		await recordAudit(tx, act, { action: 'rule.move', target: `rule:${id}`, before, after })
		await raiseGeneration(tx, 'policy')
		return toResource(after)
	})
	fleet.changes.documentsChanged()
	return moved
}

/** Removes a rule. A learned one comes back when discovery sees the same again. */
export async function deleteRule(fleet: Fleet, act: Act, { id, expected }: Target): Promise<void> {
	const before = await fleet.store.write(async (tx) => {
		const before = await loadRule(tx, id, expected)
		await tx.delete(rules).where(eq(rules.id, id))
		await recordAudit(tx, act, { action: 'rule.delete', target: `rule:${id}`, before })
		if (before.isEnabled) await raiseGeneration(tx, 'policy')
		return before
	})
	if (before.isEnabled) fleet.changes.documentsChanged()
}

async function loadRule(tx: Tx, id: number, expected: Expected): Promise<Rule> {
	const [row] = await tx.select().from(rules).where(eq(rules.id, id))
	return requireRow(row, 'rule', expected)
}

async function updateRule(tx: Tx, before: Rule, fields: RuleFields): Promise<Rule> {
	const [row] = await tx
		.update(rules)
		.set({ ...fields, revision: before.revision + 1 })
		.where(eq(rules.id, before.id))
		.returning()
	return requireRow(row, 'rule', '*')
}

function refuseContent(patch: RulePatch): void {
	const { isEnabled: _, comment: __, ...content } = patch
	const changed = Object.entries(content).find(([, value]) => value !== undefined)
	if (!changed) return
	throw new Refusal('invalid', 'belongs to a learned rule; make a rule of your own', {
		pointer: `/${changed[0]}`,
	})
}

async function requireGroups(
	tx: Tx,
	ends: { readonly from?: string | undefined; readonly to?: string | undefined },
): Promise<void> {
	const names = [ends.from, ends.to].filter((name) => name !== undefined)
	if (names.length === 0) return
	const known = await tx
		.select({ name: groups.name })
		.from(groups)
		.where(inArray(groups.name, names))
	for (const [field, name] of Object.entries(ends)) {
		if (name === undefined || known.some((group) => group.name === name)) continue
		throw new Refusal('invalid', 'there is no such group', { pointer: `/${field}` })
	}
}

/** What a node reads of a rule. */
function isOtherPolicy(a: Rule, b: Rule): boolean {
	const read = (rule: Rule) =>
		rule.isEnabled
			? [rule.fromGroup, rule.toGroup, rule.ports, rule.applications, rule.action, rule.position]
			: []
	return JSON.stringify(read(a)) !== JSON.stringify(read(b))
}

/** A free position at the place; makes room by numbering all rules of users anew when there is none. */
async function placeFor(tx: Tx, place: RulePlace, movedId = 0): Promise<number> {
	const free = await freePosition(tx, place, movedId)
	if (free !== undefined) return free
	await renumber(tx)
	const made = await freePosition(tx, place, movedId)
	if (made === undefined) throw new Refusal('conflict', 'There is no room for another rule.')
	return made
}

async function freePosition(
	tx: Tx,
	place: RulePlace,
	movedId: number,
): Promise<number | undefined> {
	const { low, high } = await neighbours(tx, place, movedId)
	const end = high ?? Math.min(low + 2 * POSITION_GAP, LEARNED_POSITION_MIN)
	const position = Math.floor((low + end) / 2)
	return position > low && position < end ? position : undefined
}

/** Positions between which the rule shall be; `high` is absent after the last one. */
async function neighbours(
	tx: Tx,
	place: RulePlace,
	movedId: number,
): Promise<{ low: number; high: number | undefined }> {
	const others = and(lt(rules.position, LEARNED_POSITION_MIN), ne(rules.id, movedId))
	if (place.before !== undefined) {
		const high = await anchor(tx, place.before, '/before')
		const [below] = await tx
			.select({ position: max(rules.position) })
			.from(rules)
			.where(and(others, lt(rules.position, high)))
		return { low: below?.position ?? 0, high }
	}
	if (place.after !== undefined) {
		const low = await anchor(tx, place.after, '/after')
		const [above] = await tx
			.select({ position: min(rules.position) })
			.from(rules)
			.where(and(others, gt(rules.position, low)))
		return { low, high: above?.position ?? undefined }
	}
	const [last] = await tx
		.select({ position: max(rules.position) })
		.from(rules)
		.where(others)
	return { low: last?.position ?? 0, high: undefined }
}

async function anchor(tx: Tx, id: number, pointer: string): Promise<number> {
	const [row] = await tx.select().from(rules).where(eq(rules.id, id))
	if (!row || row.isLearned) throw new Refusal('invalid', 'no rule of a user', { pointer })
	return row.position
}

/** By way of negative positions, because each row is checked against the others as it is written. */
async function renumber(tx: Tx): Promise<void> {
	await tx.run(sql`
		update ${rules} set position = -ranked.place
		from (
			select id, row_number() over (order by position) as place
			from ${rules} where position < ${LEARNED_POSITION_MIN}
		) as ranked
		where ranked.id = ${rules.id}`)
	await tx.run(sql`update ${rules} set position = -position * ${POSITION_GAP} where position < 0`)
}

function toResource(row: Rule): RuleResource {
	const { fromGroup, toGroup, ...rest } = row
	return { ...rest, from: fromGroup, to: toGroup }
}
