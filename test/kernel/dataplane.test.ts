import { execFileSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { AddressEntry, PolicyEntry } from '@ringfence/shared/contract/policy'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
	Dataplane,
	type DataplaneOptions,
	type Notice,
	type TapWorkload,
} from '../../agent/src/dataplane/dataplane.ts'
import type { EngineEvent } from '../../agent/src/engine/engine.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox, ROOT } from '../harness/sandbox.ts'
import { exchangeOnce, PORTS, startServers } from '../harness/servers.ts'
import { record } from '../harness/tcpdump.ts'
import { pause, waitFor } from '../harness/wait.ts'

const PROGRAMS = ['nginx', 'redis-server', 'dnsmasq', 'sshd', 'openssl', 'tcpdump', 'curl', 'dig']
const ENGINE = {
	sessionsMax: 4096,
	hasSessionEvents: false,
	hasConversationEvents: true,
	reportIntervalUs: 1_000_000,
}
const WORKER = pathToFileURL(join(ROOT, 'agent/dist/worker.js'))

type Conversation = EngineEvent & { kind: 'conversation' }

describeKernel('the data plane', PROGRAMS, () => {
	const sandbox = openSandbox()
	const bridge = { name: 'dp', v4: '10.97.1', v6: 'fd97:1' }
	const running: Dataplane[] = []
	let server: Host
	let client: Host

	beforeAll(async () => {
		execFileSync(process.execPath, [join(ROOT, 'infra/build.mjs')])
		sandbox.bridge(bridge)
		server = sandbox.attach({ name: 'server', bridge, host: 2 })
		client = sandbox.attach({ name: 'client', bridge, host: 3 })
		await startServers(sandbox, server)
	})
	afterEach(async () => {
		await Promise.all(running.splice(0).map((dataplane) => dataplane.stop()))
	})
	afterAll(() => sandbox.close())

	const start = (options: Partial<DataplaneOptions> = {}) => {
		const events: EngineEvent[] = []
		const notices: Notice[] = []
		const dataplane = new Dataplane(
			{ workers: 1, ringBlocks: 64, workerUrl: WORKER, engine: ENGINE, ...options },
			{
				events: (list) => events.push(...list),
				notice: (notice) => notices.push(notice),
			},
		)
		running.push(dataplane)
		const conversations = () => events.filter((event) => event.kind === 'conversation')
		return { dataplane, events, notices, conversations }
	}

	const workloadOf = ({ namespace }: Host, id: string): TapWorkload => {
		const text = sandbox.call(['ip', '-n', namespace, '-o', 'link', 'show', 'eth0'])
		const [, index = ''] = /^(\d+):/.exec(text) ?? []
		const [, mac = ''] = /link\/ether (\S+)/.exec(text) ?? []
		const eth0 = { name: 'eth0', index: Number(index), mac }
		return { id, namespace: join('/run/netns', namespace), interfaces: [eth0] }
	}

	test('counts each conversation as tcpdump does, over both families, for both ends on one thread', async () => {
		const { dataplane, conversations } = start()
		await dataplane.setWorkload(workloadOf(server, 'server'))
		await dataplane.setWorkload(workloadOf(client, 'client'))
		const recording = await record(sandbox, server.namespace)
		for (const address of [server.v4, server.v6]) exchangeOnce(sandbox, client, address)
		await pause(1300)
		const counts = await recording.count()
		await dataplane.stop()
		running.splice(0)
		for (const [application, port] of Object.entries(PORTS)) {
			for (const workload of ['server', 'client']) {
				const its = conversations().filter(
					(event) => event.workload === workload && event.serverPort === port,
				)
				expect(its.map((event) => event.application ?? application)).toContain(application)
				expect(sumOf(its)).toEqual({ sessions: 2, ...recorded(counts, server, port) })
			}
		}
	})

	test('a worker that dies is started again with its rings and its policy, and that is told', async () => {
		// The thread's first life ends when it first tells its counters: an injected fault, with rings open.
		const wrapper = sandbox.file(
			'worker.mjs',
			`import { existsSync, writeFileSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
const mark = ${JSON.stringify(join(sandbox.directory, 'died'))}
const post = parentPort.postMessage.bind(parentPort)
parentPort.postMessage = (report) => {
	if (report.kind === 'counters' && !existsSync(mark) && report.rings.length > 0) {
		writeFileSync(mark, '')
		throw new Error('injected')
	}
	post(report)
}
await import(${JSON.stringify(WORKER.href)})
`,
		)
		const { dataplane, notices, events } = start({ workerUrl: pathToFileURL(wrapper) })
		await dataplane.setWorkload(workloadOf(server, 'server'))
		const why = await dataplane.applyPolicy(monitorEverything('server'))
		expect(why).toBeUndefined()
		const notice = await waitFor('the restart', () =>
			notices.find(({ name }) => name === 'worker-restarted'),
		)
		expect(notice).toMatchObject({ severity: 'high' })
		expect(notice.message).toContain('injected')
		await dataplane.setWorkload(workloadOf(server, 'server'))
		sandbox.call(['redis-cli', '-h', server.v4, 'ping'], { namespace: client.namespace })
		const violation = await waitFor(
			'a violation by the policy from before',
			() => events.find((event) => event.kind === 'violation'),
			3000,
		)
		expect(violation).toMatchObject({ workload: 'server', side: 'server', serverPort: 6379 })
		expect(dataplane.counters()).toMatchObject({ workersRestarted: 1 })
	})

	test('a policy that contradicts itself is refused with its reason', async () => {
		const { dataplane } = start()
		const documents = monitorEverything('server')
		documents.policy.entries.delete('settings')
		const why = await dataplane.applyPolicy(documents)
		expect(why).toContain('no settings')
	})

	test('interfaces that come and go are followed; one that cannot be read is told once', async () => {
		const { dataplane, notices } = start()
		const workload = workloadOf(client, 'client')
		const ghost = { name: 'eth7', index: 77, mac: '02:00:00:00:00:07' }
		await dataplane.setWorkload({ ...workload, interfaces: [...workload.interfaces, ghost] })
		expect(notices.map(({ name }) => name)).toEqual(['tap-failed'])
		expect(notices[0]?.message).toContain('ENODEV')
		expect(packetSockets()).toBe(1)
		await dataplane.setWorkload({ ...workload, interfaces: [] })
		await waitFor('the ring to close', () => packetSockets() === 0, 3000)
		await dataplane.setWorkload(workload)
		expect(packetSockets()).toBe(1)
		dataplane.removeWorkload('client')
		await waitFor('the ring to close', () => packetSockets() === 0, 3000)
		const { ringPackets = 0 } = dataplane.counters()
		expect(ringPackets).toBeGreaterThanOrEqual(0)
	})

	test('leaves no descriptor behind', async () => {
		const before = readdirSync('/proc/self/fd').length
		const { dataplane } = start({ workers: 2 })
		await dataplane.setWorkload(workloadOf(server, 'server'))
		await dataplane.setWorkload(workloadOf(client, 'client'))
		await dataplane.stop()
		running.splice(0)
		await waitFor('all descriptors', () => readdirSync('/proc/self/fd').length <= before, 3000)
	})
})

