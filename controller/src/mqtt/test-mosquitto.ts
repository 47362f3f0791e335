import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from './test-clients.ts'

const INIT = fileURLToPath(new URL('../../../infra/mosquitto/init.mjs', import.meta.url))
const PROGRAM = '/usr/sbin/mosquitto'

export const hasMosquitto = existsSync(PROGRAM)

export interface Mosquitto {
	readonly port: number
	readonly directory: string
	/** Of account `controller`. */
	readonly password: string
	/** Ends it (crash: without saving) and starts it again on the same port. */
	restart(signal: NodeJS.Signals): Promise<void>
	stop(): Promise<void>
}

/** A real Mosquitto with dynamic security in a directory of its own, as `infra/mosquitto/init.mjs` makes it. */
export async function startMosquitto(): Promise<Mosquitto> {
	const parent = mkdtempSync(join(tmpdir(), 'ringfence-mosquitto-'))
	const directory = join(parent, 'broker')
	const port = await freePort()
	execFileSync(process.execPath, [INIT, '--dir', directory, '--listen', `127.0.0.1:${port}`])
	let child = await run(directory, port)
	return {
		port,
		directory,
		password: readFileSync(join(directory, 'controller-password'), 'utf8').trim(),
		async restart(signal) {
			await end(child, signal)
			child = await run(directory, port)
		},
		async stop() {
			await end(child, 'SIGTERM')
			rmSync(parent, { recursive: true, force: true })
		},
	}
}

/** Resolves when it accepts connections. */
async function run(directory: string, port: number): Promise<ChildProcess> {
	const child = spawn(PROGRAM, ['-c', join(directory, 'mosquitto.conf')], {
		stdio: ['ignore', 'ignore', 'pipe'],
	})
	let said = ''
	child.stderr?.on('data', (bytes: Buffer) => {
		said = `${said}${bytes}`.slice(-4000)
	})
	while (child.exitCode === null) {
		if (await isListening(port)) return child
		await new Promise((resolve) => setTimeout(resolve, 10))
	}
	throw new Error(`mosquitto ended: ${said}`)
}

function isListening(port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(port, '127.0.0.1')
		const answer = (is: boolean) => {
			socket.destroy()
			resolve(is)
		}
		socket.once('connect', () => answer(true))
		socket.once('error', () => answer(false))
	})
}

function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
	return new Promise((resolve) => {
		if (child.exitCode !== null || child.signalCode !== null) return resolve()
		child.once('exit', () => resolve())
		child.kill(signal)
	})
}
