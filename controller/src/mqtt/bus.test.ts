import { decodeMessage } from '@ringfence/shared/contract/codec'
import { controllerStateSchema } from '@ringfence/shared/contract/messages'
import { agentTopics, controllerTopics } from '@ringfence/shared/contract/topics'
import type { MqttClient } from 'mqtt'
import { afterEach, describe, expect, it } from 'vitest'
import { type RunningBus, startBus } from './bus.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from './embedded-broker.ts'
import type { OutgoingMessage } from './outgoing.ts'
import { connectAs, endAll, eventually, freePort, quiet, tryPublish } from './test-clients.ts'
import { hasMosquitto, startMosquitto } from './test-mosquitto.ts'

const CLUSTER = 'c1'
const A = agentTopics(CLUSTER, 'n-a')
const CTL = controllerTopics(CLUSTER)
const NODE_A = { clientId: 'n-a', username: 'n-a', password: 'good' }

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
	endAll()
	for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

describe('bus', () => {
	it('hears agents and reaches them, over MQTT 3.1.1 where the broker speaks no other', async () => {
		const broker = await startBroker()
		const { bus, heard, logged } = start({ ...broker.controller, port: broker.port })
		await eventually(() => expect(bus.isConnected()).toBe(true))
		expect(logged).toContainEqual([
			'info',
			'broker connected',
			expect.objectContaining({ mqtt: 4 }),
		])
		const node = await connectAs(broker.port, NODE_A)
		const states = listen(node, A.downFilter)
		await states.ready
		await tryPublish(node, A.hello, { payload: 'hi' })
		await eventually(() =>
			expect(heard.map(({ topic, payload }) => [topic, String(payload)])).toEqual([
				[A.hello, 'hi'],
			]),
		)
		await bus.publish(A.ack, new TextEncoder().encode('yes'), { isRetained: false })
		await eventually(() => expect(states.texts).toEqual(['yes']))
	})

	it('publishes its state only when it is subscribed, and takes it back at the end', async () => {
		const broker = await startBroker()
		const node = await connectAs(broker.port, NODE_A)
		const { texts, ready } = listen(node, CTL.state)
		await ready
		const { bus, heard } = start({ ...broker.controller, port: broker.port })
		node.on('message', () => node.publish(A.hello, 'at once', { qos: 1 }))
		await eventually(() => expect(heard.map(({ topic }) => topic)).toEqual([A.hello]))
		await bus.stop()
		await eventually(() => expect(texts).toHaveLength(2))
		const states = await Promise.all(texts.map(readState))
		expect(states.map(({ isUp }) => isUp)).toEqual([true, false])
		expect(states[1]?.boot).toBe(states[0]?.boot)
	})

	it('comes back with a new boot when the broker does, and delivers what waited', async () => {
		const port = await freePort()
		const first = await startBroker(port)
		const password = { current: first.controller.password }
		const { bus, connections, boots } = start({
			username: '$controller',
			password: 'x',
			port,
			live: password,
		})
		await eventually(() => expect(connections()).toBe(1))
		const before = await stateAt(port)
		await first.close()
		const waiting = bus.publish(A.ack, Uint8Array.of(1), { isRetained: true })
		const second = await startBroker(port)
		password.current = second.controller.password
		await waiting
		await eventually(() => expect(connections()).toBe(2))
		const state = await stateAt(port)
		expect(state.isUp).toBe(true)
		expect(boots()).toContain(state.boot)
		expect(boots().indexOf(state.boot)).toBeGreaterThan(boots().indexOf(before.boot))
	})

	it('leaves a will that tells when it is gone without a word', async () => {
		const broker = await startBroker()
		const node = await connectAs(broker.port, NODE_A)
		const { texts, ready } = listen(node, CTL.state)
		await ready
		const { clientId } = start({ ...broker.controller, port: broker.port })
		await eventually(() => expect(texts).toHaveLength(1))
		// Another client takes the id, so that the broker ends the bus's connection.
		await connectAs(broker.port, { clientId, ...broker.controller })
		await eventually(() => expect(texts.length).toBeGreaterThanOrEqual(2))
		const [up, down] = await Promise.all(texts.slice(0, 2).map(readState))
		expect(down).toMatchObject({ isUp: false, boot: up?.boot })
	})

	it('keeps trying where nobody listens or it is refused, and stops at once when told', async () => {
		const broker = await startBroker()
		const wrong = start({ username: '$controller', password: 'wrong', port: broker.port })
		const away = start({ username: 'x', password: 'x', port: await freePort() })
		await eventually(() => {
			expect(wrong.logged).toContainEqual(['warn', 'no broker connection', expect.anything()])
			expect(away.logged).toContainEqual(['warn', 'no broker connection', expect.anything()])
		})
		const waiting = expect(
			away.bus.publish(A.ack, Uint8Array.of(1), { isRetained: false }),
		).rejects.toMatchObject({ code: 'stopped' })
		await Promise.all([wrong.bus.stop(), away.bus.stop()])
		await waiting
	})

	it('refuses a message that no broker would take', async () => {
		const { bus } = start({ username: 'x', password: 'x', port: await freePort() })
		const publishing = bus.publish(A.ack, new Uint8Array(1024 * 1024 + 1), { isRetained: false })
		await expect(publishing).rejects.toMatchObject({ code: 'too-large' })
	})

	it('delivers thousands of messages in order, through lost connections', async () => {
		const broker = await startBroker()
		const { bus, clientId, connections } = start({ ...broker.controller, port: broker.port })
		await eventually(() => expect(connections()).toBe(1))
		const node = await connectAs(broker.port, NODE_A)
		const { texts, ready } = listen(node, A.downFilter)
		await ready
		const done = Array.from({ length: 3000 }, (_, i) =>
			bus.publish(A.ack, new TextEncoder().encode(String(i)), { isRetained: false }),
		)
		await eventually(() => expect(texts.length).toBeGreaterThan(500))
		await connectAs(broker.port, { clientId, ...broker.controller })
		await Promise.all(done)
		await eventually(() => expect(new Set(texts).size).toBe(3000))
		const firsts = [...new Set(texts)].map(Number)
		expect(firsts).toEqual(firsts.toSorted((a, b) => a - b))
	})
})

