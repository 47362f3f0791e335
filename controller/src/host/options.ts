import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { LogLevel } from '../fleet/fleet.ts'
import { StartError } from './start-error.ts'

export interface Endpoint {
	readonly host: string
	readonly port: number
}

export type BrokerOptions =
	| { readonly kind: 'embedded'; readonly listen: Endpoint; readonly publicUrl: string }
	| {
			readonly kind: 'external'
			readonly url: string
			readonly publicUrl: string
			readonly user: string | undefined
			readonly password: string | undefined
			/** PEM */
			readonly ca: string | undefined
			readonly accounts: 'dynsec' | 'none'
	  }

export interface HostOptions {
	readonly dataDirectory: string
	readonly databaseUrl: string
	readonly databaseToken: string | undefined
	readonly listen: Endpoint
	readonly publicUrl: string | undefined
	readonly broker: BrokerOptions
	readonly enrollTokenFile: string | undefined
	readonly readyFile: string | undefined
	readonly logLevel: LogLevel
	readonly logFormat: 'text' | 'json'
}

export const USAGE = `usage: ringfence-controller [OPTION...]
Each option may also come from the environment: --broker-user is RINGFENCE_BROKER_USER. A flag wins.

  --data DIR                   database and keys; made with mode 0700 (./.state/controller)
  --database URL               file:PATH, or libsql://… of a server, with RINGFENCE_DATABASE_TOKEN (DIR/ringfence.db)
  --listen HOST:PORT           HTTP (127.0.0.1:8080); TLS is a proxy's job
  --public-url URL             address people use, when that is a proxy's
  --broker embedded|URL        MQTT broker: in this process, or mqtt:// mqtts:// ws:// wss:// (embedded)
  --broker-listen HOST:PORT    of the embedded broker (127.0.0.1:1883)
  --broker-public-url URL      what agents are told (the broker's own address)
  --broker-user NAME           account at an external broker
  --broker-password TEXT, --broker-password-file FILE
  --broker-ca FILE             PEM of the authority behind an external broker's certificate
  --broker-accounts dynsec|none
                               who makes the nodes' accounts at an external broker: the controller, by Mosquitto's
                               dynamic security plugin, or the broker's operator, by other means (none)
  --enroll-token-file FILE     write a token with which agents may enrol, mode 0600, renewed while running
  --ready-file FILE            made when the controller is ready, with its URL; removed at the end
  --log-level error|warn|info|debug (info)
  --log-format text|json       of the log on standard error (text)
  --help
`

const FLAGS = {
	data: { type: 'string' },
	database: { type: 'string' },
	listen: { type: 'string' },
	'public-url': { type: 'string' },
	broker: { type: 'string' },
	'broker-listen': { type: 'string' },
	'broker-public-url': { type: 'string' },
	'broker-user': { type: 'string' },
	'broker-password': { type: 'string' },
	'broker-password-file': { type: 'string' },
	'broker-ca': { type: 'string' },
	'broker-accounts': { type: 'string' },
	'enroll-token-file': { type: 'string' },
	'ready-file': { type: 'string' },
	'log-level': { type: 'string' },
	'log-format': { type: 'string' },
	help: { type: 'boolean' },
} as const

type Environment = Readonly<Record<string, string | undefined>>
type Read = (name: keyof typeof FLAGS) => string | undefined

/**
 * Reads the command line and the environment, whole and checked.
 * @returns `help` when that is asked for
 * @throws StartError in words for the one who typed it
 */
