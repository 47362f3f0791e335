import { agentTopics, controllerTopics, DOCUMENTS } from '@ringfence/shared/contract/topics'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type EmbeddedBroker, startEmbeddedBroker } from './embedded-broker.ts'
import {
	type Account,
	collect,
	connectAs,
	connectPacket,
	endAll,
	eventually,
	openSocket,
	quiet,
	refusalOf,
	subscribePacket,
	tryPublish,
	trySubscribe,
	untilClosed,
} from './test-clients.ts'

const CLUSTER = 'c1'
const A = agentTopics(CLUSTER, 'n-a')
const B = agentTopics(CLUSTER, 'n-b')
const CTL = controllerTopics(CLUSTER)
const NODE_A = { clientId: 'n-a', username: 'n-a', password: 'secret of n-a' }
const NODE_B = { clientId: 'n-b', username: 'n-b', password: 'secret of n-b' }

let broker: EmbeddedBroker
beforeEach(async () => {
	broker = await start()
})
afterEach(async () => {
	endAll()
	await broker.close()
})

describe('who may connect', () => {
	it.each<[string, Account, number | undefined]>([
		['a node with its password', NODE_A, undefined],
		['a node with a wrong password', { ...NODE_A, password: 'no' }, 4],
		["a node with another's password", { ...NODE_A, password: NODE_B.password }, 4],
		['a node without a password', { clientId: 'n-a', username: 'n-a' }, 4],
		['nobody in particular', { clientId: 'x' }, 4],
		['a node that takes the client id of another', { ...NODE_A, clientId: 'n-b' }, 2],
		['a node without a client id', { ...NODE_A, clientId: '' }, 2],
		['a user name with a wildcard', { clientId: '+', username: '+', password: 'secret of +' }, 4],
		[
			'a user name with a slash',
			{ clientId: 'a/b', username: 'a/b', password: 'secret of a/b' },
			4,
		],
		[
			'a controller with a wrong password',
			{ clientId: 'x', username: '$controller', password: 'x' },
			4,
		],
	])('%s', async (_name, account, code) => {
		expect(await refusalOf(broker.port, account)).toBe(code)
	})

	it('refuses with "server unavailable" when passwords cannot be checked', async () => {
		expect(
			await refusalOf(broker.port, { clientId: 'n-broken', username: 'n-broken', password: '' }),
		).toBe(3)
	})

	it('refuses a client without a keep-alive, which would never be missed', async () => {
		await expect(connectAs(broker.port, NODE_A, { keepalive: 0 })).rejects.toThrow()
		await eventually(() => expect(broker.counters()).toEqual({ keepalive: 1 }))
	})

	it('gives a node that connects again the place of its old connection, and nobody else', async () => {
		const controller = await connectController()
		const arrived = collect(controller)
		await controller.subscribeAsync(CTL.presenceFilter, { qos: 1 })
		const will = { topic: A.presence, payload: Buffer.from('down'), qos: 1 as const, retain: true }
		const first = await connectAs(broker.port, NODE_A, { will })
		const other = await connectAs(broker.port, NODE_B)
		const second = await connectAs(broker.port, NODE_A)
		await untilClosed(first)
		await eventually(() => expect(arrived).toEqual([{ topic: A.presence, text: 'down' }]))
		expect(await tryPublish(second, A.hello)).toBe('taken')
		expect(other.connected).toBe(true)
		expect(second.connected).toBe(true)
	})

	it('keeps no session, and so no queue, for a node that is away', async () => {
		const before = await connectAs(broker.port, NODE_A, { clean: false })
		await before.subscribeAsync(A.downFilter, { qos: 1 })
		await before.endAsync()
		const controller = await connectController()
		await tryPublish(controller, A.command)
		const after = await connectAs(broker.port, NODE_A, { clean: false })
		const arrived = collect(after)
		await after.subscribeAsync(A.downFilter, { qos: 1 })
		await tryPublish(controller, A.ack)
		await eventually(() => expect(arrived.map(({ topic }) => topic)).toEqual([A.ack]))
	})

	it('ends the connection of a node whose account is revoked', async () => {
		const node = await connectAs(broker.port, NODE_A)
		await broker.accounts.revoke('n-a')
		await untilClosed(node)
		expect(broker.counters()).toEqual({ revoked: 1 })
	})
})

