import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent } from '../harness/agent.ts'
import { type Controller, startController } from '../harness/controller.ts'
import { startMosquitto } from '../harness/mosquitto.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox } from '../harness/sandbox.ts'
import { startServers } from '../harness/servers.ts'
import { waitFor } from '../harness/wait.ts'

const PROGRAMS = ['nginx', 'redis-server', 'dnsmasq', 'sshd', 'openssl', 'mosquitto', 'curl']

/**
 * Two namespaces play the hosts. Each has an uplink to a bridge of this machine, where the controller and the broker are, and a
 * bridge of its own with one workload; the hosts route between them.
 */
describeKernel('two nodes with an external Mosquitto', PROGRAMS, () => {
	const sandbox = openSandbox()
	const uplink = { name: 'up', v4: '10.93.0', v6: 'fd93:0' }
	let controller: Controller
	let shop: Host
	let till: Host

	function addHost(name: string, index: number): Host {
		const host = sandbox.attach({ name: `h${name}`, bridge: uplink, host: 10 + index })
		for (const forwarding of ['ipv4.ip_forward=1', 'ipv6.conf.all.forwarding=1']) {
			sandbox.call(['sysctl', '-qw', `net.${forwarding}`], { namespace: host.namespace })
		}
		return host
	}

	function addWorkload(host: Host, name: string, index: number): Host {
		const bridge = {
			name: 'in',
			v4: `10.93.${index}`,
			v6: `fd93:${index}`,
			namespace: host.namespace,
		}
		sandbox.bridge(bridge)
		const workload = sandbox.attach({ name: `n${index}-${name}`, bridge, host: 2 })
		sandbox.label(workload.namespace, { service: name, domain: 'test' })
		return workload
	}

	function route(from: Host, to: Host, index: number): void {
		const at = { namespace: from.namespace }
		sandbox.call(['ip', 'route', 'add', `10.93.${index}.0/24`, 'via', to.v4], at)
		sandbox.call(['ip', '-6', 'route', 'add', `fd93:${index}::/64`, 'via', to.v6], at)
	}

	beforeAll(async () => {
		sandbox.bridge(uplink)
		const first = addHost('a', 1)
		const second = addHost('b', 2)
		shop = addWorkload(first, 'shop', 1)
		till = addWorkload(second, 'till', 2)
		route(first, second, 2)
		route(second, first, 1)
		await startServers(sandbox, shop)
		const address = `${uplink.v4}.1`
		const mosquitto = await startMosquitto(sandbox, address)
		controller = await startController(sandbox, { address, flags: mosquitto.controllerFlags })
		for (const [index, host] of [first, second].entries()) {
			startAgent(sandbox, {
				controller,
				name: `node-${index + 1}`,
				namespace: host.namespace,
				netnsPrefix: `${sandbox.prefix}-n${index + 1}-`,
			})
		}
		await waitFor('a workload on each node', async () => {
			const workloads = await controller.api.list('workloads')
			return new Set(workloads.map(({ nodeId }) => nodeId)).size === 2
		})
	})
	afterAll(() => sandbox.close())

	test.each([4, 6])(
		'a conversation between them appears once, with both ends named (IPv%s)',
		async (family) => {
			const address = family === 4 ? shop.v4 : `[${shop.v6}]`
			sandbox.call(['curl', '-sS', `http://${address}/`], { namespace: till.namespace })
			const sessions = family === 4 ? 1 : 2
			await waitFor('the conversation', async () => {
				const [conversation] = await controller.api.list('conversations')
				return conversation?.sessions === sessions
			})
			const conversations = await controller.api.list('conversations')
			expect(conversations).toHaveLength(1)
			expect(conversations[0]).toMatchObject({
				client: { kind: 'workload', name: till.namespace, group: 'rf.till.test' },
				server: { kind: 'workload', name: shop.namespace, group: 'rf.shop.test' },
				application: 'http',
				sessions,
			})
			const rules = await controller.api.list('rules')
			expect(rules.map(({ from, to, applications }) => ({ from, to, applications }))).toEqual([
				{ from: 'rf.till.test', to: 'rf.shop.test', applications: ['http'] },
			])
		},
	)

	test('both nodes run the newest policy', async () => {
		await waitFor('both nodes', async () => {
			const nodes = await controller.api.list('nodes')
			const isCurrent = nodes.every((node) => node.documents.every((one) => one.isCurrent))
			return nodes.length === 2 && isCurrent
		})
	})
})
