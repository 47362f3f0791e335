import { connect as connectTcp } from 'node:net'
import { decodeMessage } from '@ringfence/shared/contract/codec'
import {
	commandResultSchema,
	documentStatusSchema,
	helloSchema,
	presenceSchema,
	workloadsReportSchema,
} from '@ringfence/shared/contract/messages'
import { telemetryBatchSchema } from '@ringfence/shared/contract/telemetry'
import { agentTopics, controllerTopics } from '@ringfence/shared/contract/topics'
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Controller, startController } from '../harness/controller.ts'
import { openSandbox } from '../harness/sandbox.ts'
import { pause, waitFor } from '../harness/wait.ts'
import {
	batch,
	conversation,
	enrolNode,
	type FleetNode,
	tryPublish,
	workload,
} from './fleet-node.ts'
import { damaged, HOSTILE_TEXTS } from './hostile-payloads.ts'
import { peakRssMib } from './memory.ts'
import { createRandom, flipBytes, SEED } from './random.ts'

const PEAK_MIB_MAX = 600
/** Below what the controller lets wait for one sender. */
const ROUND = 40
const AT = 1_790_000_000_000
const FACTS = {
	hostname: 'h1',
	os: 'Debian 12',
	kernel: '6.18',
	arch: 'x64',
	agentVersion: '0.1.0',
	interfaces: [],
	canCapture: true,
}
const HELLO = { v: 1, boot: 'b1', startedAt: AT, facts: FACTS, applied: [] }

