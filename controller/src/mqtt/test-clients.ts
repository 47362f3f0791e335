import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { vi } from 'vitest'
import type { Log } from '../fleet/fleet.ts'

/** MQTT clients and sockets of tests; `endAll` after each test. */

const clients = new Set<MqttClient>()
const sockets = new Set<Socket>()

export const quiet: Log = () => undefined

export interface Account {
	readonly username?: string
	readonly password?: string
	readonly clientId: string
}

/** Waits until a check holds, on a busy machine too. */
export function eventually(check: () => void): Promise<void> {
	return vi.waitFor(check, { timeout: 4000, interval: 10 })
}

/** Connects once; rejects when the broker refuses. */
export async function connectAs(
	port: number,
	account: Account,
	options: IClientOptions = {},
): Promise<MqttClient> {
	const client = await connectAsync(
		`mqtt://127.0.0.1:${port}`,
		{ protocolVersion: 4, reconnectPeriod: 0, connectTimeout: 5000, ...account, ...options },
		false,
	)
	clients.add(client)
	client.on('error', () => undefined)
	return client
}

/** The code with which the broker refuses these credentials; `undefined` when it lets them in. */
export async function refusalOf(port: number, account: Account): Promise<unknown> {
	try {
		await connectAs(port, account)
		return undefined
	} catch (error) {
		return (error as { readonly code?: unknown }).code ?? 'closed'
	}
}

/** Publishes with QoS 1: `taken` with the acknowledgement, `refused` by a reason code or the end of the connection. */
export function tryPublish(
	client: MqttClient,
	topic: string,
	options: { readonly payload?: string | Buffer; readonly retain?: boolean } = {},
): Promise<'taken' | 'refused'> {
	return new Promise((resolve) => {
		const settle = (outcome: 'taken' | 'refused') => {
			client.off('close', ended)
			resolve(outcome)
		}
		const ended = () => settle('refused')
		client.once('close', ended)
		const { payload = 'x', retain = false } = options
		client.publish(topic, payload, { qos: 1, retain }, (error) =>
			settle(error ? 'refused' : 'taken'),
		)
	})
}

/** Subscribes with QoS 1. */
export async function trySubscribe(
	client: MqttClient,
	filter: string,
): Promise<'taken' | 'refused'> {
	try {
		const [grant] = await client.subscribeAsync(filter, { qos: 1 })
		return grant !== undefined && grant.qos < 128 ? 'taken' : 'refused'
	} catch {
		return 'refused'
	}
}

/** Topics and texts that arrive at a client, in order. */
export function collect(client: MqttClient): { readonly topic: string; readonly text: string }[] {
	const arrived: { topic: string; text: string }[] = []
	client.on('message', (topic, payload) => arrived.push({ topic, text: payload.toString() }))
	return arrived
}

export function untilClosed(client: MqttClient): Promise<void> {
	return client.connected
		? new Promise((resolve) => client.once('close', () => resolve()))
		: Promise.resolve()
}

export function openSocket(port: number): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const socket = connect(port, '127.0.0.1', () => resolve(socket))
		socket.on('error', reject)
		sockets.add(socket)
	})
}

/** CONNECT (MQTT 3.1.1 §3.1): clean session, keep-alive 60 s. */
export function connectPacket({ clientId, username = '', password = '' }: Account): Buffer {
	const text = (value: string) => {
		const bytes = Buffer.from(value)
		return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
	}
	const body = Buffer.concat([
		text('MQTT'),
		Buffer.from([4, 0b1100_0010, 0, 60]),
		...[clientId, username, password].map(text),
	])
	return Buffer.concat([Buffer.from([0x10, body.length]), body])
}

/** SUBSCRIBE (MQTT 3.1.1 §3.8) to one filter with QoS 1. */
export function subscribePacket(filter: string): Buffer {
	const bytes = Buffer.from(filter)
	return Buffer.concat([
		Buffer.from([0x82, bytes.length + 5, 0, 1, 0, bytes.length]),
		bytes,
		Buffer.from([1]),
	])
}

export async function freePort(): Promise<number> {
	const server = createTcpServer()
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
	const { port } = server.address() as AddressInfo
	await new Promise((resolve) => server.close(resolve))
	return port
}

export function endAll(): void {
	for (const client of clients) client.end(true)
	for (const socket of sockets) socket.destroy()
	clients.clear()
	sockets.clear()
}
