import { beforeEach, expect, test } from 'vitest'
import { conversation, joinAgent, workload } from '../../fleet/test-fleet.ts'
import { openTestApp, type TestApp } from '../test-app.ts'

let it: TestApp
beforeEach(async () => {
	it = await openTestApp()
})

const ask = (body: object) => it.call('POST /v1/what-if', { as: 'viewer', body })

test('a viewer may ask, for nothing is written', async () => {
	const { status, json } = await ask({ modes: { nodes: 'protect' } })
	expect(status).toBe(200)
	expect(json).toMatchObject({ all: { conversations: 0 }, truncated: null, pairs: [] })
})

test.each<[object, string]>([
	[{ modes: { nodes: 'off' } }, '/modes/nodes'],
	[{ modes: { nobody: 'protect' } }, '/modes/nobody'],
	[{ rules: { add: [{ from: 'nodes' }] } }, '/rules/add/0/to'],
	[{ rules: { add: [{ from: 'nodes', to: 'any', action: 'deny' }] } }, '/rules/add/0/to'],
	[{ rules: { remove: [7] } }, '/rules/remove/0'],
	[{ rules: { patch: [{ id: 1, isLearned: true }] } }, '/rules/patch/0/isLearned'],
	[{ mode: {} }, '/mode'],
])('%j is refused at %s', async (body, pointer) => {
	const { status, json } = await ask(body)
	expect(status).toBe(422)
	expect(json.errors.map((fault: { pointer: string }) => fault.pointer)).toContain(pointer)
})

test('only some questions are at work at once, the others come back later', async () => {
	const agent = await joinAgent(it.fleet, 'n1', ['192.0.2.1/24'])
	await agent.report([workload('web', ['10.0.0.2/24'])])
	await agent.send(conversation({ workload: 'web', peerAddress: '203.0.113.9' }))
	const answers = await Promise.all([ask({}), ask({}), ask({}), ask({})])
	const statuses = answers.map(({ status }) => status)
	expect(statuses).toContain(200)
	expect(statuses).toContain(429)
	expect(answers.find(({ status }) => status === 429)?.headers.get('retry-after')).toBe('5')
	expect((await ask({})).status).toBe(200)
})