describe(`a controller under hostile messages [seed ${SEED}]`, () => {
	const sandbox = openSandbox()
	const random = createRandom(40)
	let controller: Controller
	let honest: FleetNode
	let hostile: FleetNode
	let client: MqttClient
	let honestClient: MqttClient
	let isDone = false
	let honestBatches = 0
	let honestWork: Promise<void>
	/** Messages of the hostile node that nobody can read. */
	let unreadable = 0

	beforeAll(async () => {
		controller = await startController(sandbox)
		honest = await enrolNode(controller, 'honest')
		hostile = await enrolNode(controller, 'hostile')
		client = await hostile.connect()
		honestClient = await honest.connect()
		await introduce(honest, honestClient, [workload('w-honest', '10.50.0.2')])
		await introduce(hostile, client, [workload('w-hostile', '10.51.0.2')])
		honestWork = workHonestly()
	})
	afterAll(async () => {
		isDone = true
		await honestWork
		for (const one of [client, honestClient]) one?.end(true)
		await sandbox.close()
	})

	async function introduce({ topics }: FleetNode, with_: MqttClient, list: readonly object[]) {
		await tryPublish(with_, topics.hello, JSON.stringify(HELLO))
		const report = { v: 1, boot: 'b1', revision: 1, at: AT, workloads: list }
		await tryPublish(with_, topics.workloads, JSON.stringify(report))
	}

	/** A batch of one session every 50 ms, each once more when it is not acknowledged within seconds. */
	async function workHonestly(): Promise<void> {
		let acked = 0
		await honestClient.subscribeAsync(honest.topics.downFilter, { qos: 1 })
		honestClient.on('message', (topic, payload) => {
			if (topic === honest.topics.ack) acked = JSON.parse(String(payload)).seq
		})
		while (!isDone) {
			const seq = honestBatches + 1
			const records = [conversation('w-honest', Date.now())]
			const bytes = await batch({ boot: 'honest', seq, records })
			await waitFor(`batch ${seq} to be acknowledged`, async () => {
				if (acked >= seq) return true
				await tryPublish(honestClient, honest.topics.telemetry, bytes)
				await waitFor('it', () => acked >= seq, 5000).catch(() => undefined)
				return acked >= seq
			})
			honestBatches = seq
			await pause(50)
		}
	}

	const nodeOf = (id: string) =>
		waitFor('the node', async () => {
			const nodes = await controller.api.list('nodes')
			return nodes.find((node) => node.id === id)
		})

	/** Sends no faster than one sender may, so that none is dropped, and counts what must be refused. */
	async function sendAll(
		topic: string,
		schema: Parameters<typeof decodeMessage>[0],
		payloads: readonly Buffer[],
	): Promise<void> {
		for (let at = 0; at < payloads.length; at += ROUND) {
			for (const payload of payloads.slice(at, at + ROUND)) {
				expect(await tryPublish(client, topic, payload)).toBe('taken')
				if (!(await decodeMessage(schema, payload)).ok) unreadable++
			}
			await waitFor(
				`${unreadable} refusals on ${topic}`,
				async () => (await nodeOf(hostile.node)).rejected >= unreadable,
			)
		}
	}

	const channels = [
		{ name: 'hello', schema: helloSchema, good: HELLO },
		{
			name: 'workloads',
			schema: workloadsReportSchema,
			good: {
				v: 1,
				boot: 'b1',
				revision: 2,
				at: AT,
				workloads: [workload('w-hostile', '10.51.0.2')],
			},
		},
		{
			name: 'telemetry',
			schema: telemetryBatchSchema,
			good: {
				...{ v: 1, boot: 'junk', seq: 1, floor: 1, at: AT },
				records: [{ kind: 'counters', at: AT, counters: { frames: 1 } }],
			},
		},
		{ name: 'result', schema: commandResultSchema, good: { v: 1, id: 'c1', ok: true, at: AT } },
		...(['policy', 'addresses'] as const).map((document) => ({
			name: `status/${document}`,
			schema: documentStatusSchema.refine((status) => status.document === document),
			good: {
				...{ v: 1, boot: 'b1', document, epoch: 1, generation: 1 },
				...{ state: 'applied', at: AT },
			},
		})),
		{ name: 'presence', schema: presenceSchema, good: { v: 1, boot: 'b1', isUp: true, at: AT } },
	]

	test.each(channels)('each damaged message on $name is refused and counted', async (channel) => {
		const { topics } = hostile
		const topic =
			channel.name === 'presence' ? topics.presence : topics.hello.replace(/hello$/, channel.name)
		const before = unreadable
		await sendAll(topic, channel.schema, damaged(random, channel.good))
		expect(unreadable - before).toBeGreaterThan(35)
		expect((await nodeOf(hostile.node)).rejected).toBe(unreadable)
		const events = await controller.api.list('events', 'kind=agent')
		const reasons = events.filter(({ name }) => name === 'message rejected').map(({ why }) => why)
		expect(reasons.some((why) => why.startsWith(`${channel.name}: `))).toBe(true)
	})

	test('what reads well and is not so takes nothing from the honest node', async () => {
		const stolen = [
			workload('w-honest', '10.51.0.3'),
			workload('w-thief', '10.50.0.2'),
			...HOSTILE_TEXTS.map((text, index) =>
				workload(`w-${index}`, `10.51.1.${index + 1}`, {
					...{ name: text, service: text, domain: text, image: text },
					labels: { [text]: text },
				}),
			),
		]
		const report = { v: 1, boot: 'b1', revision: 2 ** 53 - 1, at: 8.64e15, workloads: stolen }
		await tryPublish(client, hostile.topics.workloads, JSON.stringify(report))
		await waitFor('the names', async () => {
			const workloads = await controller.api.list('workloads')
			return workloads.some(({ name }) => name === HOSTILE_TEXTS[0])
		})
		const workloads = await controller.api.list('workloads')
		const names = workloads.map(({ name }) => name)
		const readable = HOSTILE_TEXTS.map((text) => text.replaceAll('\0', '\ufffd'))
		expect(names).toEqual(expect.arrayContaining(readable))
		expect(workloads.find(({ id }) => id === 'w-honest')).toMatchObject({
			nodeId: honest.node,
			name: 'w-honest',
		})
		await controller.api.list('groups')
	})

	test('batches that are replayed, from the future, of others and far ahead are taken once or not at all', async () => {
		const { topics } = hostile
		const future = { ...conversation('w-hostile', 8.64e15), host: HOSTILE_TEXTS[1] }
		const records = [
			future,
			conversation('w-honest', Date.now()),
			{
				kind: 'agent',
				name: HOSTILE_TEXTS[1],
				severity: 'low',
				message: 'x',
				count: 1,
				at: 8.64e15,
			},
			{ kind: 'counters', at: 0, counters: { __proto__: 1, ['x'.repeat(64)]: 2 ** 53 - 1 } },
		]
		const replayed = await batch({ boot: 'replay', seq: 1, records })
		for (let i = 0; i < ROUND; i++) await tryPublish(client, topics.telemetry, replayed)
		for (const seq of [2 ** 53 - 1, 7, 2 ** 53 - 2, 1]) {
			const bytes = await batch({ boot: 'far', seq, floor: seq, records: [future] })
			await tryPublish(client, topics.telemetry, bytes)
		}
		const [lost, refused] = await waitFor('the events of it', async () => {
			const events = await controller.api.list('events', 'kind=agent')
			const of = (name: string) => events.find((event) => event.name === name)
			const found = [of('telemetry lost'), of('records refused')] as const
			return found[0] && found[1] ? found : undefined
		})
		expect(lost?.count).toBe(2 ** 53 - 2)
		expect(refused?.count).toBe(1)
		const conversations = await controller.api.list('conversations')
		const its = conversations.find(({ client: end }) => end.name === 'w-hostile')
		expect(its?.sessions).toBe(2)
		for (const event of await controller.api.list('events')) {
			expect(event.at).toBeLessThanOrEqual(Date.now() + 1000)
		}
	})

	test('topics of others are closed to it, and each attempt ends its connection', async () => {
		const down = honest.topics
		const { state } = controllerTopics(hostile.cluster)
		const others = [
			...[down.telemetry, down.hello, down.workloads, down.presence, down.status('policy')],
			...[down.ack, down.command, down.head('policy'), down.shard('policy', 0), state],
			...[hostile.topics.ack, hostile.topics.head('policy'), hostile.topics.shard('addresses', 3)],
			...['$SYS/x', 'x', agentTopics('other', hostile.node).hello, `${hostile.topics.hello}/x`],
			...[agentTopics(hostile.cluster, '..').hello, `${hostile.topics.presence}/`],
		]
		client.end(true)
		for (const topic of others) {
			const one = await hostile.connect()
			const junk = JSON.stringify({ v: 1, boot: 'b1', isUp: false, at: AT })
			expect(await tryPublish(one, topic, junk, true), topic).toBe('refused')
			one.end(true)
		}
		client = await hostile.connect()
		const filters = [
			'#',
			'+/#',
			'$SYS/#',
			'$share/g/#',
			down.downFilter,
			down.telemetry,
			down.presence,
		]
		for (const filter of filters) {
			const grants = await client.subscribeAsync(filter, { qos: 1 }).catch(() => [{ qos: 128 }])
			expect(grants[0]?.qos, filter).toBe(128)
		}
		expect(controller.program().output()).toMatch(/broker refused.*forbidden-publish/)
		expect(controller.program().output()).toMatch(/broker refused.*forbidden-subscribe/)
	})

	test('strangers, bad packets and packets that are too large end their own connection only', async () => {
		const connectPacket = Buffer.from('101000044d5154540402003c000461626364', 'hex')
		const packets = [
			...Array.from({ length: 100 }, () => random.bytes(1 + random.below(300))),
			...Array.from({ length: 100 }, () => flipBytes(random, connectPacket, { count: 2 })),
			Buffer.from('10ffffffff7f', 'hex'),
			Buffer.from('10ffffff7f', 'hex'),
			Buffer.alloc(100_000, 0x10),
		]
		await Promise.all(packets.map((bytes) => knock(controller.brokerPort, bytes)))
		const one = await hostile.connect()
		const large = Buffer.alloc(1024 * 1024 + 8192, 0x20)
		expect(await tryPublish(one, hostile.topics.hello, large)).toBe('refused')
		one.end(true)
		expect(controller.program().output()).toMatch(/broker refused.*too-large/)
		expect(controller.program().output()).toMatch(/broker refused.*not-connect/)
		client.end(true)
		client = await hostile.connect()
	})

	test('a flood is dropped from its own queue, and said', async () => {
		const junk = Buffer.from('{"v":1}')
		await Promise.all(
			Array.from({ length: 3000 }, () => tryPublish(client, hostile.topics.telemetry, junk)),
		)
		await waitFor('the drops to be told', () =>
			controller.program().output().includes('reason=dropped'),
		)
	})

	test('all that time the honest node was counted exactly, and the controller is sound', async () => {
		isDone = true
		await honestWork
		expect(honestBatches).toBeGreaterThan(20)
		const conversations = await controller.api.list('conversations')
		const its = conversations.find(({ client: end }) => end.name === 'w-honest')
		expect(its).toMatchObject({ sessions: honestBatches, application: 'http' })
		const node = await nodeOf(honest.node)
		expect(node).toMatchObject({ isUp: true, rejected: 0, name: 'honest' })
		expect(node.facts?.hostname).toBe('h1')
		const program = controller.program()
		expect(program.isRunning()).toBe(true)
		expect(program.output()).not.toMatch(/a bug|^\s+at |not taken/m)
		expect(program.output()).not.toMatch(/[^\P{Cc}\n]/u)
		const peak = peakRssMib(program.child.pid)
		expect(peak).toBeGreaterThan(0)
		expect(peak).toBeLessThan(PEAK_MIB_MAX)
	})
})

/** Sends bytes to a port and waits for the end of the connection, for a moment. */
function knock(port: number, bytes: Uint8Array): Promise<void> {
	return new Promise((resolve) => {
		const socket = connectTcp(port, '127.0.0.1', () => socket.write(bytes))
		const timer = setTimeout(() => socket.destroy(), 500)
		socket.on('data', () => undefined)
		socket.on('error', () => undefined)
		socket.on('close', () => {
			clearTimeout(timer)
			resolve()
		})
	})
}
