import { type SQL, sql } from 'drizzle-orm'

/**
 * A list as a table of one column, for `column in ${jsonList(…)}`: one parameter and one statement for any number of values.
 */
export function jsonList(values: Iterable<string | number>): SQL {
	return sql`(select value from json_each(${JSON.stringify([...values])}))`
}
