import { join } from 'node:path'
import type { Mode } from '@ringfence/shared/contract/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Agent, startAgent } from '../harness/agent.ts'
import { type Controller, startController } from '../harness/controller.ts'
import { type Mosquitto, startMosquitto } from '../harness/mosquitto.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox, type Program, ROOT } from '../harness/sandbox.ts'
import { startServers } from '../harness/servers.ts'
import { pause, waitFor } from '../harness/wait.ts'

const PROGRAMS = ['nginx', 'redis-server', 'dnsmasq', 'sshd', 'openssl', 'mosquitto', 'curl']
const CONNECTIONS = 200
const INTERVAL_MS = 40

describeKernel('killed and restarted under traffic', PROGRAMS, () => {
	const sandbox = openSandbox()
	const bridge = { name: 'br', v4: '10.92.3', v6: 'fd92:3' }
	let mosquitto: Mosquitto
	let controller: Controller
	let agent: Agent
	let server: Host
	let client: Host
	let sshKey: string

	/** Sessions of the conversation that the chatter makes, as the controller counts them. */
	const sessions = async () => {
		const conversations = (await controller.api.list('conversations')).filter(
			({ serverPort }) => serverPort === 6379,
		)
		expect(conversations.length).toBeLessThanOrEqual(1)
		return conversations[0]?.sessions ?? 0
	}
	const talk = () => {
		const script = join(ROOT, 'test/harness/chatter.mjs')
		const args = [server.v4, '6379', String(CONNECTIONS), String(INTERVAL_MS)]
		return sandbox.run([process.execPath, script, ...args], { namespace: client.namespace })
	}
	const ended = (program: Program) => waitFor('the traffic to end', () => !program.isRunning())
	const setModes = async (mode: Mode) => {
		for (const group of (await controller.api.list('groups')).filter((one) => one.mode)) {
			await controller.api.patch(`groups/${encodeURIComponent(group.name)}`, { mode })
		}
		await waitFor('the policy', async () => {
			const [node] = await controller.api.list('nodes')
			return node?.documents.every(({ isCurrent }) => isCurrent)
		})
	}
	/** Lets `fault` happen in the middle of known traffic, and counts what arrived. */
	const countThrough = async (fault: () => Promise<void>) => {
		const before = await sessions()
		const traffic = talk()
		await waitFor('some traffic', () => traffic.output().split('\n').length > CONNECTIONS / 4)
		await fault()
		await ended(traffic)
		expect(traffic.output().trim().split('\n').at(-1)).toBe(String(CONNECTIONS))
		const expected = before + CONNECTIONS
		await waitFor('all sessions', async () => (await sessions()) >= expected).catch(() => {})
		await pause(2500)
		return { counted: await sessions(), expected }
	}

	beforeAll(async () => {
		sandbox.bridge(bridge)
		server = sandbox.attach({ name: 'server', bridge, host: 2 })
		client = sandbox.attach({ name: 'client', bridge, host: 3 })
		sshKey = (await startServers(sandbox, server)).sshKey
		mosquitto = await startMosquitto(sandbox, '127.0.0.1')
		controller = await startController(sandbox, { flags: mosquitto.controllerFlags })
		agent = startAgent(sandbox, { controller, name: 'restart' })
		await waitFor('both workloads', async () => {
			return (await controller.api.list('workloads')).length === 2
		})
	})
	afterAll(() => sandbox.close())

	test('the broker: no session is lost or counted twice', async () => {
		const { counted, expected } = await countThrough(() =>
			mosquitto.restart('SIGKILL', () => pause(1500)),
		)
		expect(counted).toBe(expected)
	})

	test('the controller: no session is lost or counted twice', async () => {
		const { counted, expected } = await countThrough(() => controller.restart('SIGKILL'))
		expect(counted).toBe(expected)
	})

	test('the agent, stopped: what it saw before is counted once, and nothing is seen twice', async () => {
		const before = await sessions()
		await ended(talk())
		await agent.restart('SIGTERM')
		await waitFor('the count', async () => (await sessions()) >= before + CONNECTIONS)
		await pause(2500)
		expect(await sessions()).toBe(before + CONNECTIONS)
	})

	test('the agent, killed under traffic: loses at most what it had not yet written down', async () => {
		const before = await sessions()
		const traffic = talk()
		await waitFor('some traffic', () => traffic.output().split('\n').length > CONNECTIONS / 4)
		const rulesBefore = await controller.api.list('rules')
		await agent.restart('SIGKILL')
		await ended(traffic)
		await pause(3000)
		const counted = (await sessions()) - before
		expect(counted).toBeLessThanOrEqual(CONNECTIONS)
		expect(counted).toBeGreaterThan(CONNECTIONS / 2)
		expect(await controller.api.list('rules')).toEqual(rulesBefore)
		expect((await controller.api.list('nodes')).length).toBe(1)
	})

	test('a connection that outlives the agent teaches and alarms nothing new', async () => {
		const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes']
		const flags = options.flatMap((option) => ['-o', option])
		const script = 'for i in $(seq 300); do echo $i; sleep 0.1; done'
		const ssh = sandbox.run(['ssh', ...flags, '-i', sshKey, `root@${server.v4}`, script], {
			namespace: client.namespace,
		})
		const ruleTexts = async () =>
			(await controller.api.list('rules')).map(
				({ applications, ports }) => `${applications} ${ports}`,
			)
		await waitFor('the lesson', async () => (await ruleTexts()).join().includes('ssh'))
		const before = await ruleTexts()
		await agent.restart('SIGTERM')
		await pause(6000)
		expect(await ruleTexts()).toEqual(before)
		await setModes('monitor')
		await agent.restart('SIGKILL')
		await pause(6000)
		expect(ssh.isRunning()).toBe(true)
		expect(await controller.api.list('events', 'kind=violation')).toEqual([])
		expect(await ruleTexts()).toEqual(before)
		await ssh.stop()
	})

	test('violations through a killed controller arrive once each', async () => {
		await setModes('monitor')
		await controller.stop('SIGKILL')
		const ports = [80, 443, 53, 8080]
		for (const port of ports) {
			sandbox.call(['sh', '-c', `curl -m 1 -s http://${server.v4}:${port}/ || true`], {
				namespace: client.namespace,
			})
		}
		await pause(1500)
		await controller.start()
		const events = () => controller.api.list('events', 'kind=violation')
		await waitFor('all violations', async () => (await events()).length >= ports.length)
		await pause(2500)
		const seen = (await events()).map(({ serverPort, count }) => ({ serverPort, count }))
		expect(seen.sort((a, b) => (b.serverPort ?? 0) - (a.serverPort ?? 0))).toEqual([
			{ serverPort: 8080, count: 1 },
			{ serverPort: 443, count: 1 },
			{ serverPort: 80, count: 1 },
			{ serverPort: 53, count: 1 },
		])
	})
})
