import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Aedes } from 'aedes'
import { until } from './until.ts'

const MOSQUITTO = '/usr/sbin/mosquitto'

/** A broker on loopback that can be stopped without warning and started again at the same port. */
export interface TestBroker {
	readonly url: string
	start(): Promise<void>
	/** Ends it with all its connections and all it retained; clients get no goodbye. */
	kill(): Promise<void>
}

/** Brokers that this machine has: aedes speaks MQTT 3.1.1 only, mosquitto 5 as well. */
export const BROKERS: readonly { readonly name: string; make(): Promise<TestBroker> }[] = [
	{ name: 'aedes', make: makeAedes },
	...(existsSync(MOSQUITTO) ? [{ name: 'mosquitto', make: makeMosquitto }] : []),
]

async function makeAedes(): Promise<TestBroker> {
	const port = await freePort()
	const sockets = new Set<Socket>()
	let server: Server | undefined
	let broker: Aedes | undefined
	return {
		url: `mqtt://127.0.0.1:${port}`,
		async start() {
			const started = await Aedes.createBroker()
			broker = started
			server = createServer((socket) => {
				sockets.add(socket)
				socket.once('close', () => sockets.delete(socket))
				started.handle(socket)
			})
			server.listen(port, '127.0.0.1')
			await once(server, 'listening')
		},
		async kill() {
			server?.close()
			for (const socket of sockets) socket.destroy()
			const closing = broker
			if (closing) await new Promise<void>((resolve) => closing.close(() => resolve()))
			broker = undefined
		},
	}
}

async function makeMosquitto(): Promise<TestBroker> {
	const port = await freePort()
	let child: ChildProcess | undefined
	return {
		url: `mqtt://127.0.0.1:${port}`,
		async start() {
			const dir = await mkdtemp(join(tmpdir(), 'rf-mosquitto-'))
			const config = join(dir, 'mosquitto.conf')
			const lines = [`listener ${port} 127.0.0.1`, 'allow_anonymous true', 'persistence false']
			await writeFile(config, `${lines.join('\n')}\n`)
			child = spawn(MOSQUITTO, ['-c', config], { stdio: 'ignore' })
			await until('mosquitto listens', () => isListening(port))
			await rm(dir, { recursive: true })
		},
		async kill() {
			if (!child || child.exitCode !== null) return
			const exited = once(child, 'exit')
			child.kill('SIGKILL')
			await exited
			child = undefined
		},
	}
}

async function freePort(): Promise<number> {
	const server = createServer()
	server.listen(0, '127.0.0.1')
	await once(server, 'listening')
	const address = server.address()
	server.close()
	await once(server, 'close')
	if (typeof address !== 'object' || address === null) throw new Error('no port')
	return address.port
}

function isListening(port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(port, '127.0.0.1')
		const settle = (isOpen: boolean): void => {
			socket.destroy()
			resolve(isOpen)
		}
		socket.once('connect', () => settle(true))
		socket.once('error', () => settle(false))
	})
}
