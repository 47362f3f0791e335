import { ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** A lock that was refused. */
export class StateInUseError extends Error {
	readonly code = 'STATE_IN_USE'

	constructor(stateDir: string, holder: string) {
		const whose = `state directory ${stateDir} is in use by another agent (process ${holder})`
		super(`${whose}: stop that one, or give this one a directory of its own with --state`)
		this.name = 'StateInUseError'
	}
}

const FILE = 'lock'
const TRY_AGAIN_MS = 100

/**
 * Takes the state directory for this process until it ends, however it ends: two agents would answer for one node and
 * send each other's spool. Throws `StateInUseError`.
 * @param waitMs how long one that is on its way out may take
 */
export async function lockState(stateDir: string, waitMs: number): Promise<void> {
	// Where the C library is not to be had, nothing is captured either: the agent only says so.
	const libc = await import('../capture/libc.ts').catch(() => undefined)
	if (!libc) return
	const path = join(stateDir, FILE)
	const fd = openSync(path, 'a', 0o600)
	const untilMs = performance.now() + waitMs
	while (!libc.tryLock(fd)) {
		if (performance.now() >= untilMs) {
			throw new StateInUseError(stateDir, readFileSync(path, 'utf8').trim() || 'unknown')
		}
		await delay(TRY_AGAIN_MS)
	}
	ftruncateSync(fd)
	writeSync(fd, `${process.pid}\n`)
}
