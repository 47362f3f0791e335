import type { NetworkInterface } from '@ringfence/shared/contract/workload'
import { type AddressWords, formatAddress, isV4, parseAddress } from '@ringfence/shared/net/address'
import { contains, formatCidr, networkOfInterface, parseCidr } from '@ringfence/shared/net/cidr'
import { and, eq, sql } from 'drizzle-orm'
import { jsonList } from '../../db/json-list.ts'
import { addresses } from '../../db/schema.ts'
import type { Db, Tx } from '../../db/store.ts'

export type OwnerKind = 'workload' | 'node'

/** An address with the network it is in, both in canonical form. */
export interface OwnedAddress {
	readonly address: string
	readonly network: string
}

/** Addresses that mean the same thing on no two machines, or nothing: they name nobody. */
const NOT_GLOBAL = [
	'0.0.0.0/8',
	'127.0.0.0/8',
	'169.254.0.0/16',
	'224.0.0.0/3',
	'::/128',
	'::1/128',
	'fe80::/10',
	'ff00::/8',
].flatMap((text) => parseCidr(text) ?? [])

/** Wider networks are taken for a mistake (or an attempt to claim the world): 8 bits of IPv4, 32 bits of IPv6. */
const NETWORK_BITS_MIN = { v4: 104, v6: 32 }

/** Addresses of one owner; what is beyond is not named. */
const ADDRESSES_MAX = 256

/** The text of an address in canonical form; undefined when it is none. */
export function canonicalAddress(text: string): string | undefined {
	const words = parseAddress(text)
	return words && formatAddress(words)
}

/** The global addresses of some interfaces, each once, sorted. */
export function globalAddresses(interfaces: readonly NetworkInterface[]): OwnedAddress[] {
	const found = new Map<string, OwnedAddress>()
	for (const text of interfaces.flatMap((one) => one.addresses)) {
		const owned = toOwned(text)
		if (owned) found.set(owned.address, owned)
	}
	return [...found.values()]
		.sort((a, b) => compareText(a.address, b.address))
		.slice(0, ADDRESSES_MAX)
}

function toOwned(text: string): OwnedAddress | undefined {
	const words = parseAddress(text.slice(0, text.indexOf('/')))
	const network = networkOfInterface(text)
	if (!words || !network || !isGlobal(words)) return undefined
	const bitsMin = isV4(words) ? NETWORK_BITS_MIN.v4 : NETWORK_BITS_MIN.v6
	return {
		address: formatAddress(words),
		network: formatCidr(network.bits < bitsMin ? { words, bits: 128 } : network),
	}
}

function isGlobal(words: AddressWords): boolean {
	return !NOT_GLOBAL.some((network) => contains(network, words))
}

/**
 * All networks of the fleet: those of its workloads. A node's own network is shared with machines that nobody reports, and
 * these are outside.
 */
export async function readFleetNetworks(db: Db | Tx): Promise<string[]> {
	const rows = await db
		.selectDistinct({ network: addresses.network })
		.from(addresses)
		.where(eq(addresses.ownerKind, 'workload'))
		.orderBy(addresses.network)
	return rows.map((row) => row.network)
}

/**
 * Makes `owned` the addresses of their owners, in place of what was known of these.
 * @returns what became different, for whoever must raise a generation
 */
export async function replaceAddresses(
	tx: Tx,
	kind: OwnerKind,
	owned: ReadonlyMap<string, readonly OwnedAddress[]>,
): Promise<{ readonly hasChanged: boolean; readonly hasNewNetworks: boolean }> {
	const before = await tx
		.select()
		.from(addresses)
		.where(
			and(eq(addresses.ownerKind, kind), sql`${addresses.ownerId} in ${jsonList(owned.keys())}`),
		)
	const after = [...owned].flatMap(([ownerId, list]) =>
		list.map(({ address, network }) => ({ address, ownerKind: kind, ownerId, network })),
	)
	const hasChanged = !isSameSet(before.map(keyOf), after.map(keyOf))
	if (!hasChanged) return { hasChanged, hasNewNetworks: false }
	const networksChange = !isSameSet(
		before.map((row) => row.network),
		after.map((row) => row.network),
	)
	const networks = networksChange ? await readFleetNetworks(tx) : []
	await tx
		.delete(addresses)
		.where(
			and(eq(addresses.ownerKind, kind), sql`${addresses.ownerId} in ${jsonList(owned.keys())}`),
		)
	for (let at = 0; at < after.length; at += 500)
		await tx.insert(addresses).values(after.slice(at, at + 500))
	const hasNewNetworks = networksChange && !isSameSet(networks, await readFleetNetworks(tx))
	return { hasChanged, hasNewNetworks }
}

function keyOf(row: { address: string; ownerId: string; network: string }): string {
	return `${row.ownerId} ${row.address} ${row.network}`
}

function isSameSet(a: readonly string[], b: readonly string[]): boolean {
	const [left, right] = [new Set(a), new Set(b)]
	return left.size === right.size && [...left].every((item) => right.has(item))
}

/** Order by UTF-16 units: the same everywhere, whatever the locale. */
export function compareText(a: string, b: string): number {
	return a < b ? -1 : Number(a > b)
}
