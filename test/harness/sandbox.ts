import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause, waitFor } from './wait.ts'

/** Repository root. */
export const ROOT = new URL('../..', import.meta.url).pathname

export interface Program {
	readonly child: ChildProcess
	/** Everything it printed, both streams in order of arrival. */
	output(): string
	isRunning(): boolean
	/** Signals it and waits until it is gone; SIGKILL after `withinMs`. */
	stop(signal?: NodeJS.Signals, withinMs?: number): Promise<void>
}

export interface ProgramOptions {
	/** Network namespace to run in; this machine's when absent. */
	readonly namespace?: string | undefined
	readonly env?: Record<string, string>
	readonly stdin?: 'ignore' | 'pipe'
}

export interface Host {
	readonly namespace: string
	readonly v4: string
	readonly v6: string
}

/**
 * What a test makes on the machine: a folder, namespaces, links, processes. `close` removes all of it, also after a
 * failure; the process's exit removes what is left when even that was not reached.
 */
export interface Sandbox {
	/** Prefix of every name it makes; at most eight characters, so that links can carry it. */
	readonly prefix: string
	readonly directory: string
	namespace(name: string): string
	/** A bridge in `namespace` (this machine when undefined) with addresses, host part 1. */
	bridge(options: BridgeOptions): void
	/** A namespace with one interface `eth0` on a bridge, IPv4 and IPv6. */
	attach(options: AttachOptions): Host
	/** Labels that a node's runtime reads beside the namespace. */
	label(namespace: string, labels: object): void
	readonly labelsDirectory: string
	run(command: readonly string[], options?: ProgramOptions): Program
	/** Runs to its end and returns its standard output; throws when it fails. */
	call(command: readonly string[], options?: { namespace?: string; input?: string }): string
	file(name: string, content: string): string
	close(): Promise<void>
}

export interface BridgeOptions {
	readonly name: string
	/** `10.90.1` and `fd90:1`: networks 10.90.1.0/24 and fd90:1::/64. */
	readonly v4: string
	readonly v6: string
	readonly namespace?: string
}

export interface AttachOptions {
	readonly name: string
	readonly bridge: BridgeOptions
	readonly host: number
}

const open = new Set<() => void>()
process.on('exit', () => {
	for (const remove of open) remove()
})
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
	process.once(signal, () => process.exit(1))
}

let made = 0

export function openSandbox(): Sandbox {
	const prefix = `rt${process.pid.toString(36)}${(made++).toString(36)}`.slice(0, 8)
	const directory = mkdtempSync(join(tmpdir(), 'ringfence-'))
	const labelsDirectory = join(directory, 'labels')
	mkdirSync(labelsDirectory)
	const programs: Program[] = []
	const namespaces: string[] = []
	const links: string[] = []

	const removeLeftovers = () => {
		for (const { child } of programs) kill(child, 'SIGKILL')
		for (const name of namespaces) removeNamespace(name)
		for (const name of links) quietly(() => ip('link', 'del', name))
		rmSync(directory, { recursive: true, force: true })
		open.delete(removeLeftovers)
	}
	open.add(removeLeftovers)

	const namespace = (name: string) => {
		const full = `${prefix}-${name}`
		ip('netns', 'add', full)
		namespaces.push(full)
		ip('-n', full, 'link', 'set', 'lo', 'up')
		return full
	}

	return {
		prefix,
		directory,
		labelsDirectory,
		namespace,
		bridge(options) {
			makeBridge(prefix, options)
			if (!options.namespace) links.push(bridgeName(prefix, options))
		},
		attach: (options) => attach(prefix, namespace(options.name), options),
		label(name, labels) {
			writeFileSync(join(labelsDirectory, `${name}.json`), JSON.stringify(labels))
		},
		run(command, options = {}) {
			const program = runProgram(command, options)
			programs.push(program)
			return program
		},
		call: (command, options = {}) => {
			const [program = '', ...args] = inNamespace(options.namespace, command)
			return execFileSync(program, args, {
				encoding: 'utf8',
				stdio: ['pipe', 'pipe', 'pipe'],
				input: options.input ?? '',
				maxBuffer: 1 << 28,
			})
		},
		file(name, content) {
			const path = join(directory, name)
			mkdirSync(join(path, '..'), { recursive: true })
			writeFileSync(path, content)
			return path
		},
		async close() {
			for (const program of [...programs].reverse()) await program.stop()
			removeLeftovers()
		},
	}
}

