import fc from 'fast-check'
import { expect, test } from 'vitest'
import { escapeText, formatJson, formatTable, formatTime } from './output.ts'

/** What a terminal obeys, and what turns text around. */
const OBEYED = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u

test.each([
	['an escape sequence', 'a\u001b[2Jb', 'a\\u{1b}[2Jb'],
	['a line break', 'a\r\nb', 'a\\u{d}\\u{a}b'],
	['a C1 control', 'a\u009bb', 'a\\u{9b}b'],
	['text turned around', 'a\u202eb', 'a\\u{202e}b'],
	['half a character', 'a\ud800b', 'a\\u{d800}b'],
	['letters of the world', 'Grüße 🔥 日本', 'Grüße 🔥 日本'],
])('%s is shown, not obeyed', (_, text, shown) => {
	expect(escapeText(text)).toBe(shown)
})

test('a table has one line for each row, whatever is in it', () => {
	fc.assert(
		fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 5 }), (names) => {
			const rows = names.map((name) => ({ name }))
			const table = formatTable([{ head: 'NAME', text: ({ name }) => name }], rows)
			expect(table.split('\n')).toHaveLength(names.length + 2)
			expect(table.replaceAll('\n', '')).not.toMatch(OBEYED)
		}),
	)
})

test('columns are aligned, long cells cut, empty ones marked', () => {
	const columns = [
		{ head: 'A', text: (row: string[]) => row[0] },
		{ head: 'B', text: (row: string[]) => row[1] },
	]
	const table = formatTable(columns, [
		['long name', ''],
		['x', 'y'.repeat(100)],
	])
	expect(table.split('\n')).toEqual([
		'A          B',
		'long name  -',
		`x          ${'y'.repeat(59)}…`,
		'',
	])
})

test('JSON stays what it was, without what a terminal obeys', () => {
	fc.assert(
		fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (value, name) => {
			const json = formatJson([value, name])
			expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify([value, name])))
			expect(json.replaceAll('\n', '')).not.toMatch(OBEYED)
		}),
	)
})

test('times are UTC', () => {
	expect(formatTime(0)).toBe('1970-01-01 00:00:00')
	expect(formatTime(null)).toBe('-')
})
