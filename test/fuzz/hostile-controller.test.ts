import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { agentTopics, controllerTopics } from '@ringfence/shared/contract/topics'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BROKERS, type TestBroker } from '../../agent/src/uplink/testing/brokers.ts'
import {
	FakeController,
	type SignedDocument,
	signDocument,
	signShards,
} from '../../agent/src/uplink/testing/fake-controller.ts'
import { addressEntry, rule, SETTINGS } from '../../agent/src/uplink/testing/samples.ts'
import { openSandbox, type Program, ROOT } from '../harness/sandbox.ts'
import { waitFor } from '../harness/wait.ts'
import { bombs, damaged } from './hostile-payloads.ts'
import { peakRssMib } from './memory.ts'
import { createRandom, SEED } from './random.ts'

const PEAK_MIB_MAX = 600
const CLUSTER = 'c1'
const NODE = 'n1'
const GOOD = 5

describe(`an agent whose broker is hostile [seed ${SEED}]`, () => {
	const sandbox = openSandbox()
	const random = createRandom(50)
	const topics = agentTopics(CLUSTER, NODE)
	let broker: TestBroker
	let controller: FakeController
	let agent: Program

	const start = () =>
		sandbox.run([
			...[process.execPath, join(ROOT, 'agent/dist/main.js'), 'run'],
			...['--state', join(sandbox.directory, 'agent'), '--name', NODE],
			...['--controller', controller.url],
			...['--token-file', sandbox.file('token', controller.newToken())],
			...['--netns-prefix', `${sandbox.prefix}-none-`],
			...['--labels-dir', sandbox.labelsDirectory],
		])
	const good = (generation: number) =>
		[
			controller.sign(NODE, { name: 'policy', generation, entries: [SETTINGS, rule(generation)] }),
			controller.sign(NODE, { name: 'addresses', generation, entries: [addressEntry(generation)] }),
		] as const
	const publish = async (documents: readonly SignedDocument[]) => {
		for (const document of documents) await controller.publishDocument(NODE, document)
	}
	const isApplied = (generation: number) => () =>
		(['policy', 'addresses'] as const).every((document) =>
			controller.statuses.some(
				(status) =>
					status.document === document &&
					status.generation === generation &&
					status.state === 'applied',
			),
		)
	/** What the agent says is in force, asked by a command that any honest controller may send. */
	async function applied(): Promise<Record<string, number>> {
		const heard = controller.hellos.length
		await controller.command(NODE, randomUUID(), { kind: 'resync' })
		await waitFor('a hello', () => controller.hellos.length > heard)
		const hello = controller.hellos.at(-1)
		return Object.fromEntries(hello?.applied.map((one) => [one.document, one.generation]) ?? [])
	}

	beforeAll(async () => {
		const [aedes] = BROKERS
		if (!aedes) throw new Error('no broker')
		broker = await aedes.make()
		await broker.start()
		controller = new FakeController(broker.url)
		await controller.listen()
		await controller.connect()
		agent = start()
		await waitFor('a hello', () => controller.hellos.length > 0)
		await publish(good(GOOD))
		await waitFor('the good policy', isApplied(GOOD))
	})
	afterAll(async () => {
		await sandbox.close()
		await controller.stop()
		await broker.kill()
	})

	test.each(forgeries())('refuses %s', async (_name, make) => {
		const before = controller.statuses.length
		await publish([make(controller)])
		expect(await applied()).toEqual({ policy: GOOD, addresses: GOOD })
		const its = controller.statuses.slice(before).filter(({ document }) => document === 'policy')
		expect(
			its.filter(({ state, generation }) => state === 'applied' && generation !== GOOD),
		).toEqual([])
	})

	test('refuses damaged messages on everything that it reads', async () => {
		const boot = 'b1'
		const messages: readonly (readonly [string, Record<string, unknown>])[] = [
			[topics.ack, { v: 1, boot, seq: 2 ** 50 }],
			[topics.command, { v: 1, id: 'c1', expiresAt: 1, command: { kind: 'resync' } }],
			[topics.head('policy'), { ...good(GOOD - 1)[0].head }],
			[topics.head('addresses'), { ...good(GOOD - 1)[1].head }],
			[topics.shard('policy', 0), { settings: SETTINGS }],
			[topics.shard('addresses', 15), {}],
			[controllerTopics(CLUSTER).state, { v: 1, boot, isUp: false, at: 1 }],
			[`${topics.ack}/more`, { v: 1 }],
			[topics.head('policy').replace('policy', '__proto__'), { v: 1 }],
			[topics.shard('policy', 99), { v: 1 }],
		]
		for (const [topic, message] of messages) {
			for (const payload of damaged(random, message)) await controller.publish(topic, payload)
		}
		expect(await applied()).toEqual({ policy: GOOD, addresses: GOOD })
	})

	test('refuses a document whose signed shards are bombs', async () => {
		for (const [index, bytes] of bombs(Buffer.from('{}')).slice(0, 9).entries()) {
			const generation = GOOD + 20 + index
			const document = { name: 'policy', generation, contents: [], bytes: [bytes] } as const
			await publish([signShards(controller.privateKey, NODE, document)])
			await waitFor('its refusal to be counted or told', async () => {
				const state = controller.statuses.findLast((one) => one.document === 'policy')
				return state?.state === 'rejected'
			})
		}
		expect(await applied()).toEqual({ policy: GOOD, addresses: GOOD })
	})

	test('survives more than it can read, and a packet of any size', async () => {
		const large = Buffer.alloc(6 * 1024 * 1024)
		await Promise.all(
			Array.from({ length: 3000 }, () => controller.publish(topics.ack, Buffer.from('x'))),
		)
		const heard = controller.hellos.length
		await controller.publish(topics.command, large)
		await waitFor('it to connect again', () => controller.hellos.length > heard)
		expect(await applied()).toEqual({ policy: GOOD, addresses: GOOD })
	})

	test('stays up, in bounded memory, and keeps to the contract', () => {
		expect(agent.isRunning()).toBe(true)
		expect(agent.output()).not.toMatch(/^\s+at /m)
		expect(agent.output()).not.toMatch(/[^\P{Cc}\n]/u)
		expect(controller.faults).toEqual([])
		const peak = peakRssMib(agent.child.pid)
		expect(peak).toBeGreaterThan(0)
		expect(peak).toBeLessThan(PEAK_MIB_MAX)
	})

	test('tells what it refused, by reason', { timeout: 30_000 }, async () => {
		const expected = ['Malformed', 'Version', 'BadSignature', 'WrongAddressee', 'Rollback']
		expected.push('BadShard', 'UnexpectedTopic', 'TooLarge', 'Overflow')
		const lacking = () => {
			const newest = controller.records.findLast(({ kind }) => kind === 'counters')
			const counters = newest?.kind === 'counters' ? newest.counters : {}
			return expected.filter((reason) => !(counters[`uplink.rejected${reason}`] ?? 0))
		}
		await waitFor('the counters', () => lacking().length === 0, 15_000).catch(() => undefined)
		expect(lacking()).toEqual([])
	})

	test('still takes what its controller signs, and keeps it over a kill', async () => {
		const next = GOOD + 100
		await publish(good(next))
		await waitFor('the next policy', isApplied(next))
		await agent.stop('SIGKILL')
		const heard = controller.hellos.length
		agent = start()
		await waitFor('a hello of the next run', () => controller.hellos.length > heard)
		expect(await applied()).toEqual({ policy: next, addresses: next })
	})
})

