import type {
	EventResource,
	GroupResource,
	PolicyStatus,
	RuleResource,
	SettingsResource,
	WebhookResource,
} from '@ringfence/shared/contract/rest'
import { Argument, Command, Option } from 'commander'
import { readAll, send } from './client.ts'
import {
	type Connection,
	findConnection,
	forgetSession,
	keepSession,
	type Wanted,
} from './connection.ts'
import { LISTS } from './lists.ts'
import { escapeText, formatJson, formatTable } from './output.ts'
import { positive } from './positive.ts'
import { addRuleWords, type RuleWords, ruleOfWords } from './rule-words.ts'
import { addWhatIf } from './what-if.ts'

/** What a command touches of the process it runs in. */
export interface Shell {
	readonly env: NodeJS.ProcessEnv
	write(text: string): void
	/** Says a line to the person, beside the output. */
	warn(line: string): void
	/** Asks for a line that is not shown. */
	askSecret(question: string): Promise<string>
}

/** All commands of `ringfence`. */
export function createProgram(shell: Shell): Command {
	const program = new Command('ringfence')
		.description('Talks to a Ringfence controller.')
		.option('--url <url>', 'controller; else RINGFENCE_URL, else the one signed in to')
		.option('--key <key>', 'API key; else RINGFENCE_KEY, else the session of sign-in')
		.exitOverride()
	const connect = () => findConnection(program.opts<Wanted>(), shell.env)
	addSession(program, shell, connect)
	addGet(program, shell, connect)
	addGroup(program, shell, connect)
	addRule(program, shell, connect)
	addWhatIf(program, { connect, write: (text) => shell.write(text) })
	addWebhook(program, shell, connect)
	addNode(program, shell, connect)
	return program
}

type Connect = () => Promise<Connection>

function addSession(program: Command, shell: Shell, connect: Connect): void {
	program
		.command('sign-in')
		.description('Opens a session and keeps it for later commands.')
		.argument('<name>')
		.action(async (name: string) => {
			const { url } = await connect()
			const password = await shell.askSecret(`Password of ${escapeText(name)}: `)
			const body = { name, password, session: 'token' }
			const signedIn = await send<{ token: string; role: string }>(
				{ url, credential: undefined },
				'POST /v1/auth/sign-in',
				{ body },
			)
			const file = await keepSession({ url, token: signedIn.token }, shell.env)
			say(shell, `Signed in to ${url} as ${name} (${signedIn.role}); the session is in ${file}.`)
		})
	program
		.command('sign-out')
		.description('Ends the session.')
		.action(async () => {
			await send(await connect(), 'POST /v1/auth/sign-out')
			await forgetSession(shell.env)
			say(shell, 'Signed out.')
		})
}

function addGet(program: Command, shell: Shell, connect: Connect): void {
	program
		.command('get')
		.description('Shows a list.')
		.addArgument(new Argument('<list>').choices(Object.keys(LISTS)))
		.addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
		.option('-n, --limit <count>', 'at most so many', positive, 1000)
		.action(async (name: string, { output, limit }: { output: string; limit: number }) => {
			const list = LISTS[name]
			if (!list) return
			const { items, isAll } = await readAll(await connect(), list.path, limit)
			shell.write(output === 'json' ? formatJson(items) : formatTable(list.columns, items))
			if (!isAll) shell.warn(`There are more than these ${limit}; --limit shows them.`)
		})
	program
		.command('status')
		.description('Shows how far the policy has come, and what happened lately.')
		.addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
		.action(async ({ output }: { output: string }) => {
			const connection = await connect()
			const status = await send<PolicyStatus>(connection, 'GET /v1/policy/status')
			const settings = await send<SettingsResource>(connection, 'GET /v1/settings')
			const { items: events } = await readAll<EventResource>(connection, '/v1/events', 5)
			if (output === 'json') return shell.write(formatJson({ status, settings, events }))
			say(
				shell,
				`${status.nodesUp} of ${status.nodes} nodes up; new services ${settings.newServiceMode}`,
			)
			for (const { document, currentGeneration, applied, rejected, behind } of status.documents) {
				const counts = `${applied} applied, ${rejected} rejected, ${behind} behind`
				say(shell, `${document} generation ${currentGeneration}: ${counts}`)
			}
			if (events.length > 0) shell.write(`\n${formatTable(LISTS['events']?.columns ?? [], events)}`)
		})
}

