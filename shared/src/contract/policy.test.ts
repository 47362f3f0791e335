import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
	addressEntrySchema,
	addressesShardSchema,
	cidrSchema,
	groupNameSchema,
	portRangeSchema,
	ruleEntrySchema,
	SHARD_ENTRIES_MAX,
	shardOf,
} from './policy.ts'

describe('port ranges', () => {
	test.each([
		...['any', 'tcp', 'udp', 'icmp', 'tcp/0', 'tcp/80', 'tcp/65535', 'udp/1000-2000'],
		...['udp/53-53', 'tcp/0-65535', 'icmp/0', 'icmp/8', 'icmp/255'],
	])('%s is one', (text) => {
		expect(portRangeSchema.safeParse(text).success).toBe(true)
	})

	test.each([
		...[
			'',
			'ANY',
			'tcp/',
			'tcp/65536',
			'tcp/99999',
			'tcp/80-',
			'tcp/-80',
			'tcp/80-79',
			'tcp/1-2-3',
		],
		...['udp/1-65536', 'sctp/80', '80', 'any/80', 'icmp/256', 'icmp/999', 'icmp/1-2', 'tcp/8a'],
		...['tcp/80 ', ' tcp/80', 'tcp/80\n', 'tcp/+80', 'tcp/1e3', 'tcp/0x50', 'tcp,udp'],
	])('"%s" is none', (text) => {
		expect(portRangeSchema.safeParse(text).success).toBe(false)
	})

	test('are in order and within 16 bits', () => {
		const number = fc.integer({ min: 0, max: 99_999 })
		const run = (first: number, last: number) => {
			const isRange = first <= last && last <= 65_535
			expect(portRangeSchema.safeParse(`tcp/${first}-${last}`).success).toBe(isRange)
		}
		fc.assert(fc.property(number, number, run))
	})
})

describe('names and networks', () => {
	test.each(['rf.web.shop', 'nodes', 'external', 'a', 'g'.repeat(256)])('%s is a group', (name) => {
		expect(groupNameSchema.safeParse(name).success).toBe(true)
	})

	test.each(['', 'a b', 'a/b', 'a\n', 'g'.repeat(257)])('"%s" is no group', (name) => {
		expect(groupNameSchema.safeParse(name).success).toBe(false)
	})

	test('a network has no host bits', () => {
		expect(cidrSchema.safeParse('10.0.0.0/8').success).toBe(true)
		expect(cidrSchema.safeParse('10.0.0.1/8').success).toBe(false)
		expect(cidrSchema.safeParse('10.0.0.1').success).toBe(true)
	})
})

describe('rules', () => {
	const rule = {
		kind: 'rule',
		id: 'r1',
		order: 1,
		from: 'a',
		to: 'b',
		ports: ['any'],
		applications: ['any'],
		action: 'deny',
	}

	test.each([
		[{}, true],
		[{ order: -5 }, true],
		[{ order: 1.5 }, false],
		[{ ports: [] }, false],
		[{ ports: new Array(65).fill('any') }, false],
		[{ applications: [] }, false],
		[{ applications: ['gopher'] }, false],
		[{ action: 'reset' }, false],
	])('with %o are taken: %s', (some, isTaken) => {
		expect(ruleEntrySchema.safeParse({ ...rule, ...some }).success).toBe(isTaken)
	})
})

describe('shards', () => {
	test('have no more entries than their limit', () => {
		const entry = addressEntrySchema.parse({
			network: '10.0.0.1',
			kind: 'custom',
			id: 'g',
			groups: [],
		})
		const shard = Object.fromEntries(
			Array.from({ length: SHARD_ENTRIES_MAX }, (_, index) => [`k${index}`, entry]),
		)
		expect(addressesShardSchema.safeParse(shard).success).toBe(true)
		expect(addressesShardSchema.safeParse({ ...shard, more: entry }).success).toBe(false)
	})

	test('take keys evenly', () => {
		const shards = 16
		const keys = [
			...Array.from({ length: 8_000 }, (_, i) => `rule:${i}`),
			...Array.from({ length: 8_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}/32`),
		]
		const counts = new Array<number>(shards).fill(0)
		for (const key of keys) {
			const shard = shardOf(key, shards)
			counts[shard] = (counts[shard] ?? 0) + 1
		}
		const mean = keys.length / shards
		expect(Math.min(...counts)).toBeGreaterThan(mean * 0.8)
		expect(Math.max(...counts)).toBeLessThan(mean * 1.2)
	})

	test('are numbered from zero, whatever the key', () => {
		const run = (key: string, shards: number) => {
			const shard = shardOf(key, shards)
			expect(Number.isInteger(shard) && shard >= 0 && shard < shards).toBe(true)
			expect(shardOf(key, 1)).toBe(0)
		}
		fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 1, max: 16 }), run))
	})

	test('are chosen by FNV-1a', () => {
		// 32-bit test vectors of draft-eastlake-fnv: "", "a", "foobar".
		expect(shardOf('', 2 ** 32)).toBe(0x811c9dc5)
		expect(shardOf('a', 2 ** 32)).toBe(0xe40c292c)
		expect(shardOf('foobar', 2 ** 32)).toBe(0xbf9cf968)
	})
})
