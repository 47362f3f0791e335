import type { ConversationResource } from '@ringfence/shared/contract/rest'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent } from '../harness/agent.ts'
import { type Controller, startController } from '../harness/controller.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox } from '../harness/sandbox.ts'
import { exchangeOnce, PORTS, startServers } from '../harness/servers.ts'
import { type DirectionCounts, record } from '../harness/tcpdump.ts'
import { waitFor } from '../harness/wait.ts'

const PROGRAMS = ['nginx', 'redis-server', 'dnsmasq', 'sshd', 'openssl', 'tcpdump', 'curl', 'dig']
const ROUNDS = 3

describeKernel('packets and bytes of conversations', PROGRAMS, () => {
	const sandbox = openSandbox()
	const bridge = { name: 'br', v4: '10.92.1', v6: 'fd92:1' }
	let controller: Controller
	let server: Host
	let counts: DirectionCounts
	let conversations: ConversationResource[]

	beforeAll(async () => {
		sandbox.bridge(bridge)
		server = sandbox.attach({ name: 'server', bridge, host: 2 })
		const client = sandbox.attach({ name: 'client', bridge, host: 3 })
		await startServers(sandbox, server)
		controller = await startController(sandbox)
		startAgent(sandbox, { controller, name: 'counts' })
		await waitFor('both workloads', async () => {
			return (await controller.api.list('workloads')).length === 2
		})
		const recording = await record(sandbox, server.namespace)
		for (let round = 0; round < ROUNDS; round++) {
			exchangeOnce(sandbox, client, server.v4)
			exchangeOnce(sandbox, client, server.v6)
		}
		counts = await recording.count()
		conversations = await waitFor('all conversations', async () => {
			const list = await controller.api.list('conversations')
			const isWhole = list.length === 5 && list.every(({ sessions }) => sessions === 2 * ROUNDS)
			return isWhole && list
		})
	})
	afterAll(() => sandbox.close())

	test.each(Object.entries(PORTS))('%s equals what tcpdump counts', async (application, port) => {
		const expected = sumOf(counts, server, port)
		const conversation = await waitFor('equal counts', async () => {
			conversations = await controller.api.list('conversations')
			const found = conversations.find((one) => one.serverPort === port)
			return found && found.serverBytes >= expected.server.bytes && found
		})
		expect(conversation).toMatchObject({
			application,
			sessions: 2 * ROUNDS,
			clientPackets: expected.client.packets,
			clientBytes: expected.client.bytes,
			serverPackets: expected.server.packets,
			serverBytes: expected.server.bytes,
		})
	})
})

/** What tcpdump saw to and from a port of the server, over both families. */
function sumOf(counts: DirectionCounts, server: Host, port: number) {
	const ends = [`${server.v4}.${port}`, `${server.v6}.${port}`]
	const sum = { client: { packets: 0, bytes: 0 }, server: { packets: 0, bytes: 0 } }
	for (const [key, { packets, bytes }] of counts) {
		const [from = '', to = ''] = key.split(' > ')
		const side = ends.includes(to) ? sum.client : ends.includes(from) ? sum.server : undefined
		if (!side) continue
		side.packets += packets
		side.bytes += bytes
	}
	return sum
}
