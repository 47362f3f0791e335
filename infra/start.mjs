/**
 * `npm start [-- --demo] [--data DIR] [--listen HOST:PORT] [--broker-listen HOST:PORT]`: makes the machine ready, then runs
 * everything on it: controller with embedded broker and libSQL file, and the agent where it may capture.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import {
	build,
	ensurePackages,
	ensurePrograms,
	fail,
	hasProgram,
	isRoot,
	ROOT,
	requireNode,
	say,
} from './setup.mjs'

const READY_WITHIN_MS = 60_000
const STOP_WITHIN_MS = 8_000

const DEMO_PROGRAMS = {
	ip: 'iproute2',
	nsenter: 'util-linux',
	nginx: 'nginx-light',
	'redis-server': 'redis-server',
}

const options = readOptions()
const stateDirectory = resolve(options.data)
const tokenFile = join(stateDirectory, 'enroll-token')
const readyFile = join(stateDirectory, 'ready')

/** Running parts, in the order in which they were started. */
const parts = []
let isStopping = false
let exitCode = 0

requireNode()
ensurePackages()
build()
mkdirSync(stateDirectory, { recursive: true, mode: 0o700 })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void stop())
await startAll().catch((error) => {
	process.stderr.write(`${error.message}\n`)
	exitCode = 1
	void stop()
})

async function startAll() {
	if (options.demo) await startDemo()
	await startController()
	if (isStopping) return
	const missing = missingForCapture()
	if (missing) say(`No agent on this machine: ${missing}. The controller runs without.`)
	else startAgent()
	say('Ctrl-C ends everything.')
}

function readOptions() {
	try {
		return parseArgs({
			options: {
				demo: { type: 'boolean', default: false },
				data: { type: 'string', default: join(ROOT, '.state') },
				listen: { type: 'string', default: '127.0.0.1:8080' },
				'broker-listen': { type: 'string', default: '127.0.0.1:1883' },
			},
		}).values
	} catch (error) {
		return fail(
			`${error.message}\nusage: npm start -- [--demo] [--data DIR] [--listen HOST:PORT] [--broker-listen HOST:PORT]`,
		)
	}
}

async function startController() {
	rmSync(readyFile, { force: true })
	startPart('controller', [
		join(ROOT, 'controller/dist/node.js'),
		...['--data', join(stateDirectory, 'controller')],
		...['--listen', options.listen],
		...['--broker-listen', options['broker-listen']],
		...['--enroll-token-file', tokenFile],
		...['--ready-file', readyFile],
	])
	await until(() => existsSync(readyFile), 'the controller')
}

function startAgent() {
	startPart('agent', [
		join(ROOT, 'agent/dist/main.js'),
		'run',
		...['--state', join(stateDirectory, 'agent')],
		...['--controller', `http://${options.listen}`],
		...['--token-file', tokenFile],
	])
}

/** The demo comes first, so that the agent's first look already finds this machine's address on the bridge. */
async function startDemo() {
	if (!isRoot) throw new Error('The demo makes network namespaces: run it as root.')
	const missing = ensurePrograms(DEMO_PROGRAMS, 'the demo')
	if (missing.length > 0) throw new Error(`The demo cannot run without ${missing.join(', ')}.`)
	let isUp = false
	const demo = startPart('demo', [join(ROOT, 'infra/demo.mjs')], ['pipe', 'pipe', 'inherit'])
	demo.stdout.on('data', (bytes) => {
		isUp ||= String(bytes).includes('demo: up')
	})
	await until(() => isUp, 'the demo')
	say(
		'Demo: web (nginx) -> app (HTTP service) -> cache (Redis) in namespaces demo-web, demo-app, demo-cache.',
	)
}

/** What the agent would need and does not have here, in words; undefined when it may capture. */
function missingForCapture() {
	if (process.platform !== 'linux') return 'packet capture needs Linux'
	if (!isRoot)
		return 'packet capture needs root (CAP_NET_RAW, and CAP_SYS_ADMIN to enter namespaces)'
	return undefined
}

function startPart(name, args, stdio = ['ignore', 'inherit', 'inherit']) {
	const [program, ...rest] = withParent(process.execPath, ...args)
	const child = spawn(program, rest, { stdio, cwd: ROOT, detached: true })
	const part = { name, child, isRunning: true }
	parts.push(part)
	child.on('exit', (code, signal) => {
		part.isRunning = false
		if (isStopping) return
		process.stderr.write(`${name} ended (${signal ?? code}); stopping.\n`)
		exitCode = 1
		void stop()
	})
	return child
}

/** The command line, made to end with this process even when that is killed (PR_SET_PDEATHSIG). */
function withParent(...command) {
	return hasProgram('setpriv') ? ['setpriv', '--pdeathsig', 'TERM', ...command] : command
}

/** Ends the parts, last started first, each asked before it is killed; the demo goes when its standard input closes. */
async function stop() {
	if (isStopping) return
	isStopping = true
	for (const part of parts.toReversed()) {
		if (part.isRunning) part.child.kill('SIGTERM')
		const deadline = Date.now() + STOP_WITHIN_MS
		while (part.isRunning && Date.now() < deadline) await pause(20)
		if (part.isRunning) part.child.kill('SIGKILL')
	}
	process.exit(exitCode)
}

async function until(isTrue, what) {
	const deadline = Date.now() + READY_WITHIN_MS
	while (!isTrue()) {
		if (isStopping) throw new Error(`${what} did not start.`)
		if (Date.now() > deadline)
			throw new Error(`${what} was not ready in ${READY_WITHIN_MS / 1000} s.`)
		await pause(50)
	}
}

function pause(ms) {
	return new Promise((wake) => setTimeout(wake, ms))
}
