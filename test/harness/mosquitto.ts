import { join } from 'node:path'
import { freePort, type Program, ROOT, type Sandbox } from './sandbox.ts'

export interface Mosquitto {
	readonly port: number
	/** What the controller must be told to use it. */
	readonly controllerFlags: readonly string[]
	restart(signal: NodeJS.Signals, whileDown?: () => Promise<void>): Promise<void>
}

/** A real Mosquitto with the configuration that `infra/mosquitto/init.mjs` makes. */
export async function startMosquitto(sandbox: Sandbox, address: string): Promise<Mosquitto> {
	const port = await freePort()
	const directory = join(sandbox.directory, 'mosquitto')
	const passwordFile = sandbox.file('mosquitto-password', 'a-password-for-the-test\n')
	sandbox.call([
		...[process.execPath, join(ROOT, 'infra/mosquitto/init.mjs')],
		...['--dir', directory, '--listen', `${address}:${port}`],
		...['--user', 'controller', '--password-file', passwordFile],
	])
	const start = () => sandbox.run(['mosquitto', '-c', join(directory, 'mosquitto.conf')])
	let program: Program = start()
	return {
		port,
		controllerFlags: [
			...['--broker', `mqtt://${address}:${port}`, '--broker-accounts', 'dynsec'],
			...['--broker-user', 'controller', '--broker-password-file', passwordFile],
		],
		async restart(signal, whileDown) {
			await program.stop(signal)
			await whileDown?.()
			program = start()
		},
	}
}
