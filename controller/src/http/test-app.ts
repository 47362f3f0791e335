import { expect } from 'vitest'
import { type App, type AppOptions, createApp } from '../app.ts'
import type { Role } from '../db/schema.ts'
import { createApiKey } from '../fleet/access/api-keys.ts'
import type { LiveItem, LogLevel } from '../fleet/fleet.ts'
import { openTestFleet, type TestFleet } from '../fleet/test-fleet.ts'

/** Password hashing at full strength takes longer than all else in a test. */
export const TEST_ITERATIONS = 1000

export interface AppFleet extends TestFleet {
	readonly logged: { level: LogLevel; message: string; fields: unknown }[]
	/** Moves the clock. */
	pass(ms: number): void
}

/** The fleet's own test fleet, with a log that can be read and a live feed that feeds. */
export async function openAppFleet(): Promise<AppFleet> {
	const fleet = await openTestFleet()
	const handlers = new Set<(item: LiveItem) => void>()
	const logged: AppFleet['logged'] = []
	return {
		...fleet,
		logged,
		log: (level, message, fields) => logged.push({ level, message, fields }),
		live: {
			publish: (item) => {
				for (const handler of handlers) handler(item)
			},
			subscribe: (handler) => {
				handlers.add(handler)
				return () => handlers.delete(handler)
			},
		},
		pass: (ms) => {
			fleet.time.now += ms
		},
	}
}

interface Call {
	readonly as?: Role | undefined
	readonly body?: unknown
	readonly headers?: Readonly<Record<string, string>>
	/** Of the revision that `If-Match` names. */
	readonly revision?: number | '*'
}

interface Answer {
	readonly status: number
	readonly headers: Headers
	// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
	readonly json: any
}

export interface TestApp {
	readonly app: App
	readonly fleet: AppFleet
	readonly keys: Readonly<Record<Role, string>>
	/** Sends a request as an API key of the role, and checks that the answer is what the OpenAPI document says. */
	call(route: string, call?: Call): Promise<Answer>
}

export async function openTestApp(options: AppOptions = {}): Promise<TestApp> {
	const fleet = await openAppFleet()
	const app = createApp(fleet, { passwordIterations: TEST_ITERATIONS, ...options })
	const act = { actor: 'system', now: fleet.clock.now() }
	const keyOf = async (role: Role) => (await createApiKey(fleet, act, { name: role, role })).key
	const keys = {
		viewer: await keyOf('viewer'),
		operator: await keyOf('operator'),
		admin: await keyOf('admin'),
	}
	const call = async (route: string, { as, body, headers, revision }: Call = {}) => {
		const [method = 'GET', path = '/'] = route.split(' ')
		const response = await app.request(path, {
			method,
			headers: {
				...(as && { authorization: `Bearer ${keys[as]}` }),
				...(body !== undefined && { 'content-type': 'application/json' }),
				...(revision !== undefined && { 'if-match': revision === '*' ? '*' : `"${revision}"` }),
				...headers,
			},
			...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
		})
		const text = await response.text()
		const isJson = /json/.test(response.headers.get('content-type') ?? '')
		const answer = {
			status: response.status,
			headers: response.headers,
			json: isJson && text !== '' ? JSON.parse(text) : undefined,
		}
		expectAsDescribed(app, method, path, answer)
		return answer
	}
	return { app, fleet, keys, call }
}

/** Neither less nor more than the route's schema: an answer must not leak a column. */
function expectAsDescribed(app: App, method: string, path: string, answer: Answer): void {
	if (answer.status >= 400) {
		expect(answer.headers.get('content-type')).toBe('application/problem+json')
		expect(answer.json).toMatchObject({ status: answer.status, title: expect.any(String) })
		return
	}
	const route = routesOf(app).find(
		(one) => one.method === method.toLowerCase() && isPathOf(one.path, path),
	)
	if (!route || answer.json === undefined) return
	const described = route.responses[answer.status]
	expect(described, `${method} ${path} answered ${answer.status}`).toBeDefined()
	if (!described || '$ref' in described) return
	const media = described.content?.['application/json']
	const schema = media && 'schema' in media ? media.schema : undefined
	if (schema && 'parse' in schema) expect(schema.parse(answer.json)).toEqual(answer.json)
}

function routesOf(app: App) {
	return app.openAPIRegistry.definitions.flatMap((definition) =>
		definition.type === 'route' ? [definition.route] : [],
	)
}

/** Literal segments come first in the list of routes, as they do in routing. */
function isPathOf(pattern: string, path: string): boolean {
	const wanted = pattern.split('/')
	const given = (path.split('?')[0] ?? '').split('/')
	return (
		wanted.length === given.length &&
		wanted.every((segment, index) => segment.startsWith('{') || segment === given[index])
	)
}