const NODE_WRITES = [
	A.hello,
	A.workloads,
	A.telemetry,
	A.result,
	A.presence,
	...DOCUMENTS.map(A.status),
]
const NODE_READS = [
	CTL.state,
	A.ack,
	A.command,
	...DOCUMENTS.flatMap((d) => [A.head(d), A.shard(d, 0)]),
]
const OTHERS_TOPICS = [
	B.hello,
	B.telemetry,
	B.presence,
	B.status('policy'),
	B.ack,
	B.head('policy'),
]
const STRANGE = [
	`rf/v1/${CLUSTER}/agent/n-a/up`,
	`rf/v1/${CLUSTER}/agent/n-a/up/other`,
	`rf/v1/${CLUSTER}/agent/n-a/up/hello/more`,
	agentTopics('c2', 'n-a').hello,
	'rf/v1/c1/agent/n-a/down',
	'$SYS/broker/anything',
	'anything',
]

describe('what a node may publish', () => {
	it.each([...NODE_READS, ...OTHERS_TOPICS, ...STRANGE])('not %s', async (topic) => {
		const controller = await connectController()
		const arrived = collect(controller)
		await controller.subscribeAsync('#', { qos: 1 })
		const node = await connectAs(broker.port, NODE_A)
		expect(await tryPublish(node, topic)).toBe('refused')
		await tryPublish(controller, 'end')
		await eventually(() => expect(arrived).toEqual([{ topic: 'end', text: 'x' }]))
		expect(broker.counters()).toEqual({ 'forbidden-publish': 1 })
	})

	it('its own topics, which arrive at the controller', async () => {
		const controller = await connectController()
		const arrived = collect(controller)
		await controller.subscribeAsync([CTL.upFilter, CTL.presenceFilter], { qos: 1 })
		const node = await connectAs(broker.port, NODE_A)
		for (const topic of NODE_WRITES) expect(await tryPublish(node, topic)).toBe('taken')
		await eventually(() => expect(arrived.map(({ topic }) => topic)).toEqual(NODE_WRITES))
	})

	it.each([A.hello, A.telemetry])('nothing retained at %s', async (topic) => {
		const node = await connectAs(broker.port, NODE_A)
		expect(await tryPublish(node, topic, { retain: true })).toBe('refused')
	})

	it('its status and presence retained', async () => {
		const node = await connectAs(broker.port, NODE_A)
		expect(await tryPublish(node, A.presence, { retain: true })).toBe('taken')
		expect(await tryPublish(node, A.status('policy'), { retain: true })).toBe('taken')
		const controller = await connectController()
		const arrived = collect(controller)
		await controller.subscribeAsync('#', { qos: 1 })
		await eventually(() => expect(arrived).toHaveLength(2))
	})

	it('no will in the name of another', async () => {
		const controller = await connectController()
		const arrived = collect(controller)
		await controller.subscribeAsync('#', { qos: 1 })
		const will = { topic: B.presence, payload: Buffer.from('x'), qos: 1 as const, retain: true }
		const node = await connectAs(broker.port, NODE_A, { will })
		node.stream.destroy()
		await eventually(() => expect(broker.counters()).toEqual({ 'forbidden-publish': 1 }))
		await tryPublish(controller, 'end')
		await eventually(() => expect(arrived.map(({ topic }) => topic)).toEqual(['end']))
	})
})

describe('what a node may subscribe to', () => {
	it.each([A.downFilter, ...NODE_READS])('%s', async (filter) => {
		const node = await connectAs(broker.port, NODE_A)
		expect(await trySubscribe(node, filter)).toBe('taken')
	})

	it.each([
		'#',
		'+/#',
		'rf/#',
		'$SYS/#',
		'$share/g/#',
		`$share/g/${A.downFilter}`,
		CTL.upFilter,
		CTL.presenceFilter,
		'rf/v1/c1/agent/+/down/#',
		'rf/v1/c1/agent/n-a/#',
		'rf/v1/c1/+/state',
		A.hello,
		...OTHERS_TOPICS,
		B.downFilter,
	])('not %s', async (filter) => {
		const node = await connectAs(broker.port, NODE_A)
		expect(await trySubscribe(node, filter)).toBe('refused')
	})

	it('no more than thirty-two filters', async () => {
		const node = await connectAs(broker.port, NODE_A)
		const answers = []
		for (let i = 0; i < 40; i++) answers.push(await trySubscribe(node, `${A.ack}/${i}`))
		expect(answers.filter((answer) => answer === 'taken')).toHaveLength(32)
	})

	it('gets its own messages only, also those that were retained before', async () => {
		const controller = await connectController()
		for (const topic of [A.head('policy'), B.head('policy'), CTL.state]) {
			await tryPublish(controller, topic, { retain: true })
		}
		const node = await connectAs(broker.port, NODE_A)
		const arrived = collect(node)
		await node.subscribeAsync([A.downFilter, CTL.state], { qos: 1 })
		for (const topic of [B.ack, A.ack]) await tryPublish(controller, topic)
		const expected = [A.head('policy'), CTL.state, A.ack].sort()
		await eventually(() => expect(arrived.map(({ topic }) => topic).sort()).toEqual(expected))
	})
})

