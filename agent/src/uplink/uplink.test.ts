import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentTopics } from '@ringfence/shared/contract/topics'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BROKERS, type TestBroker } from './testing/brokers.ts'
import { FakeController } from './testing/fake-controller.ts'
import {
	addressEntry,
	conversation,
	numbersOf,
	QUICK,
	type RecordingHandlers,
	recordingHandlers,
	rule,
	SETTINGS,
	violation,
	workload,
} from './testing/samples.ts'
import { PATIENT, until } from './testing/until.ts'
import { openUplink, type Uplink, type UplinkConfig } from './uplink.ts'

describe.each(BROKERS)('uplink over $name', PATIENT, ({ make }) => {
	let broker: TestBroker
	let controller: FakeController
	let stateDir: string
	const opened: Uplink[] = []

	beforeEach(async () => {
		broker = await make()
		await broker.start()
		controller = new FakeController(broker.url)
		await controller.listen()
		await controller.connect()
		stateDir = await mkdtemp(join(tmpdir(), 'rf-uplink-'))
	})

	afterEach(async () => {
		for (const uplink of opened.splice(0)) await uplink.stop()
		await controller.stop()
		await broker.kill()
		await rm(stateDir, { recursive: true, force: true })
		expect(controller.faults).toEqual([])
	})

	async function open(
		handlers: RecordingHandlers = recordingHandlers(),
		config: Partial<UplinkConfig> = {},
	): Promise<Uplink> {
		const uplink = await openUplink(
			{
				stateDir,
				controllerUrl: controller.url,
				token: controller.newToken(),
				name: 'host-1',
				timing: QUICK,
				...config,
			},
			handlers,
		)
		opened.push(uplink)
		return uplink
	}

	function taken(): number[] {
		return numbersOf(controller.records)
	}

	it('enrols once, greets with presence, hello and workloads, and says goodbye', async () => {
		const uplink = await open()
		expect(uplink.node).toBe('n1')
		uplink.reportWorkloads([workload('w1')])
		uplink.reportWorkloads([workload('w1'), workload('w2')])
		await until('workloads are reported', () => controller.reports.length > 0)
		expect(controller.hellos[0]?.facts.hostname).toBe('h1')
		const ids = controller.reports.at(-1)?.workloads.map(({ id }) => id)
		expect(ids).toEqual(['w1', 'w2'])
		expect(controller.presences.at(-1)?.isUp).toBe(true)
		uplink.reportFacts()
		await until('the facts are told again', () => controller.hellos.length === 2)
		await uplink.stop()
		await until('goodbye', () => controller.presences.at(-1)?.isUp === false)

		const again = await open()
		expect(again.node).toBe('n1')
		expect(controller.enrolments).toBe(1)
	})

	it('delivers records in order, each once, though acknowledgements are lost or come twice', async () => {
		let batches = 0
		controller.ackMode = () => {
			batches += 1
			if (batches % 3 === 1) return 'take-silently'
			return batches % 3 === 2 ? 'ack-twice' : 'ack'
		}
		const uplink = await open()
		for (let number = 1; number <= 1200; number++) uplink.send([conversation(number)])
		uplink.send([violation(1201)])
		await until('all is acknowledged', () => {
			const { batchesAcked = 0, spoolBatches } = uplink.counters()
			return batchesAcked >= 3 && spoolBatches === 0
		})
		expect(taken()).toEqual(Array.from({ length: 1201 }, (_, index) => index + 1))
		expect(uplink.counters()).toMatchObject({ recordsAcked: 1201, recordsPending: 0 })
		await uplink.stop()
		expect(await readdir(join(stateDir, 'spool'))).toEqual([])
	})

	it('keeps what arises while the broker is away, and finds it again by itself', async () => {
		const uplink = await open()
		uplink.send([conversation(1)])
		await until('the first is taken', () => taken().length === 1)
		await broker.kill()
		await until('the loss is noticed', () => uplink.counters()['isConnected'] === 0)
		for (let number = 2; number <= 50; number++) uplink.send([conversation(number)])
		await until('they are spooled', () => uplink.counters()['recordsPending'] === 0)
		await broker.start()
		await until('all is taken', () => taken().length >= 50)
		expect(taken()).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
		await until('hello again', () => controller.hellos.length >= 2)
		expect(uplink.counters()).toMatchObject({ reconnects: 1, connects: 2 })
	})

	it('greets a controller that starts anew, and sends again what the old one did not acknowledge', async () => {
		const uplink = await open(recordingHandlers(), {
			timing: { ...QUICK, resend: { firstMs: 60_000, maxMs: 60_000 } },
		})
		uplink.reportWorkloads([workload('w1')])
		await until('workloads are reported', () => controller.reports.length > 0)
		controller.ackMode = () => 'deaf'
		uplink.send([violation(1)])
		await until('it is sent', () => uplink.counters()['batchesSent'] === 1)
		const [hellos, reports] = [controller.hellos.length, controller.reports.length]
		await controller.kill()
		controller.ackMode = () => 'ack'
		await controller.restart()
		await until('the violation arrives', () => taken().length === 1)
		await until('hello again', () => controller.hellos.length > hellos)
		await until('workloads again', () => controller.reports.length > reports)
		const [before, after] = [controller.reports[0], controller.reports.at(-1)]
		expect(after?.revision).toBeGreaterThan(before?.revision ?? 0)
	})

	it('sends what earlier runs left under their own boot, before and beside its own', async () => {
		controller.ackMode = () => 'deaf'
		const first = await open()
		first.send([conversation(1)])
		await first.stop()
		const second = await open()
		second.send([conversation(2)])
		await second.stop()
		controller.ackMode = () => 'ack'
		const third = await open()
		third.send([conversation(3)])
		await until('all is taken', () => taken().length >= 3)
		await until('the spool is empty', () => third.counters()['spoolBatches'] === 0)
		expect(taken().sort()).toEqual([1, 2, 3])
		expect(taken().indexOf(1)).toBeLessThan(taken().indexOf(2))
		const boots = new Set(controller.batches.map(({ boot }) => boot))
		expect(boots.size).toBe(3)
		expect(controller.batches.map(({ seq }) => seq)).toEqual([1, 1, 1])
		expect(controller.batchesLost).toBe(0)
	})

	it('drops a batch that the controller can never take, tells so, and goes on', async () => {
		controller.ackMode = ({ seq }) => (seq === 1 ? 'reject' : 'ack')
		const handlers = recordingHandlers()
		const uplink = await open(handlers)
		uplink.send([violation(1), violation(2)])
		await until('it is refused', () => uplink.counters()['batchesRejected'] === 1)
		uplink.send([violation(3)])
		const announced = () => controller.records.find((record) => record.kind === 'agent')
		await until('the loss is announced', () => announced() !== undefined)
		await until('the next is taken', () => taken().length > 0)
		expect(announced()).toMatchObject({ name: 'telemetry-rejected', count: 2 })
		expect(taken()).toEqual([3])
		expect(handlers.lines.join()).toContain('the controller refuses a batch')
	})

	it('applies documents when both are whole, answers, and has them in force again at the next start', async () => {
		const handlers = recordingHandlers()
		const uplink = await open(handlers)
		const entries = [SETTINGS, ...Array.from({ length: 100 }, (_, index) => rule(index))]
		const policy = controller.sign(uplink.node, { name: 'policy', generation: 1, entries })
		await controller.publishDocument(uplink.node, policy)
		const addresses = controller.sign(uplink.node, {
			name: 'addresses',
			generation: 1,
			entries: [addressEntry(1), addressEntry(2)],
		})
		await controller.publishDocument(uplink.node, addresses)
		await until('both are answered', () => controller.statuses.length === 2)
		expect(handlers.applied).toHaveLength(1)
		expect(handlers.applied[0]?.policy.entries.size).toBe(101)
		expect(handlers.applied[0]?.addresses.entries.get('10.0.1.2/32')).toEqual(addressEntry(2))
		expect(controller.statuses.map(({ state }) => state)).toEqual(['applied', 'applied'])
		await uplink.stop()

		await broker.kill()
		const offline = recordingHandlers()
		await open(offline)
		expect(offline.applied).toHaveLength(1)
		expect(offline.applied[0]?.policy.entries).toEqual(handlers.applied[0]?.policy.entries)
		await broker.start()
		await until(
			'hello tells what is in force',
			() => controller.hellos.at(-1)?.applied.length === 2,
		)
	})

	it('refuses an older or forged head with a reason, and keeps the last good one', async () => {
		const handlers = recordingHandlers()
		const uplink = await open(handlers)
		const publish = async (generation: number, from = controller): Promise<void> => {
			const entries = [SETTINGS, rule(generation)]
			const policy = from.sign(uplink.node, { name: 'policy', generation, entries })
			await controller.publishDocument(uplink.node, policy)
		}
		const addresses = controller.sign(uplink.node, {
			name: 'addresses',
			generation: 1,
			entries: [],
		})
		await controller.publishDocument(uplink.node, addresses)
		await publish(5)
		await until('it is in force', () => handlers.applied.length === 1)
		await publish(4)
		await publish(6, new FakeController(broker.url))
		const rejected = () => controller.statuses.filter(({ state }) => state === 'rejected')
		await until('both are refused', () => rejected().length === 2)
		expect(rejected().map(({ generation }) => generation)).toEqual([4, 6])
		expect(rejected().map(({ why }) => why)).toEqual([
			'older than epoch 1, generation 5, which this node knows',
			'the signature is wrong',
		])
		await publish(7)
		await until('the next good one is in force', () => handlers.applied.length === 2)
		expect(handlers.applied[1]?.policy.generation).toBe(7)
		expect(uplink.counters()).toMatchObject({ rejectedRollback: 1, rejectedBadSignature: 1 })
	})

	it('asks for retained shards again when strays have crowded one out', async () => {
		const handlers = recordingHandlers()
		const uplink = await open(handlers)
		const topics = agentTopics('c1', uplink.node)
		const policy = controller.sign(uplink.node, {
			name: 'policy',
			generation: 1,
			shardCount: 1,
			entries: [SETTINGS],
		})
		const addresses = controller.sign(uplink.node, {
			name: 'addresses',
			generation: 1,
			entries: [],
		})
		await controller.publishDocument(uplink.node, addresses)
		await controller.publish(topics.shard('policy', 0), policy.shards[0] ?? '', true)
		for (let stray = 0; stray < 40; stray++) {
			await controller.publish(topics.shard('policy', 1), `stray ${stray}`)
		}
		await controller.publish(topics.head('policy'), JSON.stringify(policy.head), true)
		await until('it is in force', () => handlers.applied.length === 1)
		expect(uplink.counters()['documentsRefetched']).toBe(1)
	})

	it('carries out a command once, in time, and answers', async () => {
		const handlers = recordingHandlers()
		const uplink = await open(handlers)
		await until('hello', () => controller.hellos.length === 1)
		const command = { kind: 'log-level', level: 'debug' } as const
		await controller.command(uplink.node, 'a', command)
		await until('it is answered', () => controller.results.length === 1)
		await controller.command(uplink.node, 'a', command)
		await until('it is answered again', () => controller.results.length === 2)
		await controller.command(uplink.node, 'b', command, -1)
		await until('the late one is answered', () => controller.results.length === 3)
		await controller.command(uplink.node, 'c', { kind: 'resync' })
		await until('hello again', () => controller.hellos.length === 2)
		expect(handlers.commands).toEqual(['log-level'])
		expect(controller.results.slice(0, 3).map(({ ok }) => ok)).toEqual([true, true, false])
		expect(controller.results[2]?.why).toContain('expired')
	})

	it('counts hostile messages by kind, tells of them, and goes on', async () => {
		const handlers = recordingHandlers()
		const uplink = await open(handlers)
		await until('hello', () => controller.hellos.length === 1)
		const topics = agentTopics('c1', uplink.node)
		const noise = Uint8Array.from({ length: 500 }, (_, index) => (index * 7919) % 256)
		const { gzipSync } = await import('node:zlib')
		await controller.publish(topics.ack, noise)
		await controller.publish(topics.command, noise)
		await controller.publish(topics.command, gzipSync(Buffer.alloc(64 * 1024 * 1024)))
		await controller.publish(topics.head('policy'), JSON.stringify({ v: 2, body: 'x' }))
		await controller.publish(topics.head('policy'), '')
		await controller.publish(topics.shard('policy', 3), noise)
		await controller.publish(`${topics.shard('policy', 16)}`, noise)
		await controller.publish(topics.ack, JSON.stringify({ v: 1, boot: 'nobody', seq: 9 }))
		const own = controller.hellos[0]?.boot ?? ''
		await controller.publish(topics.ack, JSON.stringify({ v: 1, boot: own, seq: 9 }))
		await until('all are counted', () => (uplink.counters()['messagesRejected'] ?? 0) >= 7)
		expect(uplink.counters()).toMatchObject({
			rejectedMalformed: 3,
			rejectedTooLarge: 1,
			rejectedVersion: 1,
			rejectedUnexpectedTopic: 1,
			rejectedAckAhead: 1,
			acksStale: 1,
		})
		const reasons = () => controller.statuses.map(({ why }) => why).join()
		await until('the controller hears why', () => reasons().includes('contract version 2 is not 1'))
		expect(handlers.lines.filter((line) => line.startsWith('warn')).length).toBeGreaterThan(3)
		uplink.send([violation(1)])
		await until('telemetry goes on', () => taken().length === 1)
	})

	it('runs many uplinks in one process', async () => {
		const dirs = await Promise.all(
			Array.from({ length: 20 }, () => mkdtemp(join(tmpdir(), 'rf-uplink-many-'))),
		)
		const uplinks = await Promise.all(
			dirs.map((dir) => open(recordingHandlers(), { stateDir: dir })),
		)
		for (const [index, uplink] of uplinks.entries()) uplink.send([violation(index + 1)])
		await until('all have delivered', () => taken().length === 20)
		expect(new Set(uplinks.map(({ node }) => node)).size).toBe(20)
		await Promise.all(uplinks.map((uplink) => uplink.stop()))
		await Promise.all(dirs.map((dir) => rm(dir, { recursive: true })))
	})
})
