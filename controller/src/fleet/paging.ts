import { PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX } from '@ringfence/shared/contract/rest'
import { Refusal } from './refusal.ts'
import { fromBase64, toBase64Url } from './secrets.ts'

/** One page of a list, and where the next one begins; null at the end. */
export interface Page<Item> {
	readonly items: Item[]
	readonly next: string | null
}

export interface PageRequest {
	readonly limit?: number | undefined
	readonly cursor?: string | undefined
}

/** The sort key of the last row of a page: the next page holds what comes after it. */
export type CursorKey = readonly (string | number)[]

/** Rows to ask the database for: one more than fits, to learn whether there is a next page. */
export function rowsWanted({ limit }: PageRequest): number {
	return pageLimit(limit) + 1
}

/** Cuts the extra row off and names the next page. */
export function toPage<Row>(
	rows: readonly Row[],
	{ limit }: PageRequest,
	keyOf: (row: Row) => CursorKey,
): Page<Row> {
	const items = rows.slice(0, pageLimit(limit))
	const last = items.at(-1)
	const next = rows.length > items.length && last !== undefined ? encodeCursor(keyOf(last)) : null
	return { items, next }
}

/** The same rows as something else. */
export function mapPage<Row, Item>(page: Page<Row>, map: (row: Row) => Item): Page<Item> {
	return { items: page.items.map(map), next: page.next }
}

/**
 * Reads a cursor that `toPage` made.
 * @param shape types of the key's parts, in order
 * @returns undefined without a cursor
 * @throws Refusal when it is none of this list's cursors
 */
export function readCursor(
	cursor: string | undefined,
	shape: readonly ('string' | 'number')[],
): CursorKey | undefined {
	if (cursor === undefined) return undefined
	const key = parseCursor(cursor)
	const isOfShape =
		Array.isArray(key) &&
		key.length === shape.length &&
		key.every((part, index) => typeof part === shape[index] && isPlain(part))
	if (!isOfShape)
		throw new Refusal('invalid', 'not a cursor of this list', { pointer: '/query/cursor' })
	return key
}

/** JSON can say 1e999, which is no value for a database. */
function isPlain(part: unknown): boolean {
	return typeof part === 'string' || Number.isFinite(part)
}

function pageLimit(limit: number | undefined): number {
	return Math.min(limit ?? PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)
}

function encodeCursor(key: CursorKey): string {
	return toBase64Url(new TextEncoder().encode(JSON.stringify(key)))
}

function parseCursor(cursor: string): unknown {
	try {
		const bytes = fromBase64(cursor.replaceAll('-', '+').replaceAll('_', '/'))
		return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
	} catch {
		return undefined
	}
}
