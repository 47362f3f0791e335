import {
	criteriaSchema,
	type GroupCreate,
	type GroupPatch,
	type GroupResource,
} from '@ringfence/shared/contract/rest'
import { and, asc, count, eq, gt, isNull, or } from 'drizzle-orm'
import { groups, nodes, rules, workloads } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'
import { type Act, recordAudit } from '../audits.ts'
import type { Fleet } from '../fleet.ts'
import { mapPage, type Page, type PageRequest, readCursor, rowsWanted, toPage } from '../paging.ts'
import { type Expected, Refusal, requireRow } from '../refusal.ts'
import { raiseGeneration } from '../revisions.ts'
import { countMembers } from './group-members.ts'
import { toCustomGroup } from './membership.ts'

/** Custom groups: each is asked about every workload. */
const CUSTOM_GROUPS_MAX = 1000

type Group = typeof groups.$inferSelect

export interface GroupQuery extends PageRequest {
	readonly kind?: Group['kind'] | undefined
}

/** By name. */
export async function listGroups(db: Db, query: GroupQuery): Promise<Page<GroupResource>> {
	const [name] = readCursor(query.cursor, ['string']) ?? []
	const rows = await db
		.select()
		.from(groups)
		.where(
			and(
				name === undefined ? undefined : gt(groups.name, String(name)),
				query.kind === undefined ? undefined : eq(groups.kind, query.kind),
			),
		)
		.orderBy(asc(groups.name))
		.limit(rowsWanted(query))
	const page = toPage(rows, query, (row) => [row.name])
	const members = await readMemberCounts(db, page.items)
	return mapPage(page, (row) => toResource(row, members(row)))
}

export async function getGroup(db: Db, name: string): Promise<GroupResource> {
	const [row] = await db.select().from(groups).where(eq(groups.name, name))
	const group = requireRow(row, 'group', '*')
	const members = await readMemberCounts(db, [group])
	return toResource(group, members(group))
}

/** Makes a custom group. */
export async function createGroup(
	fleet: Fleet,
	act: Act,
	{ name, criteria, comment }: GroupCreate,
): Promise<GroupResource> {
	await fleet.store.write(async (tx) => {
		const [namesake] = await tx.select().from(groups).where(eq(groups.name, name))
		if (namesake) throw new Refusal('conflict', `There is a group ${name} already.`)
		const [present] = await tx
			.select({ groups: count() })
			.from(groups)
			.where(eq(groups.kind, 'custom'))
		if (present && present.groups >= CUSTOM_GROUPS_MAX) {
			throw new Refusal('conflict', `There are ${CUSTOM_GROUPS_MAX} custom groups already.`)
		}
		const after = { name, kind: 'custom' as const, criteria, comment, createdAt: act.now }
		await tx.insert(groups).values(after)
		await recordAudit(tx, act, { action: 'group.create', target: `group:${name}`, after })
		await raiseGeneration(tx, 'addresses')
	})
	fleet.changes.documentsChanged()
	return getGroup(fleet.store.db, name)
}

interface Target {
	readonly name: string
	readonly expected: Expected
}

/** Changes the mode of a group that has one, or the criteria of a custom group. */
export async function patchGroup(
	fleet: Fleet,
	act: Act,
	{ name, expected }: Target,
	patch: GroupPatch,
): Promise<GroupResource> {
	const isOther = await fleet.store.write(async (tx) => {
		const before = await loadGroup(tx, name, expected)
		refuseForeign(before, patch)
		const [row] = await tx
			.update(groups)
			.set({ ...patch, revision: before.revision + 1 })
			.where(eq(groups.name, name))
			.returning()
		const after = requireRow(row, 'group', '*')
		await recordAudit(tx, act, { action: 'group.update', target: `group:${name}`, before, after })
		const isOtherMode = before.mode !== after.mode
		const isOtherMembership = JSON.stringify(before.criteria) !== JSON.stringify(after.criteria)
		if (isOtherMode) await raiseGeneration(tx, 'policy')
		if (isOtherMembership) await raiseGeneration(tx, 'addresses')
		return isOtherMode || isOtherMembership
	})
	if (isOther) fleet.changes.documentsChanged()
	return getGroup(fleet.store.db, name)
}

/** Removes a custom group that no rule names. */
export async function deleteGroup(
	fleet: Fleet,
	act: Act,
	{ name, expected }: Target,
): Promise<void> {
	await fleet.store.write(async (tx) => {
		const before = await loadGroup(tx, name, expected)
		if (before.kind !== 'custom') {
			throw new Refusal('conflict', 'Only custom groups are removed; learned ones age out.')
		}
		await refuseInUse(tx, name)
		await tx.delete(groups).where(eq(groups.name, name))
		await recordAudit(tx, act, { action: 'group.delete', target: `group:${name}`, before })
		await raiseGeneration(tx, 'addresses')
	})
	fleet.changes.documentsChanged()
}

async function loadGroup(tx: Tx, name: string, expected: Expected): Promise<Group> {
	const [row] = await tx.select().from(groups).where(eq(groups.name, name))
	return requireRow(row, 'group', expected)
}

function refuseForeign(group: Group, patch: GroupPatch): void {
	if (patch.mode !== undefined && group.mode === null) {
		throw new Refusal('invalid', 'a workload obeys its learned group; this one has no mode', {
			pointer: '/mode',
		})
	}
	if (patch.criteria !== undefined && group.kind !== 'custom') {
		throw new Refusal('invalid', 'only custom groups have criteria', { pointer: '/criteria' })
	}
}

async function refuseInUse(tx: Tx, name: string): Promise<void> {
	const using = await tx
		.select({ id: rules.id })
		.from(rules)
		.where(or(eq(rules.fromGroup, name), eq(rules.toGroup, name)))
		.limit(10)
	if (using.length === 0) return
	const ids = using.map(({ id }) => id).join(', ')
	throw new Refusal('conflict', `The group is in use by rules: ${ids}.`)
}

/** Counts once for a page of groups; `external` has no countable members. */
async function readMemberCounts(
	db: Db,
	rows: readonly Group[],
): Promise<(group: Group) => number | null> {
	const running = await db
		.select({ group: workloads.groupName, members: count() })
		.from(workloads)
		.where(isNull(workloads.goneAt))
		.groupBy(workloads.groupName)
	const [all] = await db.select({ nodes: count() }).from(nodes)
	const custom = rows.flatMap((row) => {
		const criteria = criteriaOf(row)
		return criteria ? [toCustomGroup(row.name, criteria)] : []
	})
	const ofCustom = await countMembers(db, custom)
	const learned = new Map(running.map((row) => [row.group, row.members]))
	const containers = running.reduce((sum, row) => sum + row.members, 0)
	const ofReserved = new Map([
		['nodes', all?.nodes ?? 0],
		['containers', containers],
	])
	return ({ kind, name }) => {
		if (kind === 'reserved') return ofReserved.get(name) ?? null
		return (kind === 'custom' ? ofCustom : learned).get(name) ?? 0
	}
}

function criteriaOf(row: Group): GroupResource['criteria'] {
	return criteriaSchema.nullable().safeParse(row.criteria).data ?? null
}

function toResource(row: Group, members: number | null): GroupResource {
	return { ...row, criteria: criteriaOf(row), members }
}
