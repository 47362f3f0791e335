import { type Criterion, criteriaSchema } from '@ringfence/shared/contract/rest'
import { parseAddress } from '@ringfence/shared/net/address'
import { type Cidr, contains, formatCidr, parseCidr } from '@ringfence/shared/net/cidr'
import { eq } from 'drizzle-orm'
import { groups } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'

/** What a workload is like, as far as criteria ask. */
export interface Traits {
	readonly name: string
	readonly service: string
	readonly domain: string
	readonly image: string | null
	readonly labels: Readonly<Record<string, string>>
	/** Id and name of its node: a criterion may say either. */
	readonly node: readonly string[]
	readonly addresses: readonly string[]
}

/** A custom group that is ready to be asked. */
export interface CustomGroup {
	readonly name: string
	readonly criteria: readonly Criterion[]
	/** Its networks, when it has no criteria but these: then addresses outside of the fleet are members too. */
	readonly networks: readonly Cidr[]
}

/** All custom groups, by name. A group whose criteria do not parse has no members. */
export async function readCustomGroups(db: Db | Tx): Promise<CustomGroup[]> {
	const rows = await db
		.select({ name: groups.name, criteria: groups.criteria })
		.from(groups)
		.where(eq(groups.kind, 'custom'))
		.orderBy(groups.name)
	return rows.flatMap((row) => {
		const criteria = criteriaSchema.safeParse(row.criteria)
		return criteria.success ? [toCustomGroup(row.name, criteria.data)] : []
	})
}

export function toCustomGroup(name: string, criteria: readonly Criterion[]): CustomGroup {
	const isByAddress = criteria.every(({ key, op }) => key === 'address' && op === '=')
	const networks = isByAddress ? criteria.flatMap(({ value }) => parseCidr(value) ?? []) : []
	return { name, criteria, networks }
}

/** Whether a workload is a member: some criterion of each key holds, and every `!=`. */
export function isMember({ criteria }: CustomGroup, traits: Traits): boolean {
	const keys = new Set(criteria.map(({ key }) => key))
	return [...keys].every((key) => {
		const ofKey = criteria.filter((criterion) => criterion.key === key)
		const wanted = ofKey.filter(({ op }) => op !== '!=')
		const unwanted = ofKey.filter(({ op }) => op === '!=')
		return (
			(wanted.length === 0 || wanted.some((criterion) => holds(criterion, traits))) &&
			unwanted.every((criterion) => holds(criterion, traits))
		)
	})
}

/** Names of the custom groups whose networks hold an address. */
export function groupsOfAddress(custom: readonly CustomGroup[], address: string): string[] {
	const words = parseAddress(address)
	if (!words) return []
	return custom
		.filter((group) => group.networks.some((network) => contains(network, words)))
		.map((group) => group.name)
}

/** Names of the custom groups by network, in canonical form. */
export function groupsByNetwork(custom: readonly CustomGroup[]): Map<string, string[]> {
	const byNetwork = new Map<string, string[]>()
	for (const { name, networks } of custom) {
		for (const text of new Set(networks.map(formatCidr))) {
			byNetwork.set(text, [...(byNetwork.get(text) ?? []), name])
		}
	}
	return byNetwork
}

function holds({ key, op, value }: Criterion, traits: Traits): boolean {
	if (key === 'address') return isInside(traits.addresses, value) === (op !== '!=')
	const values = key === 'node' ? traits.node : [traitOf(key, traits)]
	switch (op) {
		case '=':
			return values.includes(value)
		case '!=':
			return !values.includes(value)
		case 'contains':
			return values.some((text) => text.includes(value))
		case 'prefix':
			return values.some((text) => text.startsWith(value))
	}
}

function isInside(addresses: readonly string[], network: string): boolean {
	const cidr = parseCidr(network)
	return addresses.some((address) => {
		const words = parseAddress(address)
		return cidr !== undefined && words !== undefined && contains(cidr, words)
	})
}

/** What is not there reads as empty. */
function traitOf(key: string, traits: Traits): string {
	switch (key) {
		case 'name':
			return traits.name
		case 'service':
			return traits.service
		case 'domain':
			return traits.domain
		case 'image':
			return traits.image ?? ''
		default: {
			const label = key.slice('label:'.length)
			return Object.hasOwn(traits.labels, label) ? (traits.labels[label] ?? '') : ''
		}
	}
}
