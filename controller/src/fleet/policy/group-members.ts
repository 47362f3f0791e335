import type { Criterion, GroupMembers } from '@ringfence/shared/contract/rest'
import { asc, eq, isNull } from 'drizzle-orm'
import { addresses, nodes, workloads } from '../../db/schema.ts'
import type { Db } from '../../db/store.ts'
import { type CustomGroup, isMember, type Traits, toCustomGroup } from './membership.ts'

/** Members that a preview lists by name. */
const LISTED_MAX = 200

/** A running workload, and what criteria may ask about it. */
interface Candidate {
	readonly workload: GroupMembers['workloads'][number]
	readonly traits: Traits
}

/** Who would be in a group with these criteria. */
export async function previewMembers(
	db: Db,
	criteria: readonly Criterion[],
): Promise<GroupMembers> {
	const group = toCustomGroup('preview', criteria)
	const members = (await readCandidates(db)).filter(({ traits }) => isMember(group, traits))
	return {
		workloads: members.slice(0, LISTED_MAX).map(({ workload }) => workload),
		networks: criteria.filter(({ key }) => key === 'address').map(({ value }) => value),
		more: Math.max(members.length - LISTED_MAX, 0),
	}
}

/** How many running workloads are in each group: one pass over all workloads. */
export async function countMembers(
	db: Db,
	groups: readonly CustomGroup[],
): Promise<ReadonlyMap<string, number>> {
	if (groups.length === 0) return new Map()
	const candidates = await readCandidates(db)
	return new Map(
		groups.map((group) => [
			group.name,
			candidates.filter(({ traits }) => isMember(group, traits)).length,
		]),
	)
}

async function readCandidates(db: Db): Promise<Candidate[]> {
	const rows = await db
		.select({ workload: workloads, nodeName: nodes.name })
		.from(workloads)
		.innerJoin(nodes, eq(nodes.id, workloads.nodeId))
		.where(isNull(workloads.goneAt))
		.orderBy(asc(workloads.name), asc(workloads.id))
	const owned = await readAddresses(db)
	return rows.map(({ workload, nodeName }) => {
		const { id, name, nodeId, groupName, service, domain, image, labels } = workload
		const node = [nodeId, nodeName]
		return {
			workload: { id, name, nodeId, group: groupName },
			traits: { name, service, domain, image, labels, node, addresses: owned.get(id) ?? [] },
		}
	})
}

async function readAddresses(db: Db): Promise<ReadonlyMap<string, string[]>> {
	const rows = await db
		.select({ id: addresses.ownerId, address: addresses.address })
		.from(addresses)
		.where(eq(addresses.ownerKind, 'workload'))
	const byOwner = new Map<string, string[]>()
	for (const { id, address } of rows) {
		const its = byOwner.get(id)
		if (its) its.push(address)
		else byOwner.set(id, [address])
	}
	return byOwner
}
