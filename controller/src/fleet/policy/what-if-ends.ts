import type { AddressEntry } from '@ringfence/shared/contract/policy'
import { type AddressWords, isV4, parseAddress } from '@ringfence/shared/net/address'
import { type Cidr, networkOf, parseCidr } from '@ringfence/shared/net/cidr'

/** One end of a conversation, as policy sees it. Ends that are alike share an identity. */
export interface PolicyEnd {
	/** Dense, from 0: same groups, same knowledge. */
	readonly identity: number
	readonly groups: readonly string[]
	/** The address map names it, or it is outside the fleet. */
	readonly isKnown: boolean
	/** The groups that its mode comes from; undefined where no agent decides. */
	readonly modeGroups: readonly string[] | undefined
	/** The address map does not know it any more: it is taken for a member of the learned group it had. */
	readonly isGone: boolean
}

/** Who is behind the endpoints of conversations, by the address map and networks that the agents are given. */
export class EndIndex {
	readonly #byNetwork = new Map<string, string[]>()
	readonly #lengths: number[] = []
	readonly #fleet = new Set<string>()
	readonly #fleetLengths: readonly number[]
	readonly #owned = new Map<string, { readonly cidrs: Cidr[]; readonly groups: Set<string> }>()
	readonly #identities = new Map<string, number>()
	readonly #ends = new Map<string, PolicyEnd>()

	constructor(fleetNetworks: readonly string[]) {
		const fleet = fleetNetworks.flatMap((network) => parseCidr(network) ?? [])
		for (const { words, bits } of fleet) this.#fleet.add(keyOf(words, bits))
		this.#fleetLengths = [...new Set(fleet.map(({ bits }) => bits))].sort((a, b) => b - a)
	}

	/** Takes an entry of the address map; all must be there before the first end is asked for. */
	add({ network, kind, id, groups }: AddressEntry): void {
		const cidr = parseCidr(network)
		if (!cidr) return
		if (!this.#lengths.includes(cidr.bits)) {
			this.#lengths.push(cidr.bits)
			this.#lengths.sort((a, b) => b - a)
		}
		const key = keyOf(cidr.words, cidr.bits)
		this.#byNetwork.set(key, [...(this.#byNetwork.get(key) ?? []), ...groups])
		if (kind !== 'custom') this.#own(`${kind}:${id}`, cidr, groups)
	}

	/** @param group what the conversation says of an end that is gone */
	at(endpoint: string, group: string): PolicyEnd {
		const key = `${endpoint} ${group}`
		const known = this.#ends.get(key)
		if (known) return known
		const end = this.#resolve(endpoint, group)
		this.#ends.set(key, end)
		return end
	}

	#own(owner: string, cidr: Cidr, groups: readonly string[]): void {
		const its = this.#owned.get(owner) ?? { cidrs: [], groups: new Set() }
		this.#owned.set(owner, its)
		its.cidrs.push(cidr)
		for (const group of groups) its.groups.add(group)
	}

	#resolve(endpoint: string, group: string): PolicyEnd {
		const colon = endpoint.indexOf(':')
		const kind = endpoint.slice(0, colon)
		if (kind === 'external') return this.#external(parseAddress(endpoint.slice(colon + 1)))
		const its = this.#owned.get(endpoint)
		if (!its) {
			const groups = kind === 'workload' ? [group, 'containers'] : [group]
			return { ...this.#intern(groups, true), modeGroups: [group], isGone: true }
		}
		const groups = its.cidrs.flatMap(({ words, bits }) => this.#groupsAt(words, bits))
		return { ...this.#intern(groups, true), modeGroups: [...its.groups], isGone: false }
	}

	/** The most specific network decides whether the address is known, those around it give their groups too. */
	#external(words: AddressWords | undefined): PolicyEnd {
		const none = { modeGroups: undefined, isGone: false }
		if (!words) return { ...this.#intern(['external'], true), ...none }
		const bits = longest(words, this.#byNetwork, this.#lengths)
		const fleetBits = longest(words, this.#fleet, this.#fleetLengths)
		const isKnown = fleetBits <= bits
		if (bits < 0 && isKnown) return { ...this.#intern(['external'], true), ...none }
		return { ...this.#intern(this.#groupsAt(words, bits), isKnown), ...none }
	}

	/** Groups of all entries around an address or network that are no narrower. */
	#groupsAt(words: AddressWords, bitsMax: number): string[] {
		return this.#lengths
			.filter((bits) => bits <= bitsMax && isOfFamily(words, bits))
			.flatMap((bits) => this.#byNetwork.get(keyOf(networkOf(words, bits), bits)) ?? [])
	}

	#intern(all: readonly string[], isKnown: boolean) {
		const groups = [...new Set(all)].sort()
		const key = `${isKnown} ${groups.join(' ')}`
		const identity = this.#identities.get(key) ?? this.#identities.size
		this.#identities.set(key, identity)
		return { identity, groups, isKnown }
	}
}

/** Bits of the most specific network around an address; -1 for none. */
function longest(
	words: AddressWords,
	networks: { has(key: string): boolean },
	lengths: readonly number[],
): number {
	const found = lengths.find(
		(bits) => isOfFamily(words, bits) && networks.has(keyOf(networkOf(words, bits), bits)),
	)
	return found ?? -1
}

/** Bits in front of an IPv4 address in its mapped form: `::/0` holds no IPv4 address. */
const V4_PREFIX_BITS = 96

function isOfFamily(words: AddressWords, bits: number): boolean {
	return bits >= V4_PREFIX_BITS || !isV4(words)
}

function keyOf(words: AddressWords, bits: number): string {
	return `${words.join('.')}/${bits}`
}
