import { agentTopics, controllerTopics, DOCUMENTS } from '@ringfence/shared/contract/topics'
import type { MqttClient } from 'mqtt'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type RunningBus, startBus } from './bus.ts'
import { createMosquittoAccounts, type MosquittoAccounts } from './mosquitto-accounts.ts'
import {
	type Account,
	collect,
	connectAs,
	endAll,
	eventually,
	quiet,
	refusalOf,
	tryPublish,
	trySubscribe,
	untilClosed,
} from './test-clients.ts'
import { hasMosquitto, type Mosquitto, startMosquitto } from './test-mosquitto.ts'

const CLUSTER = 'c1'
const A = agentTopics(CLUSTER, 'n-a')
const B = agentTopics(CLUSTER, 'n-b')
const CTL = controllerTopics(CLUSTER)
const BAD_CREDENTIALS = [5, 135]

describe.skipIf(!hasMosquitto)('accounts at Mosquitto (needs mosquitto)', () => {
	let broker: Mosquitto
	let bus: RunningBus
	let accounts: MosquittoAccounts

	beforeAll(async () => {
		broker = await startMosquitto()
		accounts = createMosquittoAccounts({ bus: () => bus, cluster: CLUSTER, ownName: 'controller' })
		bus = startBus({
			url: `mqtt://127.0.0.1:${broker.port}`,
			username: 'controller',
			password: broker.password,
			clientId: 'controller-test',
			version: 'auto',
			cluster: CLUSTER,
			filters: accounts.filters,
			clock: { now: Date.now },
			log: quiet,
			onMessage: (message) => accounts.accept(message),
			onConnected: () => undefined,
			newBoot: () => 'b1',
		})
		for (const node of ['n-a', 'n-b']) await accounts.provision(node, `secret of ${node}`)
	})
	afterEach(endAll)
	afterAll(async () => {
		await bus.stop()
		await broker.stop()
	})

	const nodeA = (options = {}) => connect(account('n-a'), options)
	const connect = (who: Account, options = {}) =>
		connectAs(broker.port, who, { protocolVersion: 5, ...options })
	const controller = () =>
		connect({ clientId: 'test', username: 'controller', password: broker.password })

	it('let a node in by its password and its own client id only', async () => {
		expect(await refusalOf(broker.port, account('n-a'))).toBeUndefined()
		const bad = [
			{ ...account('n-a'), password: 'secret of n-b' },
			{ ...account('n-a'), clientId: 'n-b' },
			{ ...account('n-a'), clientId: 'controller-test' },
			account('n-unknown'),
			{ clientId: 'nobody' },
		]
		for (const who of bad) expect(BAD_CREDENTIALS).toContain(await refusalOf(broker.port, who))
		expect(bus.isConnected()).toBe(true)
	})

	it('let a node publish its own topics, and no other', async () => {
		const eyes = await controller()
		const arrived = collect(eyes)
		await eyes.subscribeAsync('rf/v1/#', { qos: 1, rh: 2 })
		const node = await nodeA()
		const forbidden = [
			CTL.state,
			A.ack,
			A.head('policy'),
			B.hello,
			B.telemetry,
			B.presence,
			B.status('policy'),
			B.command,
			agentTopics('c2', 'n-a').hello,
			'$CONTROL/dynamic-security/v1',
			'anything',
		]
		for (const topic of forbidden) expect(await tryPublish(node, topic), topic).toBe('refused')
		const own = [
			A.hello,
			A.workloads,
			A.telemetry,
			A.result,
			A.presence,
			...DOCUMENTS.map(A.status),
		]
		for (const topic of own) expect(await tryPublish(node, topic), topic).toBe('taken')
		await eventually(() => expect(arrived.map(({ topic }) => topic)).toEqual(own))
	})

	it('let a node subscribe to its own topics, and no other', async () => {
		const node = await nodeA()
		for (const filter of [A.downFilter, CTL.state, A.ack]) {
			expect(await trySubscribe(node, filter), filter).toBe('taken')
		}
		const forbidden = [
			'#',
			'+/#',
			'rf/#',
			'$SYS/#',
			'$CONTROL/#',
			'$share/g/#',
			'$share/g/rf/v1/c1/#',
			`$share/g/${B.downFilter}`,
			CTL.upFilter,
			CTL.presenceFilter,
			'rf/v1/c1/agent/+/down/#',
			'rf/v1/c1/agent/n-a/#',
			B.downFilter,
			B.ack,
			B.presence,
		]
		for (const filter of forbidden) expect(await trySubscribe(node, filter), filter).toBe('refused')
	})

	it('bring a node its own messages and the state, and nothing else', async () => {
		const node = await nodeA()
		const arrived = collect(node)
		await node.subscribeAsync([A.downFilter, CTL.state], { qos: 1 })
		const other = await connect(account('n-b'))
		const eavesdropped = collect(other)
		await other.subscribeAsync(B.downFilter, { qos: 1 })
		for (const topic of [A.ack, B.ack]) {
			await bus.publish(topic, Uint8Array.of(65), { isRetained: false })
		}
		const has = (list: { topic: string }[], topic: string) =>
			list.some((one) => one.topic === topic)
		await eventually(() => expect(has(arrived, A.ack) && has(arrived, CTL.state)).toBe(true))
		await eventually(() => expect(eavesdropped.map(({ topic }) => topic)).toEqual([B.ack]))
		expect(has(arrived, B.ack)).toBe(false)
	})

	it('take a new password when the node enrols again, and end the connection with the old one', async () => {
		await accounts.provision('n-c', 'first')
		const before = await connect({ ...account('n-c'), password: 'first' })
		await accounts.provision('n-c', 'second')
		await untilClosed(before)
		expect(await refusalOf(broker.port, { ...account('n-c'), password: 'first' })).toBeDefined()
		const after = await connect({ ...account('n-c'), password: 'second' })
		expect(await tryPublish(after, agentTopics(CLUSTER, 'n-c').hello)).toBe('taken')
	})

	it('are gone after revoking, with the connection; revoking again changes nothing', async () => {
		await accounts.provision('n-d', 'secret of n-d')
		const node: MqttClient = await connect(account('n-d'))
		await accounts.revoke('n-d')
		await untilClosed(node)
		expect(BAD_CREDENTIALS).toContain(await refusalOf(broker.port, account('n-d')))
		await accounts.revoke('n-d')
	})

	it('outlive the broker, also when it is killed', async () => {
		await accounts.provision('n-f', 'secret of n-f')
		await broker.restart('SIGKILL')
		expect(await refusalOf(broker.port, account('n-f'))).toBeUndefined()
		await eventually(() => expect(bus.isConnected()).toBe(true))
		await accounts.revoke('n-f')
	})
})