export function readOptions(args: readonly string[], env: Environment): HostOptions | 'help' {
	const flags = parseFlags(args)
	if (flags.help === true) return 'help'
	const read: Read = (name) => {
		const value = flags[name] ?? env[`RINGFENCE_${name.toUpperCase().replaceAll('-', '_')}`]
		return value === undefined || value === '' ? undefined : String(value)
	}
	const dataDirectory = resolve(read('data') ?? '.state/controller')
	return {
		dataDirectory,
		databaseUrl: read('database') ?? `file:${join(dataDirectory, 'ringfence.db')}`,
		databaseToken: env['RINGFENCE_DATABASE_TOKEN'],
		listen: endpointOf('listen', read('listen') ?? '127.0.0.1:8080'),
		publicUrl: urlOf('public-url', read('public-url'), ['http:', 'https:']),
		broker: brokerOf(read),
		enrollTokenFile: read('enroll-token-file'),
		readyFile: read('ready-file'),
		logLevel: oneOf('log-level', read('log-level') ?? 'info', ['error', 'warn', 'info', 'debug']),
		logFormat: oneOf('log-format', read('log-format') ?? 'text', ['text', 'json']),
	}
}

function parseFlags(args: readonly string[]) {
	try {
		return parseArgs({ args: [...args], options: FLAGS }).values
	} catch (error) {
		throw new StartError(`${String((error as Error).message)} (--help shows the options)`, {
			cause: error,
		})
	}
}

const BROKER_PROTOCOLS = ['mqtt:', 'mqtts:', 'ws:', 'wss:']

function brokerOf(read: Read): BrokerOptions {
	const broker = read('broker') ?? 'embedded'
	const told = urlOf('broker-public-url', read('broker-public-url'), BROKER_PROTOCOLS)
	if (broker === 'embedded') {
		for (const name of [
			'broker-user',
			'broker-password',
			'broker-accounts',
			'broker-ca',
		] as const) {
			if (read(name) === undefined) continue
			throw new StartError(`--${name} is for an external broker, which --broker URL names`)
		}
		const listen = endpointOf('broker-listen', read('broker-listen') ?? '127.0.0.1:1883')
		return { kind: 'embedded', listen, publicUrl: told ?? `mqtt://${reachable(listen)}` }
	}
	const url = urlOf('broker', broker, BROKER_PROTOCOLS) ?? ''
	return {
		kind: 'external',
		url,
		publicUrl: told ?? url,
		user: read('broker-user'),
		password: passwordOf(read),
		ca: fileOf('broker-ca', read('broker-ca')),
		accounts: oneOf('broker-accounts', read('broker-accounts') ?? 'none', ['dynsec', 'none']),
	}
}

function passwordOf(read: Read): string | undefined {
	return (
		fileOf('broker-password-file', read('broker-password-file'))?.trim() ?? read('broker-password')
	)
}

function fileOf(name: string, file: string | undefined): string | undefined {
	if (file === undefined) return undefined
	try {
		return readFileSync(file, 'utf8')
	} catch (error) {
		throw new StartError(`--${name}: ${String((error as Error).message)}`, { cause: error })
	}
}

/** As others can reach it: a wildcard address is no destination. */
export function reachable({ host, port }: Endpoint): string {
	const name = host === '0.0.0.0' || host === '::' ? hostname() : host
	return `${name.includes(':') ? `[${name}]` : name}:${port}`
}

function endpointOf(name: string, text: string): Endpoint {
	const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[^:\s]+):(\d{1,5})$/.exec(text) ?? []
	if (host === undefined || Number(port) > 65_535) {
		throw new StartError(`--${name}: "${text}" is not HOST:PORT`)
	}
	return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

function urlOf(
	name: string,
	text: string | undefined,
	protocols: readonly string[],
): string | undefined {
	if (text === undefined) return undefined
	const url = URL.canParse(text) ? new URL(text) : undefined
	if (url === undefined || !protocols.includes(url.protocol) || url.hostname === '') {
		throw new StartError(`--${name}: "${text}" is not a URL with ${protocols.join(' ')}`)
	}
	if (url.username !== '' || url.password !== '') {
		throw new StartError(`--${name}: user and password don't belong in the URL`)
	}
	return text.replace(/\/+$/, '')
}

function oneOf<Word extends string>(name: string, text: string, words: readonly Word[]): Word {
	const found = words.find((word) => word === text)
	if (found === undefined)
		throw new StartError(`--${name}: "${text}" is none of ${words.join(', ')}`)
	return found
}
