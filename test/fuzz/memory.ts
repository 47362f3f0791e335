import { readFileSync } from 'node:fs'

/** Most memory that a process had resident so far, in MiB (`VmHWM` of proc(5)); 0 where that cannot be read. */
export function peakRssMib(pid: number | undefined): number {
	try {
		const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
		return Math.round(Number(kib ?? 0) / 1024)
	} catch {
		return 0
	}
}

/** What makes Node write `peak-rss-mib: N` to standard error at its end. */
export const PEAK_AT_EXIT = [
	'--import',
	`data:text/javascript,${encodeURIComponent(
		`import { readFileSync, writeSync } from 'node:fs'
process.on('exit', () => {
	const kib = /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]
	writeSync(2, 'peak-rss-mib: ' + Math.round(kib / 1024) + '\\n')
})`,
	)}`,
]

export function peakInOutput(output: string): number {
	return Number(/peak-rss-mib: (\d+)/.exec(output)?.[1] ?? Number.NaN)
}
