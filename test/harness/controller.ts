import { join } from 'node:path'
import type {
	ConversationResource,
	EventResource,
	GroupResource,
	NodeResource,
	RuleResource,
	WorkloadResource,
} from '@ringfence/shared/contract/rest'
import { freePort, type Program, ROOT, type Sandbox } from './sandbox.ts'
import { waitFor } from './wait.ts'

interface Lists {
	nodes: NodeResource
	workloads: WorkloadResource
	groups: GroupResource
	rules: RuleResource
	conversations: ConversationResource
	events: EventResource
}

/** REST as the administrator, from outside. */
export interface Api {
	/** All pages of a list. */
	list<Name extends keyof Lists>(name: Name, query?: string): Promise<Lists[Name][]>
	get<Body>(path: string): Promise<Body>
	post<Body>(path: string, body: unknown): Promise<Body>
	/** With `If-Match` of the resource as it is. */
	patch<Body>(path: string, body: unknown): Promise<Body>
}

export interface ControllerOptions {
	/** Where it listens; this machine's loopback when absent. */
	readonly address?: string
	/** Further flags of the controller, such as those of an external broker. */
	readonly flags?: readonly string[]
}

export interface Controller {
	readonly url: string
	readonly brokerPort: number
	readonly tokenFile: string
	readonly api: Api
	program(): Program
	/** Ends it with `signal`, if it runs, and starts it again on the same data and ports. */
	restart(signal: NodeJS.Signals): Promise<void>
	stop(signal: NodeJS.Signals): Promise<void>
	start(): Promise<void>
}

export async function startController(
	sandbox: Sandbox,
	{ address = '127.0.0.1', flags = [] }: ControllerOptions = {},
): Promise<Controller> {
	const port = await freePort()
	const brokerPort = await freePort()
	const url = `http://${address}:${port}`
	const tokenFile = join(sandbox.directory, 'enroll-token')
	const command = [
		...[process.execPath, join(ROOT, 'controller/dist/node.js')],
		...['--data', join(sandbox.directory, 'controller')],
		...['--listen', `${address}:${port}`],
		...['--broker-listen', `${address}:${brokerPort}`],
		...['--enroll-token-file', tokenFile],
		...flags,
	]
	let program: Program
	const start = async () => {
		program = sandbox.run(command)
		await waitFor('the controller to be ready', async () => {
			if (!program.isRunning()) throw new Error(program.output())
			return (await fetch(`${url}/readyz`)).ok
		})
	}
	await start()
	const password = await waitFor('the password', () => passwordIn(program.output()))
	return {
		url,
		brokerPort,
		tokenFile,
		api: await signIn(url, password),
		program: () => program,
		start,
		stop: (signal) => program.stop(signal),
		async restart(signal) {
			await program.stop(signal)
			await start()
		},
	}
}

/** The password that a first start prints. */
export function passwordIn(output: string): string | undefined {
	return /password:\s+(\S{12,})/.exec(output)?.[1]
}

export async function signIn(url: string, password: string): Promise<Api> {
	const answer = await request(`${url}/v1/auth/sign-in`, {
		method: 'POST',
		body: JSON.stringify({ name: 'admin', password, session: 'token' }),
	})
	const { token } = (await answer.json()) as { token: string }
	const call = (path: string, init: RequestInit = {}) =>
		request(`${url}/v1/${path}`, {
			...init,
			headers: { ...init.headers, authorization: `Bearer ${token}` },
		})
	const json = async <Body>(response: Promise<Response>) => (await (await response).json()) as Body
	return {
		get: (path) => json(call(path)),
		post: (path, body) => json(call(path, { method: 'POST', body: JSON.stringify(body) })),
		async patch(path, body) {
			const etag = (await call(path)).headers.get('etag') ?? ''
			const init = { method: 'PATCH', body: JSON.stringify(body), headers: { 'if-match': etag } }
			return json(call(path, init))
		},
		async list<Name extends keyof Lists>(name: Name, query = '') {
			const items: Lists[Name][] = []
			let cursor = ''
			do {
				const page = `limit=500${query && `&${query}`}${cursor && `&cursor=${cursor}`}`
				const body = await json<{ items: Lists[Name][]; next: string | null }>(
					call(`${name}?${page}`),
				)
				items.push(...body.items)
				cursor = encodeURIComponent(body.next ?? '')
			} while (cursor)
			return items
		},
	}
}

async function request(url: string, init: RequestInit): Promise<Response> {
	const headers = { 'content-type': 'application/json', ...init.headers }
	const response = await fetch(url, { ...init, headers })
	if (!response.ok) {
		throw new Error(`${init.method ?? 'GET'} ${url}: ${response.status} ${await response.text()}`)
	}
	return response
}
