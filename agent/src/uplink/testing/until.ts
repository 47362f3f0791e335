import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 5

/** For tests that wait for processes, sockets and disks: a loaded machine is slow, a broken one is silent. */
export const PATIENT = { timeout: 30_000 }

/** Waits for a condition, and fails with its name when it does not come about in time. */
export async function until(
	what: string,
	isMet: () => boolean | Promise<boolean>,
	timeoutMs = 10_000,
): Promise<void> {
	const deadline = Date.now() + timeoutMs
	while (!(await isMet())) {
		if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`)
		await delay(POLL_MS)
	}
}
