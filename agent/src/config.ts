import { readFileSync } from 'node:fs'
import { availableParallelism, hostname } from 'node:os'
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from './commands/log.ts'

/** How `run` runs, complete and checked. */
export interface RunConfig {
	/** Identity, spool and cached policy. */
	readonly stateDir: string
	/** For the first enrolment only, with the token. */
	readonly controllerUrl: string | undefined
	/** For the first enrolment only. */
	readonly token: string | undefined
	/** Name of the node for people. */
	readonly name: string
	readonly netnsDir: string
	readonly netnsPrefix: string
	readonly labelsDir: string
	readonly workers: number
	/** Ring of each interface, in blocks of 512 KiB. */
	readonly ringBlocks: number
	readonly logLevel: LogLevel
	readonly logFormat: LogFormat
	/** What is odd and does not prevent the start. */
	readonly warnings: readonly string[]
}

/** Configuration that cannot be used; says which setting and where it came from. */
export class ConfigError extends Error {
	readonly code = 'CONFIG'

	constructor(message: string, options?: ErrorOptions) {
		super(message, options)
		this.name = 'ConfigError'
	}
}

/** One setting: its option `--name`, its key in the file, and what it is for. The variable is `RINGFENCE_NAME`. */
interface Setting {
	readonly name: string
	readonly argument: string
	readonly about: string
}

export const SETTINGS = [
	{ name: 'state', argument: 'DIR', about: 'identity, spool and cached policy' },
	{ name: 'controller', argument: 'URL', about: 'where to enrol, the first time' },
	{ name: 'token', argument: 'TOKEN', about: 'proves that it may' },
	{ name: 'token-file', argument: 'FILE', about: 'file that holds the token' },
	{ name: 'name', argument: 'NAME', about: 'name of the node (default: host name)' },
	{ name: 'netns-dir', argument: 'DIR', about: 'named network namespaces' },
	{ name: 'netns-prefix', argument: 'PREFIX', about: 'only namespaces so named are workloads' },
	{ name: 'labels-dir', argument: 'DIR', about: '<name>.json tells of a namespace' },
	{ name: 'workers', argument: 'N', about: 'packet threads (default: cores - 1, at most 4)' },
	{ name: 'ring-blocks', argument: 'N', about: 'ring of an interface, in units of 512 KiB' },
	{ name: 'log-level', argument: 'LEVEL', about: LOG_LEVELS.join(', ') },
	{ name: 'log-format', argument: 'FORMAT', about: LOG_FORMATS.join(', ') },
] as const satisfies readonly Setting[]

export type SettingName = (typeof SETTINGS)[number]['name']

export const DEFAULTS: Partial<Record<SettingName, string>> = {
	state: '/var/lib/ringfence-agent',
	'netns-dir': '/run/netns',
	'labels-dir': '/run/ringfence/workloads',
	'ring-blocks': '16',
	'log-level': 'info',
	'log-format': 'text',
}

/** Threads beyond these do not pay: a workload stays on one. */
const WORKERS_DEFAULT_MAX = 4
const WORKERS_MAX = 64
const RING_BLOCKS_MAX = 512

export interface ConfigSources {
	/** From the command line, by setting. */
	readonly options: Partial<Record<SettingName, string>>
	readonly env: Readonly<Record<string, string | undefined>>
	/** JSON file: an object of settings. */
	readonly file: string | undefined
}

/** Reads the configuration: an option wins over its variable, that over the file, that over the default. */
export function readConfig({ options, env, file }: ConfigSources): RunConfig {
	const fromFile = file === undefined ? {} : readFile(file)
	const text = (name: SettingName) =>
		options[name] ?? env[variableOf(name)] ?? fromFile[name] ?? DEFAULTS[name]
	const warnings: string[] = []
	return {
		stateDir: required('state', text('state')),
		controllerUrl: urlOf(text('controller')),
		token: tokenOf(text('token'), text('token-file'), warnings),
		name: (text('name') ?? hostname()) || 'localhost',
		netnsDir: required('netns-dir', text('netns-dir')),
		netnsPrefix: text('netns-prefix') ?? '',
		labelsDir: required('labels-dir', text('labels-dir')),
		workers: countOf('workers', text('workers') ?? String(workersDefault()), WORKERS_MAX),
		ringBlocks: countOf('ring-blocks', text('ring-blocks') ?? '', RING_BLOCKS_MAX),
		logLevel: oneOf('log-level', text('log-level'), LOG_LEVELS),
		logFormat: oneOf('log-format', text('log-format'), LOG_FORMATS),
		warnings,
	}
}

/** Version of this program. */
export function agentVersion(): string {
	const file = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
	return String(JSON.parse(file).version)
}

function variableOf(name: SettingName): string {
	return `RINGFENCE_${name.replaceAll('-', '_').toUpperCase()}`
}

function readFile(path: string): Partial<Record<SettingName, string>> {
	let json: unknown
	try {
		json = JSON.parse(readFileSync(path, 'utf8'))
	} catch (error) {
		const why = error instanceof Error ? error.message : String(error)
		throw new ConfigError(`configuration file ${path}: ${why}`, { cause: error })
	}
	if (typeof json !== 'object' || json === null || Array.isArray(json)) {
		throw new ConfigError(`configuration file ${path}: not an object`)
	}
	const names = new Set<string>(SETTINGS.map(({ name }) => name))
	for (const [key, value] of Object.entries(json)) {
		if (!names.has(key)) throw new ConfigError(`configuration file ${path}: unknown key ${key}`)
		if (typeof value !== 'string' && typeof value !== 'number') {
			throw new ConfigError(`configuration file ${path}: ${key} is neither text nor number`)
		}
	}
	return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, String(value)]))
}

function required(name: SettingName, text: string | undefined): string {
	if (text === undefined || text === '') {
		throw new ConfigError(`--${name} (or ${variableOf(name)}) is missing`)
	}
	return text
}

function urlOf(text: string | undefined): string | undefined {
	if (text === undefined) return undefined
	const url = URL.canParse(text) ? new URL(text) : undefined
	if (url?.protocol === 'http:' || url?.protocol === 'https:') return text
	throw new ConfigError(`--controller: ${text} is not an http or https URL`)
}

/** A node that is enrolled needs no token: a file that is gone by then is no error. */
function tokenOf(
	token: string | undefined,
	file: string | undefined,
	warnings: string[],
): string | undefined {
	if (token !== undefined || file === undefined) return token
	try {
		return readFileSync(file, 'utf8').trim()
	} catch (error) {
		warnings.push(`--token-file: ${error instanceof Error ? error.message : String(error)}`)
		return undefined
	}
}

function countOf(name: SettingName, text: string, max: number): number {
	const count = /^\d{1,9}$/.test(text) ? Number(text) : 0
	if (count >= 1 && count <= max) return count
	throw new ConfigError(`--${name}: ${text} is not a number from 1 to ${max}`)
}

function oneOf<Value extends string>(
	name: SettingName,
	text: string | undefined,
	values: readonly Value[],
): Value {
	const found = values.find((value) => value === text)
	if (found !== undefined) return found
	throw new ConfigError(`--${name}: ${text} is none of ${values.join(', ')}`)
}

function workersDefault(): number {
	return Math.min(WORKERS_DEFAULT_MAX, Math.max(1, availableParallelism() - 1))
}