describe('accounts at a plugin that refuses', () => {
	it('are an error with the command and the reason', async () => {
		const refusing = createMosquittoAccounts({
			bus: () => ({ publish: async (_topic, payload) => answer(payload) }),
			cluster: CLUSTER,
			ownName: 'controller',
		})
		// As the plugin answers: in the order of the commands, with what was sent along.
		const answer = (payload: Uint8Array) => {
			const { commands } = JSON.parse(new TextDecoder().decode(payload))
			const responses = commands.map(({ command, correlationData }: Record<string, string>) =>
				command === 'createClient'
					? { command, correlationData, error: 'Invalid/missing password' }
					: { command, correlationData },
			)
			const topic = '$CONTROL/dynamic-security/v1/response'
			const bytes = new TextEncoder().encode(JSON.stringify({ responses }))
			refusing.accept({ topic, payload: bytes, isRetained: false })
		}
		await expect(refusing.provision('n-e', 'x')).rejects.toMatchObject({
			code: 'broker-account',
			message: 'broker: createClient: Invalid/missing password',
		})
		await refusing.revoke('n-e')
	})

	it.each(['+', '#', 'a/b', 'controller', ''])(
		'are never asked for the node id "%s"',
		async (id) => {
			const untouched = createMosquittoAccounts({
				bus: () => ({ publish: () => Promise.reject(new Error('asked')) }),
				cluster: CLUSTER,
				ownName: 'controller',
			})
			for (const attempt of [untouched.provision(id, 'x'), untouched.revoke(id)]) {
				await expect(attempt).rejects.toMatchObject({ code: 'broker-account' })
			}
		},
	)
})

function account(node: string): Account & { readonly username: string } {
	return { clientId: node, username: node, password: `secret of ${node}` }
}
