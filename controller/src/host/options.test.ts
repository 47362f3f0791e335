import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type HostOptions, reachable, readOptions, USAGE } from './options.ts'

let directory: string
beforeEach(() => {
	directory = mkdtempSync(join(tmpdir(), 'ringfence-options-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('options', () => {
	it('have defaults that need nothing but this machine', () => {
		const options = read([])
		expect(options).toMatchObject({
			listen: { host: '127.0.0.1', port: 8080 },
			broker: {
				kind: 'embedded',
				listen: { host: '127.0.0.1', port: 1883 },
				publicUrl: 'mqtt://127.0.0.1:1883',
			},
			logLevel: 'info',
			logFormat: 'text',
		})
		expect(options.databaseUrl).toBe(`file:${options.dataDirectory}/ringfence.db`)
	})

	it('come from flags before the environment', () => {
		const env = {
			RINGFENCE_LISTEN: '127.0.0.1:1',
			RINGFENCE_LOG_LEVEL: 'debug',
			RINGFENCE_DATA: '/d',
		}
		expect(read(['--listen', '[::1]:2'], env)).toMatchObject({
			listen: { host: '::1', port: 2 },
			logLevel: 'debug',
			dataDirectory: '/d',
		})
	})

	it('of an external broker have a password from a file', () => {
		const file = join(directory, 'password')
		writeFileSync(file, 'secret\n')
		const args = [
			'--broker',
			'mqtts://b.example:8883/',
			'--broker-user',
			'u',
			'--broker-accounts',
			'dynsec',
		]
		expect(read([...args, '--broker-password-file', file]).broker).toEqual({
			kind: 'external',
			url: 'mqtts://b.example:8883',
			publicUrl: 'mqtts://b.example:8883',
			user: 'u',
			password: 'secret',
			ca: undefined,
			accounts: 'dynsec',
		})
	})

	it.each([
		[['--listen', 'here'], /--listen: "here" is not HOST:PORT/],
		[['--listen', '127.0.0.1:70000'], /HOST:PORT/],
		[['--broker', 'http://x'], /--broker: "http:\/\/x" is not a URL/],
		[['--broker', 'mqtt://u:p@x'], /don't belong in the URL/],
		[['--broker-user', 'u'], /is for an external broker/],
		[['--broker', 'mqtt://x', '--broker-accounts', 'all'], /none of dynsec, none/],
		[['--broker', 'mqtt://x', '--broker-password-file', '/nowhere/x'], /ENOENT/],
		[['--log-level', 'loud'], /none of error, warn, info, debug/],
		[['--nonsense'], /--nonsense/],
		[['stray'], /stray/],
	])('are refused in words: %j', (args, words) => {
		expect(() => read(args)).toThrow(words)
	})

	it('tell others a name they can reach', () => {
		expect(reachable({ host: '::1', port: 1 })).toBe('[::1]:1')
		expect(reachable({ host: '0.0.0.0', port: 1 })).not.toContain('0.0.0.0')
	})

	it('are shown by --help', () => {
		expect(readOptions(['--help'], {})).toBe('help')
		expect(USAGE).toContain('--broker-accounts')
	})
})

function read(args: readonly string[], env = {}): HostOptions {
	const options = readOptions(args, env)
	if (options === 'help') throw new Error('no help was asked for')
	return options
}
