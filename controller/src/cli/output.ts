/** A column of a table: its head, and the text it shows of a row. */
export interface Column<Row> {
	readonly head: string
	readonly text: (row: Row) => string | number | null | undefined
}

/** A value of a longer text shows only its beginning. */
const CELL_CHARS_MAX = 60

/**
 * What a terminal would obey or not show: C0, DEL, C1 (ECMA-48), bidirectional controls (Unicode TR 36 §2), line and
 * paragraph separators, lone surrogates. Workloads choose their names.
 */
const UNSAFE = /[\p{Cc}\p{Cs}\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

/** The text with every unsafe character as `\u{…}`; `keep` may let some through. */
export function escapeText(text: string, keep = ''): string {
	return text.replace(UNSAFE, (char) =>
		keep.includes(char) ? char : `\\u{${char.codePointAt(0)?.toString(16) ?? ''}}`,
	)
}

/** Rows as aligned columns, one line each. */
export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
	const lines = [
		columns.map(({ head }) => head),
		...rows.map((row) => columns.map(({ text }) => toCell(text(row)))),
	]
	const widths = columns.map((_, index) =>
		lines.reduce((widest, line) => Math.max(widest, [...(line[index] ?? '')].length), 0),
	)
	return lines
		.map((line) => line.map((cell, index) => pad(cell, widths[index] ?? 0)).join('  '))
		.map((line) => `${line.trimEnd()}\n`)
		.join('')
}

/** Indented JSON. `JSON.stringify` escapes C0 only. */
export function formatJson(value: unknown): string {
	return `${escapeJson(JSON.stringify(value, null, 2))}\n`
}

/** `2026-01-31 12:34:56` in UTC. */
export function formatTime(at: number | null): string {
	if (at === null) return '-'
	return new Date(at).toISOString().slice(0, 19).replace('T', ' ')
}

/** As JSON writes such characters, so that the text still parses to the same. */
function escapeJson(json: string): string {
	return json.replace(UNSAFE, (char) => {
		if (char === '\n') return char
		return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
	})
}

function toCell(value: string | number | null | undefined): string {
	if (value === null || value === undefined || value === '') return '-'
	const text = escapeText(String(value))
	return text.length > CELL_CHARS_MAX ? `${text.slice(0, CELL_CHARS_MAX - 1)}…` : text
}

function pad(cell: string, width: number): string {
	return cell + ' '.repeat(Math.max(width - [...cell].length, 0))
}
