import { inflate } from '@ringfence/shared/contract/codec'
import { type PolicyEntry, shardOf } from '@ringfence/shared/contract/policy'
import { describe, expect, test } from 'vitest'
import { DocumentTooLarge, makeShards } from './shards.ts'

function rule(id: number, from = 'a'): [string, PolicyEntry] {
	const groups = { from, to: 'b' }
	const what = { ports: ['any'], applications: ['any' as const], action: 'allow' as const }
	return [`rule:${id}`, { kind: 'rule', id: String(id), order: id, ...groups, ...what }]
}

const rules = (count: number) => Array.from({ length: count }, (_, id) => rule(id))

describe('shards', () => {
	test.each([
		[0, 1],
		[10, 1],
		[400, 2],
		[2000, 8],
		[20_000, 16],
	])('of %i entries are %i', async (entries, shards) => {
		expect(await makeShards(new Map(rules(entries)))).toHaveLength(shards)
	})

	test('are the same bytes whatever the order of the entries', async () => {
		const forward = await makeShards(new Map(rules(3000)))
		const backward = await makeShards(new Map(rules(3000).reverse()))
		expect(backward.map(({ sha256 }) => sha256)).toEqual(forward.map(({ sha256 }) => sha256))
	})

	test('hold every entry in its place, and one change touches one of them', async () => {
		const before = await makeShards(new Map(rules(3000)))
		const after = await makeShards(new Map([...rules(3000), rule(7, 'x')]))
		const touched = after.flatMap(({ sha256 }, i) => (sha256 === before[i]?.sha256 ? [] : [i]))
		expect(touched).toEqual([shardOf('rule:7', after.length)])
		let entries = 0
		for (const [index, { bytes }] of after.entries()) {
			const keys = Object.keys(JSON.parse(new TextDecoder().decode(await inflate(bytes))))
			expect(keys.every((key) => shardOf(key, after.length) === index)).toBe(true)
			entries += keys.length
		}
		expect(entries).toBe(3000)
	})

	test('that no message could carry are refused', async () => {
		const long = 'x'.repeat(2_100_000)
		await expect(makeShards(new Map([rule(1, long), rule(17, long)]))).resolves.toBeDefined()
		const same = rules(200).filter(([key]) => shardOf(key, 16) === shardOf('rule:1', 16))
		const large = new Map(same.map(([, entry]) => rule(Number('id' in entry ? entry.id : 0), long)))
		await expect(makeShards(large)).rejects.toBeInstanceOf(DocumentTooLarge)
	})
})
