import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { agentTopics, controllerTopics } from '@ringfence/shared/contract/topics'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nodes } from '../db/schema.ts'
import { createApiKey } from '../fleet/access/api-keys.ts'
import { createEnrolToken, enrol } from '../fleet/nodes/enrol.ts'
import { removeNode } from '../fleet/nodes/nodes.ts'
import {
	collect,
	connectAs,
	endAll,
	eventually,
	freePort,
	openSocket,
	quiet,
	refusalOf,
	tryPublish,
} from '../mqtt/test-clients.ts'
import { type Controller, startController } from './controller.ts'
import { type HostOptions, readOptions } from './options.ts'

const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url))

let directory: string
let options: HostOptions
let brokerPort: number
const running: Controller[] = []

beforeEach(async () => {
	directory = mkdtempSync(join(tmpdir(), 'ringfence-controller-'))
	brokerPort = await freePort()
	options = optionsOf(['--listen', '127.0.0.1:0', '--broker-listen', `127.0.0.1:${brokerPort}`])
})
afterEach(async () => {
	endAll()
	for (const controller of running.splice(0)) await controller.stop()
	rmSync(directory, { recursive: true })
})

describe('controller on Node', () => {
	it('serves HTTP and MQTT, and is ready when both are', async () => {
		const controller = await start()
		await controller.connected
		const answer = await fetch(`http://127.0.0.1:${controller.port}/readyz`)
		expect(answer.status).toBe(200)
		expect(statSync(options.dataDirectory).mode & 0o777).toBe(0o700)
	})

	it('takes a node from enrolment to its documents, and forgets it again', async () => {
		const { fleet, connected } = await start()
		await connected
		const { token } = await createEnrolToken(fleet, { ttlMs: 60_000, uses: 1 })
		const { node, cluster, brokerPassword } = await enrol(fleet, { token, name: 'host' })
		const account = { clientId: node, username: node, password: brokerPassword }
		const topics = agentTopics(cluster, node)
		const agent = await connectAs(brokerPort, account)
		const arrived = collect(agent)
		await agent.subscribeAsync([topics.downFilter, controllerTopics(cluster).state], { qos: 1 })
		const batch = { v: 1, boot: 'b1', seq: 1, floor: 1, at: 1, records: [] }
		expect(await tryPublish(agent, topics.telemetry, { payload: JSON.stringify(batch) })).toBe(
			'taken',
		)
		const expected = [topics.head('policy'), topics.head('addresses'), topics.ack]
		await eventually(() =>
			expect(arrived.map(({ topic }) => topic)).toEqual(expect.arrayContaining(expected)),
		)
		await removeNode(fleet, { actor: 'system', now: Date.now() }, { id: node, expected: '*' })
		await eventually(() => expect(agent.connected).toBe(false))
		expect(await refusalOf(brokerPort, account)).toBe(4)
	})

	it('says at its start that nobody is connected to a broker that has just begun', async () => {
		const first = await start()
		const { token } = await createEnrolToken(first.fleet, { ttlMs: 60_000, uses: 1 })
		const { node } = await enrol(first.fleet, { token, name: 'host' })
		await first.fleet.store.write(async (tx) => {
			await tx.update(nodes).set({ isUp: true, boot: 'b1' })
		})
		await first.stop()
		const second = await start()
		const rows = await second.fleet.store.db.select({ id: nodes.id, isUp: nodes.isUp }).from(nodes)
		expect(rows).toEqual([{ id: node, isUp: false }])
	})

	it('leaves nothing running when a port is taken, and says which', async () => {
		const controller = await start()
		const taken = optionsOf([
			...['--listen', `127.0.0.1:${controller.port}`],
			...['--broker-listen', `127.0.0.1:${await freePort()}`],
		])
		await expect(startController(taken, { log: quiet, migrations: MIGRATIONS })).rejects.toThrow(
			`HTTP cannot listen on 127.0.0.1:${controller.port}: another program uses it`,
		)
		await controller.stop()
		running.push(await startController(taken, { log: quiet, migrations: MIGRATIONS }))
	})

	it('ends within moments, with event streams and clients connected', async () => {
		const controller = await start()
		await controller.connected
		const url = `http://127.0.0.1:${controller.port}`
		const act = { actor: 'system', now: Date.now() }
		const { key } = await createApiKey(controller.fleet, act, { name: 'x', role: 'viewer' })
		const stream = await fetch(`${url}/v1/events/stream`, {
			headers: { authorization: `Bearer ${key}` },
		})
		expect(stream.status).toBe(200)
		const streamed = stream.text().catch(() => 'cut')
		const half = await openSocket(controller.port)
		half.write('GET /healthz HTTP/1.1\r\n')
		const since = performance.now()
		await controller.stop()
		expect(performance.now() - since).toBeLessThan(3000)
		await streamed
		await expect(fetch(`${url}/healthz`)).rejects.toThrow()
	})
})

async function start(): Promise<Controller> {
	const controller = await startController(options, { log: quiet, migrations: MIGRATIONS })
	running.push(controller)
	return controller
}

function optionsOf(args: readonly string[]): HostOptions {
	const read = readOptions(['--data', join(directory, 'data'), ...args], {})
	if (read === 'help') throw new Error('no help was asked for')
	return read
}
