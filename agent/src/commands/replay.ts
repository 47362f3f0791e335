import { type Dirent, mkdirSync, readdirSync, statSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { openCaptureFile } from '../capture/pcap-file.ts'
import type { CaptureSource } from '../capture/source.ts'
import { createEngine } from '../engine/create-engine.ts'
import type { Engine } from '../engine/engine.ts'
import type { CompiledPolicy } from '../policy/policy.ts'
import { Output, STDOUT } from './output.ts'
import { type ReplayFormat, SESSION_WRITERS } from './replay-format.ts'
import { ReplayTotals, totalsText } from './replay-totals.ts'

export interface ReplayOptions {
	readonly format: ReplayFormat
	readonly policyFile: string | undefined
	/** One file a capture is written there; undefined: all to standard output. */
	readonly outDirectory: string | undefined
	/** Takes totals, threats and complaints. */
	say(text: string): void
}

/** A capture and the name that its results go by. */
interface Capture {
	readonly path: string
	readonly name: string
}

/** Sessions held of one capture; a smaller one cannot hold more than packets fit its bytes. */
const SESSIONS_MAX = 262_144
/** A record header and the shortest Ethernet frame with an IP header. */
const PACKET_BYTES_MIN = 16 + 34

const ENGINE_OPTIONS = {
	hasSessionEvents: true,
	hasConversationEvents: false,
	reportIntervalUs: 1_000_000,
}

const PORT = 0
/** Frames between looks at timers and events. */
const FRAMES_A_TURN = 256
const CAPTURE_NAME = /\.(pcap|pcapng|cap)$/

/**
 * Runs the engine over captures, each with sessions of its own, and writes a row a session. A capture that cannot
 * be read, or not to its end, is reported, and the others go on.
 * @returns exit code: 0 when every capture was read whole
 */
export async function replay(
	paths: readonly string[],
	{ format, policyFile, outDirectory, say }: ReplayOptions,
): Promise<number> {
	const policy = policyFile === undefined ? undefined : await loadPolicy(policyFile)
	const totals = new ReplayTotals(say)
	const captures = paths.flatMap((path) => capturesAt(path, totals))
	if (outDirectory !== undefined) mkdirSync(outDirectory, { recursive: true })
	const writer = SESSION_WRITERS[format]
	const shared = outDirectory === undefined ? new Output(STDOUT) : undefined
	shared?.write(writer.head)
	for (const { path, name } of captures) {
		const file = outDirectory && join(outDirectory, `${name}.${writer.extension}`)
		const output = shared ?? new Output(file ?? STDOUT)
		if (!shared) output.write(writer.head)
		replayFile(path, policy, {
			totals,
			write: (event, why) => output.write(writer.row(event, why, captures.length > 1 ? path : '')),
		})
		if (!shared) output.close()
	}
	shared?.write(writer.tail(totals))
	shared?.close()
	say(totalsText(totals))
	return totals.failures.length > 0 ? 1 : 0
}

interface Sink {
	readonly totals: ReplayTotals
	write(event: Parameters<typeof SESSION_WRITERS.csv.row>[0], why: string): void
}

function replayFile(path: string, policy: CompiledPolicy | undefined, sink: Sink): void {
	const start = process.hrtime.bigint()
	const engine = createEngine({ ...ENGINE_OPTIONS, sessionsMax: sessionsMaxOf(path) })
	engine.openPort({ id: PORT, workload: undefined, mac: undefined })
	if (policy) engine.applyPolicy(policy, 0)
	let source: CaptureSource | undefined
	let nowUs = 0
	try {
		source = openCaptureFile(path, PORT)
		while (pump(source, engine)) {
			nowUs = source.timeUs
			drain(engine, policy !== undefined, sink)
		}
	} catch (error) {
		// The reader's own errors and those of `fs` carry a code; anything else is a bug and ends the program.
		if (!(error instanceof Error && 'code' in error)) throw error
		sink.totals.fail(path, error.message)
	}
	engine.flush(source?.timeUs ?? nowUs, true)
	drain(engine, policy !== undefined, sink)
	sink.totals.add(engine.counters(), source?.losses() ?? 0, process.hrtime.bigint() - start)
	source?.close()
}

function sessionsMaxOf(path: string): number {
	const file = statSync(path, { throwIfNoEntry: false })
	if (!file?.isFile()) return SESSIONS_MAX
	return Math.min(Math.ceil(file.size / PACKET_BYTES_MIN) + 1, SESSIONS_MAX)
}

/** Inspects one turn's frames; false at the end of the file. */
function pump(source: CaptureSource, engine: Engine): boolean {
	for (let i = 0; i < FRAMES_A_TURN; i++) {
		if (!source.next()) return false
		engine.inspect(source.frame, source.timeUs)
	}
	if ((engine.nextTimeoutUs() ?? Number.POSITIVE_INFINITY) <= source.timeUs) {
		engine.handleTimeout(source.timeUs)
	}
	return true
}

/** `why` of a session is the policy's when one judges, else how the session ended. */
function drain(engine: Engine, hasPolicy: boolean, { totals, write }: Sink): void {
	for (const event of engine.takeEvents()) {
		if (event.kind === 'session') {
			totals.session(event)
			write(event, hasPolicy ? event.why : event.end)
		}
		if (event.kind === 'threat') totals.threat(event)
	}
}

async function loadPolicy(path: string): Promise<CompiledPolicy> {
	const { readPolicyFile } = await import('./replay-policy.ts')
	return readPolicyFile(path).compiled
}

/** A file is itself, named by its base name; a folder is every capture below it, named by its path from there. */
function capturesAt(path: string, totals: ReplayTotals): Capture[] {
	try {
		if (!statSync(path).isDirectory()) return [{ path, name: nameOf(basename(path)) }]
		const entries: Dirent[] = readdirSync(path, { recursive: true, withFileTypes: true })
		return entries
			.filter((entry) => entry.isFile() && CAPTURE_NAME.test(entry.name))
			.map((entry) => join(entry.parentPath, entry.name))
			.sort()
			.map((file) => ({ path: file, name: nameOf(relative(path, file)) }))
	} catch (error) {
		totals.fail(path, error instanceof Error ? error.message : String(error))
		return []
	}
}

/** `arkime/http.pcap` gives `arkime__http`: one flat folder of results. */
function nameOf(path: string): string {
	return path.replace(/\.pcap$/, '').replaceAll('/', '__')
}
