import type { ApplicationName } from '@ringfence/shared/contract/application'
import type { AddressEntry, PolicyEntry } from '@ringfence/shared/contract/policy'
import type { DocumentName } from '@ringfence/shared/contract/topics'
import { formatCidr, networkOfInterface } from '@ringfence/shared/net/cidr'
import { and, asc, eq, isNotNull, isNull } from 'drizzle-orm'
import { addresses, groups, nodes, rules, settings, workloads } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'
import { compareText, readFleetNetworks } from '../nodes/addresses.ts'
import {
	type CustomGroup,
	groupsByNetwork,
	isMember,
	readCustomGroups,
} from '../policy/membership.ts'
import { generationKey } from '../revisions.ts'
import { readSettings } from '../settings.ts'

type WorkloadRow = typeof workloads.$inferSelect

export type Entries = ReadonlyMap<string, PolicyEntry | AddressEntry>

/** A desired document's content, at a generation that it is at least as new as. */
export interface DocumentContent {
	readonly generation: number
	readonly entries: Entries
	/** What did not fit into the contract's bounds, in words; undefined when all did. */
	readonly truncated: string | undefined
}

/** Bounds of the contract. */
const FLEET_NETWORKS_MAX = 4096
const GROUPS_OF_ADDRESS_MAX = 256

export async function readGeneration(db: Db | Tx, document: DocumentName): Promise<number> {
	const [row] = await db
		.select({ value: settings.value })
		.from(settings)
		.where(eq(settings.key, generationKey(document)))
	return Number(row?.value ?? 0)
}

/**
 * Reads what every node must know. The generation is read first: a change that comes meanwhile raises it again, and
 * the document is made once more.
 */
export async function readDocument(db: Db, document: DocumentName): Promise<DocumentContent> {
	const generation = await readGeneration(db, document)
	const made = document === 'policy' ? await readPolicy(db) : await readAddresses(db)
	return { generation, ...made }
}

type Made = Omit<DocumentContent, 'generation'>

async function readPolicy(db: Db): Promise<Made> {
	const { newServiceMode } = await readSettings(db)
	const networks = await readFleetNetworks(db)
	const fleetNetworks = networks.slice(0, FLEET_NETWORKS_MAX)
	const entries = new Map<string, PolicyEntry>([
		['settings', { kind: 'settings', newServiceMode, fleetNetworks }],
	])
	const modes = await db
		.select({ name: groups.name, mode: groups.mode })
		.from(groups)
		.where(isNotNull(groups.mode))
	for (const { name, mode } of modes) {
		if (mode !== null) entries.set(`group:${name}`, { kind: 'group', name, mode })
	}
	const enabled = await db
		.select()
		.from(rules)
		.where(eq(rules.isEnabled, true))
		.orderBy(asc(rules.position))
	for (const rule of enabled) entries.set(`rule:${rule.id}`, toRuleEntry(rule))
	const excess = networks.length - fleetNetworks.length
	return {
		entries,
		truncated: excess > 0 ? `${excess} networks of the fleet are left out` : undefined,
	}
}

function toRuleEntry(rule: typeof rules.$inferSelect): PolicyEntry {
	return {
		kind: 'rule',
		id: String(rule.id),
		order: rule.position,
		from: rule.fromGroup,
		to: rule.toGroup,
		ports: rule.ports,
		// Checked when it was written; a name that this version does not know makes agents refuse the document.
		applications: rule.applications as (ApplicationName | 'any')[],
		action: rule.action,
	}
}

async function readAddresses(db: Db): Promise<Made> {
	const custom = await readCustomGroups(db)
	const entries = new Map<string, AddressEntry>()
	for (const [network, names] of groupsByNetwork(custom)) {
		const [id = ''] = names
		entries.set(network, { network, kind: 'custom', id, groups: bounded(names) })
	}
	const merge = (entry: AddressEntry) => {
		const there = entries.get(entry.network)
		if (there && there.kind !== 'custom') return
		const all = [...entry.groups, ...(there?.groups ?? [])]
		entries.set(entry.network, { ...entry, groups: bounded(all) })
	}
	// Workloads first: they win over nodes with the same address, the newest over older ones.
	for (const entry of await workloadEntries(db, custom)) merge(entry)
	for (const entry of await nodeEntries(db)) merge(entry)
	return { entries, truncated: undefined }
}

async function workloadEntries(db: Db, custom: readonly CustomGroup[]): Promise<AddressEntry[]> {
	const owned = await db
		.select({ address: addresses.address, workload: workloads, nodeName: nodes.name })
		.from(addresses)
		.innerJoin(workloads, eq(workloads.id, addresses.ownerId))
		.innerJoin(nodes, eq(nodes.id, workloads.nodeId))
		.where(and(eq(addresses.ownerKind, 'workload'), isNull(workloads.goneAt)))
		.orderBy(asc(addresses.address))
	const byWorkload = new Map<string, string[]>()
	for (const { address, workload } of owned) {
		byWorkload.set(workload.id, [...(byWorkload.get(workload.id) ?? []), address])
	}
	const groupsOf = new Map<string, string[]>()
	for (const { workload, nodeName } of owned) {
		if (groupsOf.has(workload.id)) continue
		const its = byWorkload.get(workload.id) ?? []
		groupsOf.set(workload.id, workloadGroups(workload, { nodeName, its, custom }))
	}
	return owned
		.sort((a, b) => byAge(a.workload, b.workload))
		.map(({ address, workload }) => ({
			network: networkOfOne(address),
			kind: 'workload' as const,
			id: workload.id,
			groups: groupsOf.get(workload.id) ?? [],
		}))
}

function byAge(a: WorkloadRow, b: WorkloadRow): number {
	return b.startedAt - a.startedAt || compareText(a.id, b.id)
}

function workloadGroups(
	workload: WorkloadRow,
	more: { nodeName: string; its: readonly string[]; custom: readonly CustomGroup[] },
): string[] {
	const traits = { ...workload, node: [workload.nodeId, more.nodeName], addresses: more.its }
	const names = more.custom.filter((group) => isMember(group, traits)).map((group) => group.name)
	return [workload.groupName, 'containers', ...names]
}

async function nodeEntries(db: Db): Promise<AddressEntry[]> {
	const rows = await db
		.select({ address: addresses.address, id: addresses.ownerId })
		.from(addresses)
		.where(eq(addresses.ownerKind, 'node'))
		.orderBy(asc(addresses.ownerId))
	return rows.map(({ address, id }) => ({
		network: networkOfOne(address),
		kind: 'node',
		id,
		groups: ['nodes'],
	}))
}

/** The network that is one address. */
function networkOfOne(address: string): string {
	const cidr = networkOfInterface(address)
	return cidr ? formatCidr(cidr) : address
}

/** Each once, in order: the learned group, which has the mode, comes first and stays. */
function bounded(names: readonly string[]): string[] {
	return [...new Set(names)].slice(0, GROUPS_OF_ADDRESS_MAX)
}
