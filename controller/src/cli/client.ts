import { type Problem, problemSchema } from '@ringfence/shared/contract/rest'
import type { Connection } from './connection.ts'

/** Exit codes: what a script may want to tell apart. */
export const EXIT = {
	failed: 1,
	usage: 2,
	denied: 3,
	notFound: 4,
	conflict: 5,
	unreachable: 6,
} as const

/** A command that ends badly, in words for its user. */
export class CliError extends Error {
	readonly exitCode: number

	constructor(message: string, options: ErrorOptions & { readonly exitCode: number }) {
		super(message, options)
		this.name = 'CliError'
		this.exitCode = options.exitCode
	}
}

export interface Request {
	readonly body?: unknown
	/** Sent as If-Match. */
	readonly revision?: number
}

/** Sends one request to the controller. */
export async function send<Resource>(
	{ url, credential }: Connection,
	route: string,
	{ body, revision }: Request = {},
): Promise<Resource> {
	const [method = 'GET', path = '/'] = route.split(' ')
	let response: Response
	try {
		response = await fetch(url + path, {
			method,
			redirect: 'error',
			headers: {
				...(credential !== undefined && { authorization: `Bearer ${credential}` }),
				...(body !== undefined && { 'content-type': 'application/json' }),
				...(revision !== undefined && { 'if-match': `"${revision}"` }),
			},
			...(body !== undefined && { body: JSON.stringify(body) }),
		})
	} catch (error) {
		throw new CliError(`no controller answers at ${url}`, {
			exitCode: EXIT.unreachable,
			cause: error,
		})
	}
	const text = await response.text()
	if (!response.ok) throw toError(response.status, text)
	if (text === '') return undefined as Resource
	try {
		return JSON.parse(text) as Resource
	} catch (error) {
		const message = `what answers at ${url} is no controller`
		throw new CliError(message, { exitCode: EXIT.unreachable, cause: error })
	}
}

/** Reads a list to its end, or so many items of it. */
export async function readAll<Item>(
	connection: Connection,
	path: string,
	itemsMax: number,
): Promise<{ readonly items: Item[]; readonly isAll: boolean }> {
	const items: Item[] = []
	let cursor: string | null = ''
	while (cursor !== null && items.length < itemsMax) {
		const search = new URLSearchParams({ limit: String(Math.min(itemsMax - items.length, 500)) })
		if (cursor !== '') search.set('cursor', cursor)
		const separator = path.includes('?') ? '&' : '?'
		const page: { items: Item[]; next: string | null } = await send(
			connection,
			`GET ${path}${separator}${search}`,
		)
		items.push(...page.items)
		cursor = page.next
	}
	return { items, isAll: cursor === null }
}

const EXIT_OF: Readonly<Record<number, number>> = {
	401: EXIT.denied,
	403: EXIT.denied,
	404: EXIT.notFound,
	409: EXIT.conflict,
	412: EXIT.conflict,
	422: EXIT.usage,
}

function toError(status: number, text: string): CliError {
	const problem = parseProblem(text)
	const faults = problem?.errors?.map(({ pointer, detail }) => `\n  ${pointer}: ${detail}`) ?? []
	const said = problem ? `${problem.detail ?? problem.title}${faults.join('')}` : 'no reason given'
	const hint = status === 401 ? '; use --key, RINGFENCE_KEY or `ringfence sign-in`' : ''
	return new CliError(`${status}: ${said}${hint}`, { exitCode: EXIT_OF[status] ?? EXIT.failed })
}

function parseProblem(text: string): Problem | undefined {
	try {
		return problemSchema.parse(JSON.parse(text))
	} catch {
		return undefined
	}
}
