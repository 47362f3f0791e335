import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ensureAdmin } from './fleet/access/access.ts'
import type { Fleet, Log } from './fleet/fleet.ts'
import { createEnrolToken } from './fleet/nodes/enrol.ts'
import { type Controller, startController } from './host/controller.ts'
import { startPeriodicLoop } from './host/loops.ts'
import { type HostOptions, reachable, readOptions, USAGE } from './host/options.ts'
import { writePrivateFile } from './host/private-files.ts'
import { StartError } from './host/start-error.ts'
import { createLog } from './host/text-log.ts'

/** The stop is orderly within this time, or it is a stop all the same. */
const STOP_MS = 4500
const TOKEN_TTL_MS = 24 * 3_600_000
/** Half the life of a token, so that the file always holds one that is good for hours. */
const TOKEN_EVERY_MS = TOKEN_TTL_MS / 2
const TOKEN_USES = 100

const MIGRATIONS = fileURLToPath(new URL('../migrations', import.meta.url))

// What is written here is nobody else's to read: database, keys, tokens.
process.umask(0o077)
try {
	const options = readOptions(process.argv.slice(2), process.env)
	if (options === 'help') process.stdout.write(USAGE)
	else await run(options)
} catch (error) {
	process.stderr.write(
		`ringfence: ${error instanceof StartError ? error.message : describe(error)}\n`,
	)
	process.exit(1)
}

async function run(options: HostOptions): Promise<void> {
	const log = createLog({
		level: options.logLevel,
		format: options.logFormat,
		write: (line) => void process.stderr.write(line),
		nowMs: Date.now,
	})
	// A run that was killed leaves its own.
	if (options.readyFile !== undefined) rmSync(options.readyFile, { force: true })
	const controller = await startController(options, { log, migrations: MIGRATIONS })
	const renewal = await keepEnrolToken(controller.fleet, options.enrollTokenFile, log)
	endOnSignals(log, async () => {
		if (options.readyFile !== undefined) rmSync(options.readyFile, { force: true })
		await renewal?.stop()
		await controller.stop()
	})
	await greet(controller, options)
}

async function greet(controller: Controller, options: HostOptions): Promise<void> {
	const url =
		options.publicUrl ?? `http://${reachable({ host: options.listen.host, port: controller.port })}`
	const admin = await ensureAdmin(controller.fleet)
	if (admin !== undefined) {
		process.stdout.write(
			`First start. Sign in at ${url} with what is shown here, once:\n` +
				`  user:     ${admin.name}\n  password: ${admin.password}\n`,
		)
	}
	await controller.connected
	process.stdout.write(`Ringfence controller ready at ${url}\n`)
	if (options.readyFile !== undefined) writePrivateFile(options.readyFile, `${url}\n`)
}

/** Leaves a token for agents of this machine in a file, and another before it runs out. */
async function keepEnrolToken(fleet: Fleet, file: string | undefined, log: Log) {
	if (file === undefined) return undefined
	const renew = async () => {
		const { token } = await createEnrolToken(fleet, { ttlMs: TOKEN_TTL_MS, uses: TOKEN_USES })
		writePrivateFile(file, `${token}\n`)
	}
	await renew()
	return startPeriodicLoop(renew, { everyMs: TOKEN_EVERY_MS, log, name: 'renewal of the token' })
}

function endOnSignals(log: Log, stop: () => Promise<void>): void {
	let isEnding = false
	const end = (exitCode: number) => {
		if (isEnding) return
		isEnding = true
		const timer = setTimeout(() => {
			log('warn', 'not everything ended in time')
			process.exit(exitCode)
		}, STOP_MS)
		stop()
			.catch((error: unknown) => log('error', 'stopping failed', { error: describe(error) }))
			.finally(() => {
				clearTimeout(timer)
				process.exit(exitCode)
			})
	}
	for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => end(0))
	const die = (error: unknown) => {
		log('error', 'a bug: the controller ends', { error: describe(error) })
		end(1)
	}
	process.on('uncaughtException', die)
	process.on('unhandledRejection', die)
}

function describe(error: unknown): string {
	return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
