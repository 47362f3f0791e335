import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Api, passwordIn, signIn } from '../harness/controller.ts'
import { describeKernel } from '../harness/requirements.ts'
import { freePort, ROOT } from '../harness/sandbox.ts'
import { waitFor } from '../harness/wait.ts'

describeKernel('npm start -- --demo', ['nginx', 'redis-server', 'ip', 'nsenter'], () => {
	const data = mkdtempSync(join(tmpdir(), 'ringfence-demo-'))
	const labels = join(data, 'labels')
	let output = ''
	let api: Api
	let child: ReturnType<typeof spawn>

	beforeAll(async () => {
		const port = await freePort()
		const flags = ['--demo', '--data', data, '--listen', `127.0.0.1:${port}`]
		const broker = ['--broker-listen', `127.0.0.1:${await freePort()}`]
		child = spawn('npm', ['start', '--', ...flags, ...broker], { cwd: ROOT, detached: true })
		for (const stream of [child.stdout, child.stderr]) {
			stream?.on('data', (bytes) => {
				output += String(bytes)
			})
		}
		const password = await waitFor('the password', () => passwordIn(output), 60_000)
		api = await waitFor('REST', () => signIn(`http://127.0.0.1:${port}`, password))
	})

	/** Ctrl-C reaches every process of the terminal's group. */
	const interrupt = async () => {
		const isOver = () => child.exitCode !== null || child.signalCode !== null
		if (child.pid !== undefined && !isOver()) process.kill(-child.pid, 'SIGINT')
		await waitFor('the end', isOver)
	}

	afterAll(async () => {
		await interrupt()
		rmSync(data, { recursive: true, force: true })
	})

	test('shows the three workloads within a minute', async () => {
		const names = await waitFor(
			'three workloads',
			async () => {
				const workloads = (await api.list('workloads')).filter(({ domain }) => domain === 'demo')
				return workloads.length >= 3 && workloads.map(({ name }) => name).sort()
			},
			60_000,
		)
		expect(names).toEqual(['demo-app', 'demo-cache', 'demo-web'])
	})

	test('learns exactly the rules of what talks', async () => {
		const expected = [
			'nodes > rf.web.demo: http at any',
			'rf.app.demo > rf.cache.demo: redis at any',
			'rf.web.demo > rf.app.demo: http at any',
		]
		const rules = async () =>
			(await api.list('rules'))
				.map((rule) => `${rule.from} > ${rule.to}: ${rule.applications} at ${rule.ports}`)
				.sort()
		await waitFor('three rules', async () => (await rules()).length >= expected.length, 60_000)
		expect(await rules()).toEqual(expected)
		await waitFor('conversations by a rule', async () => {
			const actions = (await api.list('conversations')).map(({ action }) => action)
			return actions.length === 3 && actions.every((action) => action === 'allow')
		})
		expect(await rules()).toEqual(expected)
	})

	test('shows the conversations with their applications', async () => {
		const conversations = (await api.list('conversations')).map(
			({ client, server, application }) => `${client.group} > ${server.group}: ${application}`,
		)
		expect(conversations.sort()).toEqual([
			'nodes > rf.web.demo: http',
			'rf.app.demo > rf.cache.demo: redis',
			'rf.web.demo > rf.app.demo: http',
		])
	})

	test('removes the demo at Ctrl-C', async () => {
		await interrupt()
		expect(leftovers()).toEqual([])
	})

	test('removes the demo when it is killed', async () => {
		const killed = await startDemo(labels)
		expect(leftovers()).not.toEqual([])
		killed.kill('SIGKILL')
		const next = await startDemo(labels)
		next.stdin?.end()
		await waitFor('nothing to be left', () => leftovers().length === 0)
	})
})

/** A demo by itself, as `npm start` runs it. */
async function startDemo(labels: string): Promise<ChildProcess> {
	const demo = spawn(process.execPath, [join(ROOT, 'infra/demo.mjs'), labels])
	let output = ''
	for (const stream of [demo.stdout, demo.stderr]) {
		stream.on('data', (bytes) => {
			output += String(bytes)
		})
	}
	await waitFor('the demo', () => {
		if (demo.exitCode !== null) throw new Error(output)
		return output.includes('demo: up')
	})
	return demo
}

/** What of a demo is on this machine. */
function leftovers(): string[] {
	const namespaces = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
	const links = execFileSync('ip', ['link'], { encoding: 'utf8' })
	return `${namespaces}${links}`.match(/demo-(web|app|cache)|rf-demo/g) ?? []
}
