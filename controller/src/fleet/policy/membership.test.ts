import type { Criterion } from '@ringfence/shared/contract/rest'
import { expect, test } from 'vitest'
import {
	groupsByNetwork,
	groupsOfAddress,
	isMember,
	type Traits,
	toCustomGroup,
} from './membership.ts'

const web: Traits = {
	name: 'web-1',
	service: 'web',
	domain: 'shop',
	image: 'nginx:1.27',
	labels: { tier: 'front', 'a b': '1', constructor: 'mine' },
	node: ['n-1', 'host-1'],
	addresses: ['10.0.0.2', 'fd00::2'],
}

/** `service=web`, `name prefix web` */
function group(...texts: string[]) {
	const criteria = texts.map((text): Criterion => {
		const [, key = '', op = '', value = ''] =
			/^(\S+?)\s*(!=|=|contains|prefix)\s*(.*)$/.exec(text) ?? []
		return { key, op: op as Criterion['op'], value }
	})
	return toCustomGroup('custom', criteria)
}

test.each([
	['service=web', true],
	['service=we', false],
	['service!=api', true],
	['service!=web', false],
	['name prefix web', true],
	['name prefix eb', false],
	['image contains ginx', true],
	['domain=shop', true],
	['node=n-1', true],
	['node=host-1', true],
	['node!=host-1', false],
	['label:tier=front', true],
	['label:tier!=back', true],
	['label:none=x', false],
	['label:none!=x', true],
	['label:toString contains a', false],
	['label:constructor=mine', true],
	['address=10.0.0.0/24', true],
	['address=10.0.1.0/24', false],
	['address=fd00::/64', true],
	['address!=10.0.0.0/24', false],
])('%s holds: %s', (text, isHeld) => {
	expect(isMember(group(text), web)).toBe(isHeld)
})

test('all keys must hold, any criterion of one key', () => {
	expect(isMember(group('service=api', 'service=web', 'domain=shop'), web)).toBe(true)
	expect(isMember(group('service=api', 'service=web', 'domain=bank'), web)).toBe(false)
})

test('every exclusion holds, also beside others of its key', () => {
	expect(isMember(group('name prefix web', 'name!=web-1'), web)).toBe(false)
	expect(isMember(group('name!=web-2', 'name!=web-3'), web)).toBe(true)
	expect(isMember(group('name!=web-1', 'name!=web-3'), web)).toBe(false)
})

test('only groups of networks alone have members outside of the fleet', () => {
	const office = group('address=203.0.113.0/24', 'address=2001:db8::/32')
	const mixed = group('address=203.0.113.0/24', 'service=web')
	const not = group('address!=203.0.113.0/24')
	expect(groupsOfAddress([office, mixed, not], '203.0.113.9')).toEqual(['custom'])
	expect(groupsOfAddress([office], '2001:db8::1')).toEqual(['custom'])
	expect(groupsOfAddress([office], '198.51.100.1')).toEqual([])
	expect(groupsOfAddress([office], 'nonsense')).toEqual([])
	expect([...groupsByNetwork([office, mixed, not]).keys()]).toEqual([
		'203.0.113.0/24',
		'2001:db8::/32',
	])
})
