import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Dataplane } from '../../agent/src/dataplane/dataplane.ts'
import type { EngineEvent } from '../../agent/src/engine/engine.ts'
import type { RuntimeEvent, WorkloadFacts } from '../../agent/src/runtime/driver.ts'
import { NetnsDriver } from '../../agent/src/runtime/netns-driver.ts'
import { describeKernel } from '../harness/requirements.ts'
import { openSandbox, ROOT } from '../harness/sandbox.ts'
import { pause, waitFor } from '../harness/wait.ts'

/** Where nobody listens. */
const PORT = 4711
const ENGINE = {
	sessionsMax: 4096,
	hasSessionEvents: false,
	hasConversationEvents: true,
	reportIntervalUs: 500_000,
}

describeKernel('workloads that are more than an end', [], () => {
	const sandbox = openSandbox()
	const left = { name: 'lb', v4: '10.98.1', v6: 'fd98:1' }
	const right = { name: 'rb', v4: '10.98.2', v6: 'fd98:2' }
	const stops: (() => Promise<void> | void)[] = []
	const ip = (...args: string[]) => sandbox.call(['ip', ...args])

	beforeAll(() => {
		execFileSync(process.execPath, [join(ROOT, 'infra/build.mjs')])
		sandbox.bridge(left)
		sandbox.bridge(right)
	})
	afterEach(async () => {
		for (const stop of stops.splice(0)) await stop()
	})
	afterAll(() => sandbox.close())

	/** A SYN that is answered by RST: nobody listens there. */
	const knock = (namespace: string, address: string) => {
		const script = `require('net').connect(${PORT}, '${address}').on('error', () => undefined)`
		sandbox.call([process.execPath, '-e', script], { namespace })
	}

	const follow = (prefix: string) => {
		const events: RuntimeEvent[] = []
		const labelsDirectory = sandbox.labelsDirectory
		const options = { node: 'n1', directory: '/run/netns', labelsDirectory, prefix }
		const driver = new NetnsDriver(options, (event) => events.push(event))
		stops.push(() => driver.stop())
		return { driver, events }
	}

	const watch = async (facts: WorkloadFacts) => {
		const seen: EngineEvent[] = []
		const workerUrl = pathToFileURL(join(ROOT, 'agent/dist/worker.js'))
		const dataplane = new Dataplane(
			{ workers: 1, ringBlocks: 16, workerUrl, engine: ENGINE },
			{ events: (list) => seen.push(...list), notice: () => undefined },
		)
		await dataplane.setWorkload({ ...facts, id: facts.workload.id })
		const end = async () => {
			await pause(200)
			await dataplane.stop()
			const conversations = seen.filter((event) => event.kind === 'conversation')
			return { conversations, counters: dataplane.counters() }
		}
		return end
	}

	test('a router has no part in the sessions that it forwards, and has its own', async () => {
		const router = sandbox.attach({ name: 'router', bridge: left, host: 9 })
		const host = sandbox.attach({ name: 'lhost', bridge: left, host: 2 })
		const far = `${sandbox.prefix}-far`
		sandbox.namespace('far')
		ip(
			'link',
			'add',
			'rt0',
			'netns',
			router.namespace,
			'type',
			'veth',
			'peer',
			'eth0',
			'netns',
			far,
		)
		ip('-n', router.namespace, 'addr', 'add', '10.98.3.1/24', 'dev', 'rt0')
		ip('-n', router.namespace, 'link', 'set', 'rt0', 'up')
		ip('-n', far, 'addr', 'add', '10.98.3.2/24', 'dev', 'eth0')
		ip('-n', far, 'link', 'set', 'eth0', 'up')
		ip('-n', far, 'route', 'replace', 'default', 'via', '10.98.3.1')
		ip('-n', host.namespace, 'route', 'add', '10.98.3.0/24', 'via', router.v4)
		const forwarding = (on: number) =>
			sandbox.call(['sysctl', '-qw', `net.ipv4.ip_forward=${on}`], { namespace: router.namespace })
		forwarding(0)
		const { driver, events } = follow(router.namespace)
		expect(driver.workloads()[0]?.ownAddresses).toBeUndefined()
		forwarding(1)
		await waitFor('the setting to be seen', () =>
			events.some(({ kind }) => kind === 'workload-changed'),
		)
		const [facts] = driver.workloads()
		expect(facts?.ownAddresses).toEqual(
			expect.arrayContaining([router.v4, '10.98.3.1', '127.0.0.1']),
		)
		if (!facts) return
		const end = await watch(facts)
		knock(host.namespace, '10.98.3.2')
		knock(host.namespace, '10.98.3.1')
		const { conversations, counters } = await end()
		expect(conversations).toMatchObject([
			{ side: 'server', peerAddress: host.v4, serverPort: PORT, sessions: 1 },
		])
		expect(counters['forwarded']).toBe(4)
	})

	test('sessions of an interface that stands upon another one are counted once', async () => {
		const { namespace } = sandbox.attach({ name: 'stacked', bridge: left, host: 20 })
		const host = sandbox.attach({ name: 'peer', bridge: left, host: 21 })
		ip('-n', namespace, 'link', 'add', 'br0', 'type', 'bridge')
		ip('-n', namespace, 'addr', 'flush', 'dev', 'eth0')
		ip('-n', namespace, 'link', 'set', 'eth0', 'master', 'br0')
		ip('-n', namespace, 'addr', 'add', '10.98.1.20/24', 'dev', 'br0')
		ip('-n', namespace, 'link', 'set', 'br0', 'up')
		const [facts] = follow(namespace).driver.workloads()
		expect(facts?.workload.interfaces.map(({ name }) => name).sort()).toEqual(['br0', 'eth0'])
		expect(facts?.interfaces.map(({ name }) => name)).toEqual(['br0'])
		if (!facts) return
		const end = await watch(facts)
		knock(namespace, host.v4)
		const { conversations } = await end()
		expect(conversations).toMatchObject([
			{ side: 'client', serverPort: PORT, sessions: 1, clientPackets: 1, serverPackets: 1 },
		])
	})

	test('a namespace with two names is one workload, and that is told once', async () => {
		const namespace = sandbox.namespace('twice')
		const second = `${namespace}2`
		writeFileSync(join('/run/netns', second), '')
		const paths = [namespace, second].map((name) => join('/run/netns', name))
		sandbox.call(['mount', '--bind', ...paths])
		try {
			const { driver, events } = follow(namespace)
			await pause(1300)
			expect(driver.workloads().map(({ workload }) => workload.name)).toEqual([namespace])
			expect(events.filter(({ kind }) => kind === 'problem')).toMatchObject([
				{ message: expect.stringContaining('second name') },
			])
		} finally {
			ip('netns', 'del', second)
		}
	})
})
