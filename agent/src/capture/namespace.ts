import { close, open, setns } from './libc.ts'

/** `linux/sched.h` */
const CLONE_NEWNET = 0x4000_0000

/** Exit code of a thread that cannot leave a foreign namespace. */
export const EXIT_NAMESPACE_LOST = 71

/**
 * Runs `work` with the calling thread inside a network namespace, then returns the thread to its own.
 * `setns` acts on one thread, so `work` must be synchronous: what it awaits would run outside.
 * A thread that cannot return ends (in the main thread, the process): it would do everything else in the wrong place.
 * @param path a namespace file: `/run/netns/NAME`, `/proc/PID/ns/net`
 */
export function inNetworkNamespace<Result>(path: string, work: () => Result): Result {
	const home = open('/proc/thread-self/ns/net')
	try {
		enter(path)
		try {
			return work()
		} finally {
			returnTo(home)
		}
	} finally {
		close(home)
	}
}

function enter(path: string): void {
	const fd = open(path)
	try {
		setns(fd, CLONE_NEWNET)
	} finally {
		close(fd)
	}
}

function returnTo(home: number): void {
	try {
		setns(home, CLONE_NEWNET)
	} catch {
		process.exit(EXIT_NAMESPACE_LOST)
	}
}