describe('hostile clients', () => {
	it('are cut when they announce a packet above the limit, before and after they are known', async () => {
		const stranger = await openSocket(broker.port)
		stranger.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]))
		await new Promise((resolve) => stranger.once('close', resolve))
		const node = await connectAs(broker.port, NODE_A)
		const payload = Buffer.alloc(1024 * 1024 + 8192)
		expect(await tryPublish(node, A.telemetry, { payload })).toBe('refused')
		expect(broker.counters()).toEqual({ 'too-large': 2 })
	})

	it('are let through with the largest payload that is allowed', async () => {
		const node = await connectAs(broker.port, NODE_A)
		const payload = Buffer.alloc(1024 * 1024)
		expect(await tryPublish(node, A.telemetry, { payload })).toBe('taken')
	})

	it('that never say who they are make room: the oldest of too many strangers goes', async () => {
		const sockets = []
		for (let i = 0; i < 258; i++) sockets.push(await openSocket(broker.port))
		await eventually(() => expect(broker.counters()).toEqual({ 'too-many-strangers': 2 }))
		expect(await refusalOf(broker.port, NODE_A)).toBeUndefined()
	})

	it('that stop reading are cut while others get their messages', async () => {
		const frozen = await openSocket(broker.port)
		frozen.write(Buffer.concat([connectPacket(NODE_A), subscribePacket(A.downFilter)]))
		await new Promise((resolve) => frozen.once('readable', resolve))
		frozen.pause()
		const healthy = await connectAs(broker.port, NODE_B)
		const arrived = collect(healthy)
		await healthy.subscribeAsync(B.downFilter, { qos: 1 })
		const controller = await connectController()
		const payload = Buffer.alloc(512 * 1024)
		for (let i = 0; i < 60; i++) {
			expect(await tryPublish(controller, A.command, { payload })).toBe('taken')
			expect(await tryPublish(controller, B.ack)).toBe('taken')
		}
		await eventually(() => expect(arrived).toHaveLength(60))
		expect(broker.counters()).toEqual({ 'slow-reader': 1 })
	})

	it('that send garbage are cut, and the broker serves on', async () => {
		const garbage = fc.oneof(
			fc.uint8Array({ maxLength: 400 }),
			fc.uint8Array({ maxLength: 60 }).map((tail) => mutate(connectPacket(NODE_A), tail)),
			fc
				.uint8Array({ maxLength: 200 })
				.map((tail) => Buffer.concat([connectPacket(NODE_A), Buffer.from(tail)])),
			fc.nat(40).map((length) => connectPacket(NODE_A).subarray(0, length)),
		)
		const sendAndLeave = async (bytes: Uint8Array) => {
			const socket = await openSocket(broker.port)
			socket.on('error', () => undefined).resume()
			const closed = new Promise((resolve) => socket.once('close', resolve))
			socket.end(bytes)
			await closed
		}
		await fc.assert(fc.asyncProperty(garbage, sendAndLeave), { numRuns: 600 })
		expect(await refusalOf(broker.port, NODE_B)).toBeUndefined()
		const counted = Object.values(broker.counters()).reduce((sum, count) => sum + count, 0)
		expect(counted).toBeGreaterThan(100)
	}, 20_000)
})

describe('a port that is taken', () => {
	it('is an error with its code', async () => {
		await expect(start(broker.port)).rejects.toMatchObject({ code: 'EADDRINUSE' })
	})
})

function start(port = 0): Promise<EmbeddedBroker> {
	return startEmbeddedBroker({
		host: '127.0.0.1',
		port,
		cluster: CLUSTER,
		checkPassword: async (node, password) => {
			if (node === 'n-broken') throw new Error('no database')
			return password === `secret of ${node}`
		},
		log: quiet,
		nowMs: Date.now,
	})
}

function connectController() {
	return connectAs(broker.port, { clientId: 'controller-1', ...broker.controller })
}

/** Overwrites some bytes behind the fixed header. */
function mutate(packet: Buffer, noise: Uint8Array): Buffer {
	for (let i = 0; i + 1 < noise.length; i += 2) {
		packet[2 + ((noise[i] ?? 0) % (packet.length - 2))] = noise[i + 1] ?? 0
	}
	return packet
}