function addGroup(program: Command, shell: Shell, connect: Connect): void {
	program
		.command('group')
		.description('Changes groups.')
		.command('mode')
		.description('Sets what happens to traffic that no rule allows.')
		.argument('<name>')
		.addArgument(new Argument('<mode>').choices(['discover', 'monitor', 'protect']))
		.action(async (name: string, mode: string) => {
			const connection = await connect()
			const path = `/v1/groups/${encodeURIComponent(name)}`
			const { revision } = await send<GroupResource>(connection, `GET ${path}`)
			await send(connection, `PATCH ${path}`, { body: { mode }, revision })
			say(shell, `${name}: ${mode}`)
		})
}

function addRule(program: Command, shell: Shell, connect: Connect): void {
	const rule = program.command('rule').description('Changes rules.')
	addRuleWords(rule.command('add'))
		.description('Makes a rule; without a place it comes after all others of users.')
		.action(async (words: RuleWords) => {
			const body = ruleOfWords(words)
			const { id } = await send<RuleResource>(await connect(), 'POST /v1/rules', { body })
			say(shell, `rule ${id}`)
		})
	rule
		.command('delete')
		.argument('<id>')
		.action(async (id: string) => {
			const connection = await connect()
			const path = `/v1/rules/${encodeURIComponent(id)}`
			const { revision } = await send<RuleResource>(connection, `GET ${path}`)
			await send(connection, `DELETE ${path}`, { revision })
			say(shell, `rule ${id} is gone`)
		})
}

function addWebhook(program: Command, shell: Shell, connect: Connect): void {
	const webhook = program.command('webhook').description('Changes webhooks.')
	webhook
		.command('add')
		.description('Makes a webhook and shows its secret, this once.')
		.argument('<name>')
		.argument('<url>')
		.option('--kind <kind...>', 'kinds of events; all unless given')
		.option('--severity <severity>', 'that severe or worse', 'info')
		.action(async (name: string, url: string, options: { kind?: string[]; severity: string }) => {
			const body = { name, url, kinds: options.kind ?? [], severityMin: options.severity }
			const made = await send<WebhookResource & { secret: string }>(
				await connect(),
				'POST /v1/webhooks',
				{ body },
			)
			say(shell, `webhook ${made.id}`)
			say(shell, `secret ${made.secret}`)
		})
	webhook
		.command('ping')
		.description('Sends a message of type webhook.ping.')
		.argument('<id>')
		.action(async (id: string) => {
			const path = `/v1/webhooks/${encodeURIComponent(id)}/ping`
			const delivery = await send<{ id: string }>(await connect(), `POST ${path}`)
			say(shell, `delivery ${delivery.id}`)
		})
}

function addNode(program: Command, shell: Shell, connect: Connect): void {
	program
		.command('enroll-token')
		.description('Lets agents join.')
		.command('create')
		.description('Makes a token and shows it, this once.')
		.option('--uses <count>', 'agents that may use it', positive, 1)
		.option('--ttl <seconds>', 'how long it holds', positive, 3600)
		.action(async ({ uses, ttl }: { uses: number; ttl: number }) => {
			const body = { uses, ttlSeconds: ttl }
			const made = await send<{ token: string }>(await connect(), 'POST /v1/enroll-tokens', {
				body,
			})
			say(shell, made.token)
		})
}

function say(shell: Shell, line: string): void {
	shell.write(`${escapeText(line)}\n`)
}
