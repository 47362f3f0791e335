import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAdaptorServer } from '@hono/node-server'
import type { Command } from 'commander'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ensureAdmin } from '../fleet/access/access.ts'
import { joinAgent, violation, workload } from '../fleet/test-fleet.ts'
import { openTestApp, TEST_ITERATIONS, type TestApp } from '../http/test-app.ts'
import { createProgram } from './program.ts'

let it: TestApp
let server: Server
let home: string
let url: string
let warned: string[] = []

beforeEach(async () => {
	warned = []
	it = await openTestApp()
	server = createAdaptorServer({ fetch: it.app.fetch }) as Server
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
	url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
	home = await mkdtemp(join(tmpdir(), 'ringfence-cli-'))
})
afterEach(async () => {
	server.closeAllConnections()
	await new Promise((resolve) => server.close(resolve))
	await rm(home, { recursive: true })
})

test('lists are shown as tables, hostile names harmless', async () => {
	const agent = await joinAgent(it.fleet, 'n1', ['10.0.0.1/24'])
	await agent.report([workload('web', ['10.0.0.2/24'], { name: 'we\u001b[31mb' })])
	await agent.send(violation({ workload: 'web', peerAddress: '192.0.2.9' }))
	const workloads = await run('get', 'workloads')
	expect(workloads).toMatch(/^ID +NAME +GROUP +NODE/)
	expect(workloads).toContain('we\\u{1b}[31mb')
	expect(await run('get', 'nodes')).toMatch(/n1 +n1\.example +up +yes/)
	expect(await run('get', 'groups')).toMatch(/rf\.web\.shop +learned +discover +1/)
	expect(await run('get', 'events')).toMatch(/medium +violation +rf\.web\.shop +external/)
	for (const list of ['rules', 'conversations', 'webhooks']) {
		expect((await run('get', list)).split('\n')[0]).toMatch(/^[A-Z]/)
	}
})

test('lists are JSON for programs', async () => {
	const groups = JSON.parse(await run('get', 'groups', '-o', 'json'))
	expect(groups.map(({ name }: { name: string }) => name)).toEqual([
		'containers',
		'external',
		'nodes',
	])
	expect(JSON.parse(await run('get', 'groups', '-o', 'json', '-n', '2'))).toHaveLength(2)
})

test('status tells how far the policy has come', async () => {
	await joinAgent(it.fleet, 'n1')
	expect(await run('status')).toMatch(
		/^1 of 1 nodes up; new services discover\npolicy generation \d+: /,
	)
})

test('a group gets its mode', async () => {
	expect(await run('group', 'mode', 'nodes', 'protect')).toBe('nodes: protect\n')
	expect(await run('get', 'groups')).toMatch(/nodes +reserved +protect/)
})

test('rules come and go', async () => {
	const words = ['--from', 'nodes', '--to', 'external', '--app', 'http', '--app', 'tls']
	const [, first] = (await run('rule', 'add', ...words)).split(' ').map((word) => word.trim())
	await run(
		'rule',
		'add',
		'--from',
		'external',
		'--to',
		'nodes',
		'--action',
		'deny',
		'--before',
		first ?? '',
	)
	const table = (await run('get', 'rules')).split('\n')
	expect(table[1]).toMatch(/external +nodes +any +any +deny +user +yes/)
	expect(table[2]).toMatch(/nodes +external +http,tls +any +allow/)
	await run('rule', 'delete', first ?? '')
	expect((await run('get', 'rules')).split('\n')).toHaveLength(3)
})

test('a webhook is made and pinged', async () => {
	const made = await run('webhook', 'add', 'pager', 'https://pager.example/', '--kind', 'violation')
	expect(made).toMatch(/^webhook [a-z2-7]{16}\nsecret whsec_/)
	const id = made.split(/\s/)[1] ?? ''
	expect(await run('webhook', 'ping', id)).toMatch(/^delivery msg_/)
})

test('an enrolment token is shown', async () => {
	expect(await run('enroll-token', 'create', '--uses', '3')).toMatch(/^rft_\w+_[\w-]+\n$/)
})

