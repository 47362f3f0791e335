import { expect, test } from 'vitest'
import { defaultDecision } from './decisions.ts'
import { PairMemo } from './pair-memo.ts'
import { buildPairTable, leavesOf } from './pair-table.ts'

const TABLE = buildPairTable([], () => defaultDecision('monitor', true))

test('a table is found by its pair alone', () => {
	const memo = new PairMemo()
	memo.set(1, 2, TABLE)
	expect(memo.get(1, 2)).toBe(TABLE)
	expect(memo.get(2, 1)).toBeUndefined()
	expect(memo.get(1, 1)).toBeUndefined()
})

test('at the limit of pairs all are forgotten, and the new one is kept', () => {
	const memo = new PairMemo({ pairsMax: 3, leavesMax: 1_000 })
	expect(heldAfterEach(memo, 7)).toEqual([1, 2, 3, 1, 2, 3, 1])
})

test('at the limit of leaves likewise', () => {
	const memo = new PairMemo({ pairsMax: 1_000, leavesMax: 2 * leavesOf(TABLE) })
	expect(heldAfterEach(memo, 5)).toEqual([1, 2, 1, 2, 1])
})

test('a table larger than the limit is held alone', () => {
	const memo = new PairMemo({ pairsMax: 1_000, leavesMax: 1 })
	expect(heldAfterEach(memo, 3)).toEqual([1, 1, 1])
})

/** How many of the pairs set so far are held, after each one. */
function heldAfterEach(memo: PairMemo, pairs: number): number[] {
	return Array.from({ length: pairs }, (_, pair) => {
		memo.set(pair % 2, pair, TABLE)
		const asked = Array.from({ length: pair + 1 }, (_, other) => memo.get(other % 2, other))
		return asked.filter((table) => table === TABLE).length
	})
}
