import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { rules } from '../db/schema.ts'
import { conversation, joinAgent, workload } from '../fleet/test-fleet.ts'
import { openTestApp, type TestApp } from '../http/test-app.ts'
import { createProgram } from './program.ts'

let it: TestApp
let server: Server
let url: string

beforeEach(async () => {
	it = await openTestApp()
	it.fleet.time.now = Date.now()
	const agent = await joinAgent(it.fleet, 'n1', ['192.0.2.1/24'])
	await agent.report([workload('web', ['10.0.0.2/24']), workload('db', ['10.0.0.3/24'])])
	const times = { firstAt: Date.now() - 1000, lastAt: Date.now() - 1000 }
	await agent.send(
		conversation({ workload: 'web', peerAddress: '10.0.0.3', application: 'http', ...times }),
	)
	server = createAdaptorServer({ fetch: it.app.fetch }) as Server
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
	url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
	server.closeAllConnections()
	await new Promise((resolve) => server.close(resolve))
})

test('a mode and a rule are asked about as they would be made', async () => {
	const same = await run('what-if', 'mode', 'rf.db.shop', 'protect')
	expect(same).toMatch(/^0 of 1 conversations would be judged otherwise\.\n\nnewly denied: 0 conv/)
	const [learned] = await it.fleet.store.db.select().from(rules)
	await run('group', 'mode', 'rf.db.shop', 'protect')
	const gone = await run('what-if', 'rule', 'delete', String(learned?.id))
	expect(gone).toMatch(/^1 of 1 conversations/)
	expect(gone).toContain('newly denied: 1 conversations, 1 sessions, 4500 bytes\nFROM ')
	expect(gone).toContain('deny, no rule (protect)')
	const words = ['--from', 'rf.web.shop', '--to', 'rf.db.shop', '--action', 'deny']
	const added = await run('what-if', 'rule', 'add', ...words, '--app', 'http', '-o', 'json')
	expect(JSON.parse(added).newlyDenied.items[0].atServer.after).toMatchObject({ rule: 'new:0' })
	expect(await it.fleet.store.db.select().from(rules)).toEqual([learned])
})

test('the exit code says that there is no such rule or group', async () => {
	const wrong = { exitCode: 2 }
	await expect(run('what-if', 'rule', 'delete', '4711')).rejects.toMatchObject(wrong)
	await expect(run('what-if', 'mode', 'nobody', 'protect')).rejects.toMatchObject(wrong)
})

async function run(...words: string[]): Promise<string> {
	let written = ''
	const program = createProgram({
		env: { RINGFENCE_URL: url, RINGFENCE_KEY: it.keys.operator },
		write: (text) => {
			written += text
		},
		warn: () => {},
		askSecret: async () => '',
	})
	await program.parseAsync(words, { from: 'user' })
	return written
}