test('a session is kept for later commands, for its owner only, and ends', async () => {
	const admin = await ensureAdmin(it.fleet, { passwordIterations: TEST_ITERATIONS })
	const env = { XDG_CONFIG_HOME: home }
	await runIn(env, ['--url', url, 'sign-in', 'admin'], admin?.password)
	const file = join(home, 'ringfence', 'config.json')
	expect((await stat(file)).mode & 0o777).toBe(0o600)
	expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({
		url,
		token: expect.stringMatching(/^rfs_/),
	})
	expect(await runIn(env, ['get', 'groups'])).toContain('nodes')
	await runIn(env, ['sign-out'])
	await expect(runIn(env, ['--url', url, 'get', 'groups'])).rejects.toMatchObject({ exitCode: 3 })
})

test('a kept token goes to no other controller', async () => {
	const admin = await ensureAdmin(it.fleet, { passwordIterations: TEST_ITERATIONS })
	const env = { XDG_CONFIG_HOME: home }
	await runIn(env, ['--url', url, 'sign-in', 'admin'], admin?.password)
	const other = url.replace('127.0.0.1', 'localhost')
	await expect(runIn(env, ['--url', other, 'get', 'groups'])).rejects.toMatchObject({ exitCode: 3 })
})

test.each([
	['without a key', ['get', 'groups'], '', 3],
	['without the role', ['get', 'webhooks'], 'viewer', 3],
	['for what is not there', ['rule', 'delete', '4711'], 'admin', 4],
	['for nonsense', ['rule', 'add', '--from', 'nobody', '--to', 'nodes'], 'admin', 2],
] as const)('the exit code %s says so', async (_, words, role, exitCode) => {
	const env = { RINGFENCE_URL: url, ...(role && { RINGFENCE_KEY: it.keys[role] }) }
	await expect(runIn({ ...env, XDG_CONFIG_HOME: home }, [...words])).rejects.toMatchObject({
		exitCode,
	})
})

test('the exit code says when nobody answers', async () => {
	const env = { RINGFENCE_URL: 'http://127.0.0.1:1', XDG_CONFIG_HOME: home }
	await expect(runIn(env, ['get', 'groups'])).rejects.toMatchObject({ exitCode: 6 })
})

test('a list that is cut short says so, beside its output', async () => {
	expect(JSON.parse(await run('get', 'groups', '-n', '3', '-o', 'json'))).toHaveLength(3)
	expect(warned).toEqual([])
	expect(JSON.parse(await run('get', 'groups', '-n', '2', '-o', 'json'))).toHaveLength(2)
	expect(warned).toEqual(['There are more than these 2; --limit shows them.'])
})

test.each([
	['get', 'groups', '-n', 'many'],
	['get', 'groups', '-n', '0'],
	['enroll-token', 'create', '--uses', '1.5'],
	['rule', 'add', '--from', 'nodes', '--to', 'external', '--before', 'first'],
])('what must be a number is refused before anything is sent: %s %s %s %s', async (...words) => {
	await expect(run(...words)).rejects.toMatchObject({ code: 'commander.invalidArgument' })
})

test('the exit code says when something else answers', async () => {
	const other = createServer((_, response) => response.end('<html>')).listen(0, '127.0.0.1')
	await once(other, 'listening')
	const { port } = other.address() as AddressInfo
	const env = { RINGFENCE_URL: `http://127.0.0.1:${port}`, XDG_CONFIG_HOME: home }
	await expect(runIn(env, ['get', 'groups'])).rejects.toMatchObject({ exitCode: 6 })
	other.close()
})

/** Runs a command as an admin's key. @returns what it wrote */
function run(...words: string[]): Promise<string> {
	const env = { RINGFENCE_URL: url, RINGFENCE_KEY: it.keys.admin, XDG_CONFIG_HOME: home }
	return runIn(env, words)
}

async function runIn(env: NodeJS.ProcessEnv, words: string[], secret = ''): Promise<string> {
	let written = ''
	const program = createProgram({
		env,
		write: (text) => {
			written += text
		},
		warn: (line) => void warned.push(line),
		askSecret: async () => secret,
	})
	program.commands.forEach(silence)
	await program.parseAsync(words, { from: 'user' })
	return written
}

/** Commander tells a mistake to the person, too. */
function silence(command: Command): void {
	command.configureOutput({ writeErr: () => {} })
	command.commands.forEach(silence)
}