/** A TCP port that was free a moment ago. */
export function freePort(): Promise<number> {
	return new Promise((resolve, reject) => {
		const server = createServer().on('error', reject)
		server.listen(0, '127.0.0.1', () => {
			const address = server.address()
			server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
		})
	})
}

function makeBridge(prefix: string, options: BridgeOptions): void {
	const name = bridgeName(prefix, options)
	const at = options.namespace ? ['-n', options.namespace] : []
	ip(...at, 'link', 'add', name, 'type', 'bridge')
	ip(...at, 'addr', 'add', `${options.v4}.1/24`, 'dev', name)
	ip(...at, 'addr', 'add', `${options.v6}::1/64`, 'dev', name, 'nodad')
	ip(...at, 'link', 'set', name, 'up')
}

function bridgeName(prefix: string, { name }: BridgeOptions): string {
	return `${prefix}${name}`.slice(0, 15)
}

function attach(prefix: string, namespace: string, { name, bridge, host }: AttachOptions): Host {
	const at = bridge.namespace ? ['-n', bridge.namespace] : []
	const port = `${prefix}v${name}`.slice(0, 15)
	const v4 = `${bridge.v4}.${host}`
	const v6 = `${bridge.v6}::${host.toString(16)}`
	ip(...at, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace)
	ip(...at, 'link', 'set', port, 'master', bridgeName(prefix, bridge), 'up')
	ip('-n', namespace, 'addr', 'add', `${v4}/24`, 'dev', 'eth0')
	ip('-n', namespace, 'addr', 'add', `${v6}/64`, 'dev', 'eth0', 'nodad')
	ip('-n', namespace, 'link', 'set', 'eth0', 'up')
	ip('-n', namespace, 'route', 'add', 'default', 'via', `${bridge.v4}.1`)
	ip('-n', namespace, '-6', 'route', 'add', 'default', 'via', `${bridge.v6}::1`)
	return { namespace, v4, v6 }
}

function runProgram(command: readonly string[], options: ProgramOptions): Program {
	const [file = '', ...args] = inNamespace(options.namespace, command)
	const child = spawn(file, args, {
		stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
		env: { ...process.env, ...options.env },
		cwd: ROOT,
	})
	let output = ''
	let isRunning = true
	const keep = (bytes: Buffer) => {
		output = (output + String(bytes)).slice(-1_000_000)
	}
	child.stdout?.on('data', keep)
	child.stderr?.on('data', keep)
	child.on('exit', () => {
		isRunning = false
	})
	child.on('error', (error) => {
		isRunning = false
		output += String(error)
	})
	return {
		child,
		output: () => output,
		isRunning: () => isRunning,
		async stop(signal = 'SIGTERM', withinMs = 8000) {
			if (!isRunning) return
			kill(child, signal)
			await waitFor('the program to end', () => !isRunning, withinMs).catch(() =>
				kill(child, 'SIGKILL'),
			)
			while (isRunning) await pause(10)
		},
	}
}

/** `nsenter` and not `ip netns exec`: mounts stay as they are. */
function inNamespace(namespace: string | undefined, command: readonly string[]): readonly string[] {
	return namespace ? ['nsenter', `--net=/run/netns/${namespace}`, ...command] : command
}

function removeNamespace(name: string): void {
	const pids = quietly(() => ip('netns', 'pids', name)) ?? ''
	for (const pid of pids.split('\n').filter(Boolean)) {
		quietly(() => process.kill(Number(pid), 'SIGKILL'))
	}
	quietly(() => ip('netns', 'del', name))
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
	quietly(() => child.kill(signal))
}

function ip(...args: string[]): string {
	return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

function quietly<Result>(work: () => Result): Result | undefined {
	try {
		return work()
	} catch {
		return undefined
	}
}
