import { createApp } from './app.ts'
import { openStore } from './db/open-store.ts'
import { ageOut } from './fleet/aging.ts'
import { deliverDue } from './fleet/alerts/outbox.ts'
import type { Fleet, Log } from './fleet/fleet.ts'
import { Refusal } from './fleet/refusal.ts'

/** Bindings of the worker; see `wrangler.toml`. */
interface Env {
	/** `libsql://…` or `https://…`; its tables are made by the migrations beforehand. */
	readonly DATABASE_URL: string
	readonly DATABASE_TOKEN?: string
	readonly PUBLIC_URL?: string
}

interface ExecutionContext {
	waitUntil(work: Promise<unknown>): void
}

/**
 * The controller's HTTP side on workerd. Every request has a store of its own, since workerd lets no request wait for
 * another's I/O. There is no broker here: what would be published or enrolled is refused.
 */
const worker = {
	async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
		const fleet = await openFleet(env, context)
		const clientAddress = (from: Request) => from.headers.get('cf-connecting-ip') ?? undefined
		const app = createApp(fleet, { publicUrl: env.PUBLIC_URL, clientAddress })
		return app.fetch(request, env)
	},

	/** What loops do on other hosts. */
	async scheduled(_event: unknown, env: Env, context: ExecutionContext): Promise<void> {
		const fleet = await openFleet(env, context)
		await Promise.all([deliverDue(fleet), ageOut(fleet)])
	},
}

// biome-ignore lint/style/noDefaultExport: workerd takes a module's default export for its handlers
export default worker

async function openFleet(env: Env, context: ExecutionContext): Promise<Fleet> {
	const store = await openStore({
		url: env.DATABASE_URL,
		...(env.DATABASE_TOKEN !== undefined && { authToken: env.DATABASE_TOKEN }),
	})
	const noBroker = () => new Refusal('conflict', 'This controller has no broker.')
	const fleet: Fleet = {
		store,
		clock: { now: Date.now },
		log,
		changes: {
			documentsChanged: () => log('warn', 'not published: this controller has no broker'),
			outboxChanged: () => context.waitUntil(deliverDue(fleet)),
		},
		live: { publish: () => {}, subscribe: () => () => {} },
		bus: { publish: () => Promise.reject(noBroker()) },
		brokerUrl: () => '',
		brokerAccounts: {
			provision: () => Promise.reject(noBroker()),
			revoke: () => Promise.reject(noBroker()),
		},
	}
	return fleet
}

const log: Log = (level, message, fields) => {
	// biome-ignore lint/suspicious/noConsole: the console is workerd's log
	console.log(JSON.stringify({ level, message, ...fields }))
}