describe.skipIf(!hasMosquitto)('bus at Mosquitto (needs mosquitto)', () => {
	it('speaks MQTT 5, and is told why a publication is refused', async () => {
		const broker = await startMosquitto()
		cleanups.push(() => broker.stop())
		const { bus, logged } = start({
			username: 'controller',
			password: broker.password,
			port: broker.port,
		})
		await bus.publish(A.ack, Uint8Array.of(1), { isRetained: true })
		expect(logged).toContainEqual([
			'info',
			'broker connected',
			expect.objectContaining({ mqtt: 5 }),
		])
		const elsewhere = bus.publish('elsewhere', Uint8Array.of(1), { isRetained: false })
		await expect(elsewhere).rejects.toMatchObject({ code: 'refused' })
	})
})

interface Where {
	readonly port: number
	readonly username: string
	readonly password: string
	/** The password of the moment. */
	readonly live?: { readonly current: string }
}

function start({ port, username, password, live }: Where) {
	const heard: OutgoingMessage[] = []
	const logged: unknown[][] = []
	const clientId = `controller-${port}`
	const boots: string[] = []
	let connections = 0
	const options = {
		url: `mqtt://127.0.0.1:${port}`,
		username,
		get password() {
			return live?.current ?? password
		},
		clientId,
		version: 'auto' as const,
		cluster: CLUSTER,
		clock: { now: Date.now },
		log: (...line: unknown[]) => void logged.push(line),
		onMessage: (message: OutgoingMessage) => void heard.push(message),
		onConnected: () => {
			connections += 1
		},
		newBoot: () => {
			boots.push(`boot-${boots.length}`)
			return boots.at(-1) ?? ''
		},
	}
	const bus: RunningBus = startBus(options)
	cleanups.push(() => bus.stop())
	return { bus, heard, logged, clientId, connections: () => connections, boots: () => boots }
}

async function startBroker(port = 0): Promise<EmbeddedBroker> {
	const broker = await startEmbeddedBroker({
		host: '127.0.0.1',
		port,
		cluster: CLUSTER,
		checkPassword: async (_node, password) => password === 'good',
		log: quiet,
		nowMs: Date.now,
	})
	cleanups.push(() => broker.close())
	return broker
}

function listen(client: MqttClient, filter: string) {
	const texts: string[] = []
	client.on('message', (_topic, payload) => texts.push(payload.toString()))
	return { texts, ready: client.subscribeAsync(filter, { qos: 1 }) }
}

/** The retained state, as a node sees it. */
async function stateAt(port: number) {
	const node = await connectAs(port, NODE_A)
	const { texts, ready } = listen(node, CTL.state)
	await ready
	await eventually(() => expect(texts).toHaveLength(1))
	return readState(texts[0] ?? '')
}

async function readState(text: string) {
	const decoded = await decodeMessage(controllerStateSchema, new TextEncoder().encode(text))
	if (!decoded.ok) throw new Error(decoded.why)
	return decoded.value
}
