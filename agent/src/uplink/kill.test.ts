import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { BROKERS, type TestBroker } from './testing/brokers.ts'
import { FakeController } from './testing/fake-controller.ts'
import { numbersOf, QUICK, recordingHandlers } from './testing/samples.ts'
import { PATIENT, until } from './testing/until.ts'
import { openUplink } from './uplink.ts'

/** Records a run writes down as safe before it is killed. */
const SAFE_MIN = 30
const NUMBERS_PER_RUN = 100_000

let dir: string
let broker: TestBroker
let controller: FakeController

beforeAll(async () => {
	dir = await mkdtemp(join(tmpdir(), 'rf-kill-'))
	await build({
		entryPoints: [fileURLToPath(new URL('./testing/uplink-child.ts', import.meta.url))],
		outfile: join(dir, 'child.cjs'),
		bundle: true,
		platform: 'node',
		format: 'cjs',
	})
	const [aedes] = BROKERS
	if (!aedes) throw new Error('no broker')
	broker = await aedes.make()
	await broker.start()
	controller = new FakeController(broker.url)
	await controller.listen()
	await controller.connect()
})

afterAll(async () => {
	await controller.stop()
	await broker.kill()
	await rm(dir, { recursive: true })
})

it(
	'loses nothing that was taken a moment ago when the agent is killed, online or offline',
	PATIENT,
	async () => {
		const safe: number[] = []
		const token = controller.newToken()
		safe.push(...(await runAndKill(1, token)))
		await until('its will is read', () => controller.presences.at(-1)?.isUp === false)
		expect(controller.presences.at(-1)?.boot).toBe(controller.hellos.at(-1)?.boot)
		controller.ackMode = () => 'deaf'
		safe.push(...(await runAndKill(2, token)))
		await broker.kill()
		safe.push(...(await runAndKill(3, token)))
		controller.ackMode = () => 'ack'
		await broker.start()
		safe.push(...(await runAndKill(4, token)))

		const rest = await openUplink(
			{ stateDir: stateDir(), name: 'rest', timing: QUICK },
			recordingHandlers(),
		)
		await until('the spool is empty', () => rest.counters()['spoolBatches'] === 0)
		expect(rest.counters()).toMatchObject({ spoolCorruptBatches: 0 })
		await rest.stop()
		const taken = numbersOf(controller.records)
		const missing = safe.filter((number) => !taken.includes(number))
		expect(missing).toEqual([])
		expect(new Set(taken).size).toBe(taken.length)
		expect(safe.length).toBeGreaterThanOrEqual(4 * SAFE_MIN)
		expect(controller).toMatchObject({ batchesLost: 0, faults: [], enrolments: 1 })
	},
)

/** @returns numbers of the records that the run said were safe */
async function runAndKill(run: number, token: string): Promise<number[]> {
	const first = String(run * NUMBERS_PER_RUN)
	const args = [join(dir, 'child.cjs'), stateDir(), controller.url, token, first, safeAfterMs()]
	const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
	const numbers: number[] = []
	await readUntil(child, numbers)
	child.kill('SIGKILL')
	if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
	return numbers
}

async function readUntil(child: ChildProcess, numbers: number[]): Promise<void> {
	let text = ''
	child.stdout?.on('data', (chunk: Buffer) => {
		const lines = (text + chunk.toString()).split('\n')
		text = lines.pop() ?? ''
		for (const line of lines) if (/^\d+$/.test(line)) numbers.push(Number(line))
	})
	await until('records are safe', () => numbers.length >= SAFE_MIN)
}

function stateDir(): string {
	return join(dir, 'state')
}

/** The promise is a quarter of a second; a machine that runs other tests beside gets twice that. */
function safeAfterMs(): string {
	return process.env['RINGFENCE_SAFE_AFTER_MS'] ?? '500'
}
