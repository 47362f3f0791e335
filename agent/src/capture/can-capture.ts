/**
 * Why this process may not read packets in other namespaces, in words for an operator; undefined when it may. Asks the
 * kernel by doing it: user id and capabilities do not tell what a container's seccomp profile or a lockdown refuses.
 */
export async function whyNoCapture(): Promise<string | undefined> {
	if (process.platform !== 'linux') return `capture needs Linux, this is ${process.platform}`
	try {
		const { probeTap } = await import('./tap-ring.ts')
		const { inNetworkNamespace } = await import('./namespace.ts')
		attempt('reading packets needs CAP_NET_RAW', probeTap)
		attempt('entering network namespaces needs CAP_SYS_ADMIN', () =>
			inNetworkNamespace('/proc/thread-self/ns/net', () => undefined),
		)
		return undefined
	} catch (error) {
		return error instanceof Error ? error.message : String(error)
	}
}

function attempt(need: string, work: () => void): void {
	try {
		work()
	} catch (error) {
		const why = error instanceof Error ? error.message : String(error)
		throw new Error(`${need} (${why})`, { cause: error })
	}
}
