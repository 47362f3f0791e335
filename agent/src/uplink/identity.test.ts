import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { loadIdentity, parseIdentity, prepareStateDir, saveIdentity } from './identity.ts'
import { FakeController } from './testing/fake-controller.ts'
import { QUICK, recordingHandlers } from './testing/samples.ts'
import { until } from './testing/until.ts'
import { openUplink, type UplinkConfig } from './uplink.ts'

let stateDir: string
let controller: FakeController

beforeEach(async () => {
	stateDir = join(await mkdtemp(join(tmpdir(), 'rf-identity-')), 'state')
	controller = new FakeController('mqtt://127.0.0.1:1')
})

afterEach(async () => {
	await controller.stop()
	await rm(join(stateDir, '..'), { recursive: true })
})

it('keeps credentials for their owner only', async () => {
	await prepareStateDir(stateDir)
	await saveIdentity(stateDir, controller.response('n1'))
	expect((await stat(stateDir)).mode & 0o777).toBe(0o700)
	expect((await stat(join(stateDir, 'identity.json'))).mode & 0o777).toBe(0o600)
	expect(await readdir(stateDir)).toEqual(['identity.json'])
	expect(await loadIdentity(stateDir)).toMatchObject({ node: 'n1', cluster: 'c1', keyId: 'k1' })
})

it.each([
	['cut short', (text: string) => text.slice(0, -20)],
	['empty', () => ''],
	['without a key', (text: string) => text.replace('controllerKey', 'other')],
])('refuses an identity that is %s, and leaves it as it is', async (_, damage) => {
	await prepareStateDir(stateDir)
	await saveIdentity(stateDir, controller.response('n1'))
	const path = join(stateDir, 'identity.json')
	const damaged = damage(await readFile(path, 'utf8'))
	await writeFile(path, damaged)
	await controller.listen()
	const opening = open({ token: controller.newToken() })
	await expect(opening).rejects.toMatchObject({ code: 'state' })
	await expect(opening).rejects.toThrow(/identity.json is damaged.*Restore it/)
	expect(await readFile(path, 'utf8')).toBe(damaged)
	expect(controller.enrolments).toBe(0)
})

it('does not enrol over an identity that cannot be read', async () => {
	await mkdir(join(stateDir, 'identity.json'), { recursive: true })
	await controller.listen()
	const opening = open({ token: controller.newToken() })
	await expect(opening).rejects.toMatchObject({ code: 'state' })
	expect(controller.enrolments).toBe(0)
})

it.each([
	['brokerUrl', 'http://broker', 'not mqtt'],
	['brokerUrl', 'broker', 'not a URL'],
	['controllerKey', 'AAAA', 'not 32 bytes'],
	['node', '../../etc', 'node'],
])('refuses an answer with %s %s', (field, value, why) => {
	expect(() => parseIdentity({ ...controller.response('n1'), [field]: value })).toThrow(why)
})

it('waits for a controller that is away or out of order, and tells why', async () => {
	const port = await freePort()
	const handlers = recordingHandlers()
	const opening = open({ controllerUrl: `http://127.0.0.1:${port}`, token: 'rft_a_b' }, handlers)
	await until('it was tried', () => handlers.lines.join().includes('ECONNREFUSED'))
	controller.refusal = {
		status: 503,
		body: '{"title":"Starting","detail":"the database migrates"}',
	}
	await controller.listen(port)
	const isTold = () => handlers.lines.join().includes('503 Starting: the database migrates')
	await until('it was told to wait', isTold)
	controller.refusal = { status: 201, body: JSON.stringify(controller.response('n7')) }
	const uplink = await opening
	expect(uplink.node).toBe('n7')
	await uplink.stop()
})

it('gives up when the controller refuses the token, in its words', async () => {
	await controller.listen()
	const opening = open({ token: 'rft_used_up' })
	await expect(opening).rejects.toMatchObject({ code: 'enrol' })
	await expect(opening).rejects.toThrow(/401 Unauthorized: unknown token.*make a new one/)
	expect(await readdir(stateDir)).toEqual([])
})

it.each([
	['no JSON', '<html>'],
	['of another shape', '{"node":"n1"}'],
	['endless', 'x'.repeat(100_000)],
])('takes no answer that is %s', async (_, body) => {
	await controller.listen()
	controller.refusal = { status: 200, body }
	const abort = new AbortController()
	const handlers = recordingHandlers()
	const opening = open({ token: 'rft_a_b', signal: abort.signal }, handlers)
	const outcome = opening.then(
		() => 'opened',
		(error: unknown) => String(error),
	)
	await Promise.race([outcome, until('tried again', () => handlers.lines.length > 0)])
	abort.abort()
	expect(await outcome).toMatch(/cannot be used|given up/)
	expect(await readdir(stateDir)).toEqual([])
})

it.each([
	['a token', { token: undefined }, 'needs the URL of a controller and a token'],
	['a controller', { controllerUrl: undefined }, 'needs the URL of a controller and a token'],
	['a usable URL', { controllerUrl: 'controller' }, 'is not a URL'],
	['a name', { name: '' }, 'name'],
])('does not enrol without %s', async (_, config, why) => {
	await controller.listen()
	const opening = open({ token: 'rft_a_b', ...config })
	await expect(opening).rejects.toMatchObject({ code: 'enrol' })
	await expect(opening).rejects.toThrow(why)
	expect(controller.enrolments).toBe(0)
})

function open(config: Partial<UplinkConfig>, handlers = recordingHandlers()) {
	const controllerUrl = 'controllerUrl' in config ? config.controllerUrl : controller.url
	return openUplink({ stateDir, name: 'h', timing: QUICK, ...config, controllerUrl }, handlers)
}

async function freePort(): Promise<number> {
	const server = createServer()
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
	const address = server.address()
	await new Promise((resolve) => server.close(resolve))
	if (typeof address !== 'object' || address === null) throw new Error('no port')
	return address.port
}
