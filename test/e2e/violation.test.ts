import type { EventResource } from '@ringfence/shared/contract/rest'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent } from '../harness/agent.ts'
import { type Controller, startController } from '../harness/controller.ts'
import { type Receiver, startReceiver } from '../harness/receiver.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox } from '../harness/sandbox.ts'
import { startServers } from '../harness/servers.ts'
import { pause, waitFor } from '../harness/wait.ts'

const PROGRAMS = ['nginx', 'redis-server', 'dnsmasq', 'sshd', 'openssl', 'curl']

describeKernel('a connection that nobody made before, in monitor', PROGRAMS, () => {
	const sandbox = openSandbox()
	const bridge = { name: 'br', v4: '10.92.2', v6: 'fd92:2' }
	let controller: Controller
	let receiver: Receiver
	let server: Host
	let client: Host
	let secret: string
	const curl = () =>
		sandbox.call(['curl', '-sS', `http://${server.v4}/`], { namespace: client.namespace })

	beforeAll(async () => {
		receiver = await startReceiver()
		sandbox.bridge(bridge)
		server = sandbox.attach({ name: 'shop', bridge, host: 2 })
		client = sandbox.attach({ name: 'till', bridge, host: 3 })
		sandbox.label(server.namespace, { service: 'shop', domain: 'test' })
		sandbox.label(client.namespace, { service: 'till', domain: 'test' })
		await startServers(sandbox, server)
		controller = await startController(sandbox)
		const webhook = await controller.api.post<{ secret: string }>('webhooks', {
			name: 'test',
			url: receiver.url,
		})
		secret = webhook.secret
		startAgent(sandbox, { controller, name: 'watch' })
		await waitFor('both workloads', async () => {
			return (await controller.api.list('workloads')).length === 2
		})
		curl()
		await waitFor('the rule', async () => (await controller.api.list('rules')).length === 1)
		for (const group of ['rf.shop.test', 'rf.till.test']) {
			await controller.api.patch(`groups/${group}`, { mode: 'monitor' })
		}
		await waitForGeneration(controller)
	})
	afterAll(async () => {
		await sandbox.close()
		await receiver.close()
	})

	test('raises nothing for allowed traffic', async () => {
		for (let i = 0; i < 5; i++) curl()
		await waitFor('the sessions', async () => {
			const [conversation] = await controller.api.list('conversations')
			return conversation?.sessions === 6 && conversation.action === 'allow'
		})
		await pause(1500)
		expect(await violations(controller)).toEqual([])
		expect(receiver.deliveries).toEqual([])
	})

	test('raises one event within two seconds, with both ends, application and reason', async () => {
		const start = Date.now()
		sandbox.call(['redis-cli', '-h', server.v4, 'ping'], { namespace: client.namespace })
		const [event] = await waitFor('the event', async () => {
			const events = await violations(controller)
			return events.length > 0 && events
		})
		expect(Date.now() - start).toBeLessThan(2000)
		expect(event).toMatchObject({
			kind: 'violation',
			clientGroup: 'rf.till.test',
			serverGroup: 'rf.shop.test',
			application: 'redis',
			serverPort: 6379,
			count: 1,
			why: expect.stringContaining('no rule'),
		})
		expect(JSON.stringify(event?.detail)).toContain(client.namespace)
		expect(JSON.stringify(event?.detail)).toContain(server.namespace)
	})

	test('delivers one webhook that a public library verifies', async () => {
		const delivery = await waitFor('the webhook', () => receiver.deliveries[0])
		const verified = new Webhook(secret).verify(delivery.body, delivery.headers) as {
			type: string
			data: EventResource
		}
		expect(verified.type).toContain('violation')
		expect(verified.data).toMatchObject({ application: 'redis', serverGroup: 'rf.shop.test' })
		const forged = { ...delivery.headers, 'webhook-id': 'other' }
		expect(() => new Webhook(secret).verify(delivery.body, forged)).toThrow()
		await pause(3000)
		expect(receiver.deliveries).toHaveLength(1)
		expect(await violations(controller)).toHaveLength(1)
		expect(await controller.api.list('rules')).toHaveLength(1)
	})
})

function violations(controller: Controller): Promise<EventResource[]> {
	return controller.api.list('events', 'kind=violation')
}

/** Until every node runs the newest policy. */
async function waitForGeneration(controller: Controller): Promise<void> {
	await waitFor('the policy on every node', async () => {
		const nodes = await controller.api.list('nodes')
		return nodes.every(({ documents }) => documents.every(({ isCurrent }) => isCurrent))
	})
}