type Forgery = readonly [string, (controller: FakeController) => SignedDocument]

/** Heads and shards that are each wrong in one thing. */
function forgeries(): readonly Forgery[] {
	const entries = [SETTINGS, rule(99)]
	const stranger = generateKeyPairSync('ed25519').privateKey
	const policy = (controller: FakeController, more: object = {}) =>
		controller.sign(NODE, { name: 'policy', generation: GOOD + 1, entries, ...more })
	const withHead = (document: SignedDocument, more: object): SignedDocument => ({
		...document,
		head: { ...document.head, ...more },
	})
	const contents = Array.from({ length: 16 }, () => ({ 'rule:r99': rule(99) }))
	return [
		[
			'a stranger’s signature',
			() => signDocument(stranger, NODE, { name: 'policy', generation: GOOD + 1, entries }),
		],
		['no signature', (it) => withHead(policy(it), { signature: '' })],
		['another key', (it) => withHead(policy(it), { keyId: 'k2' })],
		[
			'a body that was changed',
			(it) =>
				withHead(policy(it), { body: policy(it).head.body.replace('"epoch":1', '"epoch":9') }),
		],
		[
			'another node’s policy',
			(it) => it.sign('n2', { name: 'policy', generation: GOOD + 1, entries }),
		],
		['another cluster’s policy', (it) => policy(it, { cluster: 'c2' })],
		['an older generation', (it) => policy(it, { generation: GOOD - 1 })],
		['an older epoch', (it) => policy(it, { epoch: 0, generation: GOOD + 50 })],
		['other content under the same number', (it) => policy(it, { generation: GOOD })],
		[
			'the address map as the policy',
			(it) => ({
				...it.sign(NODE, { name: 'addresses', generation: GOOD + 1, entries: [addressEntry(9)] }),
				name: 'policy',
			}),
		],
		[
			'entries in shards that are not theirs',
			(it) => signShards(it.privateKey, NODE, { name: 'policy', generation: GOOD + 1, contents }),
		],
		[
			'shards that are no JSON',
			(it) => {
				const bytes = [Buffer.from('junk'), gzipSync('junk')]
				const options = { name: 'policy', generation: GOOD + 2, contents: [], bytes } as const
				return signShards(it.privateKey, NODE, options)
			},
		],
		[
			'shards that nobody sent',
			(it) => {
				const document = policy(it, { generation: GOOD + 3, entries: [SETTINGS, rule(77)] })
				const shards = document.shards.map((shard) => createHash('sha256').update(shard).digest())
				return { ...document, shards }
			},
		],
	]
}
