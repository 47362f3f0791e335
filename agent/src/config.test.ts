import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ConfigError, readConfig } from './config.ts'

let folder = ''
beforeAll(() => {
	folder = mkdtempSync(join(tmpdir(), 'ringfence-config-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const controller = 'http://127.0.0.1:8080'

test('an option wins over its variable, that over the file, that over the default', () => {
	const file = write({ controller, state: '/file', 'netns-dir': '/file', workers: 3 })
	const env = { RINGFENCE_STATE: '/env', RINGFENCE_NETNS_DIR: '/env' }
	const config = readConfig({ options: { state: '/option' }, env, file })
	expect(config).toMatchObject({
		stateDir: '/option',
		netnsDir: '/env',
		workers: 3,
		labelsDir: '/run/ringfence/workloads',
		logLevel: 'info',
	})
})

test('what cannot be used is refused with its name', () => {
	const refuse = (options: object, why: string) => {
		const read = () => readConfig({ options: { controller, ...options }, env: {}, file: undefined })
		expect(read).toThrow(ConfigError)
		expect(read).toThrow(why)
	}
	refuse({ controller: 'mqtt://x' }, 'not an http')
	refuse({ state: '' }, '--state')
	refuse({ workers: '0' }, '--workers')
	refuse({ workers: '1e3' }, '--workers')
	refuse({ 'ring-blocks': '100000' }, '--ring-blocks')
	refuse({ 'log-level': 'loud' }, '--log-level')
})

test('a configuration file is checked whole', () => {
	const refuse = (content: unknown, why: string) => {
		const file = write(content)
		expect(() => readConfig({ options: { controller }, env: {}, file })).toThrow(why)
	}
	refuse({ colour: 'red' }, 'unknown key colour')
	refuse({ state: { a: 1 } }, 'neither text nor number')
	refuse([], 'not an object')
})

test('the token comes from its file, and an enrolled node may have lost it', () => {
	writeFileSync(join(folder, 'token'), 'rft_1_x\n')
	const withFile = (path: string) =>
		readConfig({ options: { controller, 'token-file': path }, env: {}, file: undefined })
	expect(withFile(join(folder, 'token')).token).toBe('rft_1_x')
	const without = withFile(join(folder, 'gone'))
	expect(without.token).toBeUndefined()
	expect(without.warnings[0]).toContain('--token-file')
})

function write(content: unknown): string {
	const path = join(folder, 'config.json')
	writeFileSync(path, JSON.stringify(content))
	return path
}
