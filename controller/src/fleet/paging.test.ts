import { expect, test } from 'vitest'
import { readCursor, rowsWanted, toPage } from './paging.ts'
import { Refusal } from './refusal.ts'

const ROWS = Array.from({ length: 5 }, (_, id) => ({ id, name: `n${id}` }))

test('a full page with more behind it names the next', () => {
	const page = toPage(ROWS, { limit: 4 }, ({ name, id }) => [name, id])
	expect(page.items).toHaveLength(4)
	expect(readCursor(page.next ?? undefined, ['string', 'number'])).toEqual(['n3', 3])
	expect(rowsWanted({ limit: 4 })).toBe(5)
})

test('the last page names none', () => {
	expect(toPage(ROWS, { limit: 5 }, ({ id }) => [id]).next).toBeNull()
	expect(toPage([], {}, () => []).next).toBeNull()
})

test('no request reads more than the largest page', () => {
	expect(rowsWanted({ limit: 1_000_000 })).toBe(501)
})

test.each([
	'',
	'!',
	'W10',
	'WzFd',
	'WyJhIiwiYiJd',
	'WyJhIiwxZTk5OV0',
	'eyJsZW5ndGgiOjJ9',
	'bnVsbA',
])('%j is none of this list’s cursors', (cursor) => {
	expect(() => readCursor(cursor, ['string', 'number'])).toThrow(Refusal)
})
