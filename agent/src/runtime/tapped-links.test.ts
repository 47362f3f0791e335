import { describe, expect, it } from 'vitest'
import { tappedLinks } from './tapped-links.ts'

const lo = link(1, 'lo', { isLoopback: true })
const eth0 = link(2, 'eth0', { driver: 'veth' })

describe('interfaces that show each packet once', () => {
	it.each([
		['plain ones', [lo, eth0, link(3, 'eth1')], ['eth0', 'eth1']],
		['none without Ethernet frames', [lo, link(2, 'wg0', { isEthernet: false })], []],
		[
			'a bridge, not its members',
			[{ ...eth0, master: 5 }, link(5, 'br0', { driver: 'bridge' })],
			['br0'],
		],
		[
			'a bond, not its members, and not a VLAN upon it',
			[
				{ ...eth0, master: 5 },
				link(5, 'bond0', { driver: 'bond' }),
				link(6, 'bond0.7', { driver: 'vlan', lower: 5 }),
			],
			['bond0'],
		],
		[
			'a VLAN whose interface is in another namespace',
			[lo, link(6, 'eth0', { driver: 'vlan', lower: 0 })],
			['eth0'],
		],
		[
			'a VLAN upon a member of a bridge: the bridge does not show it',
			[
				{ ...eth0, master: 5 },
				link(5, 'br0', { driver: 'bridge' }),
				link(6, 'eth0.7', { driver: 'vlan', lower: 2 }),
			],
			['br0', 'eth0.7'],
		],
		[
			'members of what shows nothing or the same again',
			[{ ...eth0, master: 5 }, link(5, 'vrf0', { driver: 'vrf' })],
			['eth0'],
		],
		[
			'members of an Open vSwitch, which shows nothing',
			[{ ...eth0, master: 5 }, link(5, 'ovs-system', { driver: 'openvswitch' })],
			['eth0', 'ovs-system'],
		],
	])('%s', (_, links, names) => {
		expect(tappedLinks(links).map(({ name }) => name)).toEqual(names)
	})

	it('ends on links that stand upon each other', () => {
		const ring = [
			link(2, 'a', { driver: 'vlan', lower: 3 }),
			link(3, 'b', { driver: 'vlan', lower: 2 }),
		]
		expect(tappedLinks(ring).length).toBeLessThanOrEqual(2)
	})
})

function link(
	index: number,
	name: string,
	more: {
		driver?: string
		master?: number
		lower?: number
		isLoopback?: boolean
		isEthernet?: boolean
	} = {},
) {
	const plain = { driver: '', master: 0, lower: 0, isLoopback: false, isEthernet: true }
	return { index, name, ...plain, ...more }
}