/** AF_PACKET sockets of this process: those that are no socket of another family. */
function packetSockets(): number {
	const links = readdirSync('/proc/self/fd').flatMap((fd) => {
		try {
			return readlinkSync(`/proc/self/fd/${fd}`)
		} catch {
			return []
		}
	})
	const maps = execFileSync('cat', [`/proc/${process.pid}/maps`], { encoding: 'utf8' })
	const rings = maps.split('\n').filter((line) => line.includes('socket:['))
	expect(links.length).toBeGreaterThan(0)
	return rings.length
}

/** One group in monitor, and no rule: everything that reaches the server is a violation. */
function monitorEverything(id: string) {
	const version = { epoch: 1, generation: 1 }
	const name = 'rf.server.default'
	const entries = new Map<string, PolicyEntry>([
		['settings', { kind: 'settings', newServiceMode: 'monitor', fleetNetworks: [] }],
		[`group:${name}`, { kind: 'group', name, mode: 'monitor' }],
	])
	const network = '10.97.1.2/32'
	const address: AddressEntry = { network, kind: 'workload', id, groups: [name] }
	return {
		policy: { ...version, entries },
		addresses: { ...version, entries: new Map([[network, address]]) },
	}
}

function sumOf(conversations: readonly Conversation[]) {
	const sum = { sessions: 0, clientPackets: 0, clientBytes: 0, serverPackets: 0, serverBytes: 0 }
	for (const event of conversations) {
		sum.sessions += event.sessions
		sum.clientPackets += event.clientPackets
		sum.clientBytes += event.clientBytes
		sum.serverPackets += event.serverPackets
		sum.serverBytes += event.serverBytes
	}
	return sum
}

/** What tcpdump saw to and from a port of the server, over both families. */
function recorded(
	counts: ReadonlyMap<string, { packets: number; bytes: number }>,
	server: Host,
	port: number,
) {
	const ends = [`${server.v4}.${port}`, `${server.v6}.${port}`]
	const sum = { clientPackets: 0, clientBytes: 0, serverPackets: 0, serverBytes: 0 }
	for (const [key, { packets, bytes }] of counts) {
		const [from = '', to = ''] = key.split(' > ')
		if (ends.includes(to)) {
			sum.clientPackets += packets
			sum.clientBytes += bytes
		} else if (ends.includes(from)) {
			sum.serverPackets += packets
			sum.serverBytes += bytes
		}
	}
	return sum
}
