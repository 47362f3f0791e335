import type { Problem } from '@ringfence/shared/contract/rest'

/** An answer that is an error, in words for whoever sits before the screen. */
export class ApiError extends Error {
	readonly status: number

	constructor(status: number, message: string) {
		super(message)
		this.name = 'ApiError'
		this.status = status
	}
}

export interface Page<Item> {
	readonly items: Item[]
	readonly next: string | null
}

/** Reads a resource of the controller. */
export function read<Resource>(path: string): Promise<Resource> {
	return send<Resource>('GET', path)
}

/** Reads a list to its end, at most `pagesMax` pages of 500. */
export async function readAll<Item>(path: string, pagesMax = 4): Promise<Item[]> {
	const items: Item[] = []
	let cursor: string | null = null
	for (let page = 0; page < pagesMax; page++) {
		const url = new URL(path, location.origin)
		url.searchParams.set('limit', '500')
		if (cursor !== null) url.searchParams.set('cursor', cursor)
		const { items: more, next }: Page<Item> = await read(url.pathname + url.search)
		items.push(...more)
		cursor = next
		if (next === null) break
	}
	return items
}

/** Sends a change; `revision` is what its author saw. */
export async function send<Resource>(
	method: string,
	path: string,
	body?: unknown,
	revision?: number,
): Promise<Resource> {
	const response = await fetch(path, {
		method,
		headers: {
			...(body !== undefined && { 'content-type': 'application/json' }),
			...(revision !== undefined && { 'if-match': `"${revision}"` }),
		},
		...(body !== undefined && { body: JSON.stringify(body) }),
	})
	if (response.status === 204) return undefined as Resource
	if (response.ok) return (await response.json()) as Resource
	throw new ApiError(response.status, await problemText(response))
}

async function problemText(response: Response): Promise<string> {
	try {
		const problem = (await response.json()) as Problem
		const faults = problem.errors?.map(({ pointer, detail }) => `${pointer} ${detail}`) ?? []
		return [problem.detail ?? problem.title, ...faults].join(' ')
	} catch {
		return `The controller answered ${response.status}.`
	}
}
