import type { Link } from './route-netlink.ts'

/** Masters that show all packets of their members; others (`openvswitch`, `vrf`) show none, or as members do. */
const SHOWING_MASTERS = ['bridge', 'bond', 'team']
/** Interfaces whose packets the one below shows too, with the same Ethernet address. */
const SHOWN_BELOW = ['vlan', 'ipvlan']
/** Interfaces upon interfaces. */
const DEPTH_MAX = 8

type StackedLink = Pick<Link, 'index' | 'isLoopback' | 'isEthernet' | 'driver' | 'master' | 'lower'>

/**
 * Those of a namespace's interfaces that show each packet of the workload, and show it once: an interface that stands
 * upon another one would have all its sessions counted twice.
 */
export function tappedLinks<L extends StackedLink>(links: readonly L[]): L[] {
	const byIndex = new Map(links.map((link) => [link.index, link]))
	const isTapped = (link: StackedLink, depth: number): boolean => {
		if (!link.isEthernet || link.isLoopback || link.driver === 'vrf') return false
		if (SHOWING_MASTERS.includes(byIndex.get(link.master)?.driver ?? '')) return false
		const lower = SHOWN_BELOW.includes(link.driver) ? byIndex.get(link.lower) : undefined
		return !lower || depth === DEPTH_MAX || !isTapped(lower, depth + 1)
	}
	return links.filter((link) => isTapped(link, 0))
}
