import { unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { workloadSchema } from '@ringfence/shared/contract/workload'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { RuntimeEvent, WorkloadFacts } from '../../agent/src/runtime/driver.ts'
import { NetnsDriver } from '../../agent/src/runtime/netns-driver.ts'
import { nodeFacts } from '../../agent/src/runtime/node-facts.ts'
import { describeKernel } from '../harness/requirements.ts'
import { openSandbox } from '../harness/sandbox.ts'
import { waitFor } from '../harness/wait.ts'

describeKernel('named network namespaces as workloads', [], () => {
	const sandbox = openSandbox()
	const bridge = { name: 'rb', v4: '10.96.1', v6: 'fd96:1' }
	const drivers: NetnsDriver[] = []
	let hosts = 1

	beforeAll(() => sandbox.bridge(bridge))
	afterEach(() => {
		for (const driver of drivers.splice(0)) driver.stop()
	})
	afterAll(() => sandbox.close())

	const follow = (prefix: string, node = 'n1') => {
		const events: RuntimeEvent[] = []
		const options = { node, directory: '/run/netns', labelsDirectory: sandbox.labelsDirectory }
		const driver = new NetnsDriver({ ...options, prefix }, (event) => events.push(event))
		drivers.push(driver)
		const next = (
			kind: RuntimeEvent['kind'],
			isIt: (event: RuntimeEvent) => boolean = () => true,
		) => waitFor(kind, () => events.find((event) => event.kind === kind && isIt(event)), 5000)
		return { driver, events, next }
	}
	const attach = (name: string) => {
		hosts++
		return sandbox.attach({ name, bridge, host: hosts })
	}
	const factsOf = (event: RuntimeEvent): WorkloadFacts => {
		if (event.kind === 'problem') throw new Error(event.message)
		return event.facts
	}
	const ip = (...args: string[]) => sandbox.call(['ip', ...args])

	test('one that is there is told at once, with addresses of both families and its MAC', () => {
		const { namespace, v4, v6 } = attach('there')
		const [{ workload, interfaces } = fail()] = follow(namespace).driver.workloads()
		expect(workloadSchema.parse(workload)).toEqual(workload)
		expect(workload).toMatchObject({ name: namespace, service: namespace, domain: 'default' })
		expect(workload.interfaces.map(({ name }) => name)).toEqual(['eth0'])
		expect(workload.interfaces[0]?.addresses).toEqual([`${v4}/24`, `${v6}/64`])
		const mac = ip('-n', namespace, '-o', 'link', 'show', 'eth0')
		expect(mac).toContain(`link/ether ${interfaces[0]?.mac}`)
		expect(Math.abs(Date.now() - workload.startedAt)).toBeLessThan(60_000)
	})

	test('one that appears, changes and goes is told within a second and a half', async () => {
		const { next } = follow(`${sandbox.prefix}-comes`)
		const startMs = Date.now()
		const namespace = sandbox.namespace('comes')
		const up = factsOf(await next('workload-up'))
		expect(up.interfaces).toEqual([])
		ip('-n', namespace, 'link', 'add', 'e1', 'type', 'veth', 'peer', 'name', 'e2')
		ip('-n', namespace, 'addr', 'add', '192.0.2.1/31', 'dev', 'e1')
		const changed = factsOf(
			await next('workload-changed', (event) => factsOf(event).workload.interfaces.length === 2),
		)
		expect(changed.workload.id).toBe(up.workload.id)
		ip('netns', 'del', namespace)
		expect(factsOf(await next('workload-gone')).workload.id).toBe(up.workload.id)
		expect(Date.now() - startMs).toBeLessThan(4500)
	})

	test('one that is made anew under the same name is another, however quickly', async () => {
		const namespace = sandbox.namespace('anew')
		const { driver, events } = follow(namespace)
		const before = driver.workloads()[0]?.workload.id
		ip('netns', 'del', namespace)
		ip('netns', 'add', namespace)
		await waitFor('the second one', () => events.filter(isUp).length === 2, 5000)
		expect(events.map(({ kind }) => kind)).toEqual(['workload-up', 'workload-gone', 'workload-up'])
		expect(driver.workloads()[0]?.workload.id).not.toBe(before)
	})

	test('the id outlives the agent, and differs by node and by namespace', () => {
		const namespace = sandbox.namespace('same')
		const idOf = (node: string) => {
			const { driver } = follow(namespace, node)
			driver.stop()
			return follow(namespace, node).driver.workloads()[0]?.workload.id
		}
		const id = idOf('n1')
		expect(id).toMatch(/^[0-9a-f]{32}$/)
		expect(idOf('n1')).toBe(id)
		expect(idOf('n2')).not.toBe(id)
		ip('netns', 'del', namespace)
		ip('netns', 'add', namespace)
		expect(idOf('n1')).not.toBe(id)
	})

	test('labels come from the file beside it, and changes show', async () => {
		const namespace = sandbox.namespace('labels')
		sandbox.label(namespace, { service: 'shop', domain: 'prod', image: 'i:1', labels: { a: 'b' } })
		const { driver, next } = follow(namespace)
		const facts = { service: 'shop', domain: 'prod', image: 'i:1', labels: { a: 'b' } }
		expect(driver.workloads()[0]?.workload).toMatchObject(facts)
		sandbox.label(namespace, { service: 'cart' })
		await next('workload-changed', (event) => factsOf(event).workload.service === 'cart')
		unlinkSync(join(sandbox.labelsDirectory, `${namespace}.json`))
		await next('workload-changed', (event) => factsOf(event).workload.service === namespace)
	})

	test('a malformed label file is complained of once, and defaults hold', async () => {
		const namespace = sandbox.namespace('broken')
		const file = join(sandbox.labelsDirectory, `${namespace}.json`)
		writeFileSync(file, '{"service": 5}')
		const { driver, events, next } = follow(namespace)
		expect(driver.workloads()[0]?.workload.service).toBe(namespace)
		// Anything that makes it look again.
		writeFileSync(join(sandbox.labelsDirectory, 'other.json'), '{}')
		ip('-n', namespace, 'link', 'add', 'e1', 'type', 'veth', 'peer', 'name', 'e2')
		await next('workload-changed')
		const problems = events.filter(({ kind }) => kind === 'problem')
		expect(problems).toEqual([
			{ kind: 'problem', name: 'runtime-problem', message: expect.stringContaining('service') },
		])
	})

	test('what is no namespace is none, and a missing directory is no error', () => {
		writeFileSync(join(sandbox.directory, 'plain'), '')
		const events: RuntimeEvent[] = []
		const options = { node: 'n1', prefix: '', labelsDirectory: '/nonexistent' }
		for (const directory of [sandbox.directory, '/nonexistent']) {
			const driver = new NetnsDriver({ ...options, directory }, (event) => events.push(event))
			expect(driver.workloads()).toEqual([])
			driver.stop()
		}
		expect(events).toEqual([])
	})

	test('a namespace is let go when its name is: its links disappear', async () => {
		const { namespace } = attach('freed')
		const { next } = follow(namespace)
		const port = `${sandbox.prefix}vfreed`.slice(0, 15)
		expect(ip('-o', 'link')).toContain(port)
		ip('netns', 'del', namespace)
		await next('workload-gone')
		await waitFor('the link to go', () => !ip('-o', 'link').includes(port), 5000)
	})

	test('the node tells of itself', () => {
		const facts = nodeFacts('1.2.3', 'no reason')
		expect(facts).toMatchObject({ agentVersion: '1.2.3', canCapture: false })
		expect(facts.captureWhy).toBe('no reason')
		expect(facts.interfaces.some(({ addresses }) => addresses.includes('10.96.1.1/24'))).toBe(true)
	})
})

function isUp({ kind }: RuntimeEvent): boolean {
	return kind === 'workload-up'
}

function fail(): never {
	throw new Error('no workload')
}
