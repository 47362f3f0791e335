import { OpenAPIHono } from '@hono/zod-openapi'
import { REST_BODY_BYTES_MAX } from '@ringfence/shared/contract/rest'
import { sql } from 'drizzle-orm'
import type { Fleet } from './fleet/fleet.ts'
import type { Api, ApiEnv, ApiOptions } from './http/api.ts'
import { limitBody } from './http/body-limit.ts'
import { addConsole } from './http/console.ts'
import { guard } from './http/guard.ts'
import { answerHeaders } from './http/headers.ts'
import { describeApi, registerComponents } from './http/openapi.ts'
import { answerError, answerProblem, ProblemError, refuseInvalid } from './http/problem.ts'
import { addAccounts } from './http/resources/accounts.ts'
import { addAuth } from './http/resources/auth.ts'
import { addConversations } from './http/resources/conversations.ts'
import { addEnroll } from './http/resources/enroll.ts'
import { addEvents } from './http/resources/events.ts'
import { addGroups } from './http/resources/groups.ts'
import { addNodes } from './http/resources/nodes.ts'
import { addRules } from './http/resources/rules.ts'
import { addSettings } from './http/resources/settings.ts'
import { addWebhooks } from './http/resources/webhooks.ts'
import { addWhatIf } from './http/resources/what-if.ts'

export type AppOptions = ApiOptions
export type App = Api

/**
 * The controller's HTTP side: REST under `/v1`, its description, health, and the console. Web APIs only: Node, workerd and
 * tests call its `fetch`.
 */
export function createApp(fleet: Fleet, options: AppOptions = {}): App {
	const app: Api = new OpenAPIHono<ApiEnv>({ defaultHook: refuseInvalid })
	app.onError((error, c) => answerError(fleet, error, c))
	app.notFound((c) =>
		answerProblem(c, new ProblemError(404, 'not-found', 'No resource has this path and method.')),
	)
	app.use(answerHeaders(options))
	app.use(limitBody(REST_BODY_BYTES_MAX))
	app.use(guard(fleet, options))

	addAuth(app, fleet, options)
	addAccounts(app, fleet, options)
	addEnroll(app, fleet, options)
	addNodes(app, fleet)
	addGroups(app, fleet)
	addRules(app, fleet)
	addWhatIf(app, fleet)
	addConversations(app, fleet)
	addEvents(app, fleet, options)
	addWebhooks(app, fleet)
	addSettings(app, fleet)
	registerComponents(app)

	const description = lazy(() => JSON.stringify(describeApi(app)))
	app.get('/openapi.json', (c) =>
		c.body(description(), 200, { 'content-type': 'application/json' }),
	)
	addHealth(app, fleet, options)
	addConsole(app)
	return app
}

/** `/healthz`: the process answers. `/readyz`: it can do its work. */
function addHealth(app: Api, fleet: Fleet, { notReadyWhy }: AppOptions): void {
	app.get('/healthz', (c) => c.json({ status: 'ok' }))
	app.get('/readyz', async (c) => {
		const why = (await databaseWhy(fleet)) ?? (await notReadyWhy?.())
		if (why !== undefined) throw new ProblemError(503, 'not-ready', why)
		return c.json({ status: 'ready' })
	})
}

async function databaseWhy(fleet: Fleet): Promise<string | undefined> {
	try {
		await fleet.store.db.all(sql`select 1`)
		return undefined
	} catch (error) {
		fleet.log('error', 'the database does not answer', { error: String(error) })
		return 'The database does not answer.'
	}
}

function lazy<Value>(make: () => Value): () => Value {
	let made: { readonly value: Value } | undefined
	return () => {
		made ??= { value: make() }
		return made.value
	}
}
