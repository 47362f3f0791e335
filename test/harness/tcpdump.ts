import { join } from 'node:path'
import type { Program, Sandbox } from './sandbox.ts'
import { pause, waitFor } from './wait.ts'

/** Frames and link-layer bytes of one direction between two `address.port` ends, as tcpdump counts them. */
export interface DirectionCount {
	packets: number
	bytes: number
}

/** By `10.0.0.1.4711 > 10.0.0.2.80`. */
export type DirectionCounts = ReadonlyMap<string, DirectionCount>

export interface Recording {
	readonly file: string
	/** Ends the recording and counts it. */
	count(): Promise<DirectionCounts>
}

/** Starts tcpdump on an interface of a namespace; resolves when it captures. */
export async function record(
	sandbox: Sandbox,
	namespace: string,
	link = 'eth0',
): Promise<Recording> {
	const file = join(sandbox.directory, `${namespace}-${link}.pcap`)
	const program: Program = sandbox.run(
		['tcpdump', '-i', link, '-n', '-U', '--immediate-mode', '-B', '16384', '-w', file],
		{ namespace },
	)
	await waitFor('tcpdump to capture', () => program.output().includes('listening on'))
	return {
		file,
		async count() {
			await pause(300)
			await program.stop('SIGINT')
			return countDirections(sandbox.call(['tcpdump', '-r', file, '-nn', '-e', '-t']))
		},
	}
}

/** Reads tcpdump's lines: `… length 66: 10.91.1.3.49448 > 10.91.1.2.443: …`. */
function countDirections(text: string): DirectionCounts {
	const counts = new Map<string, DirectionCount>()
	for (const line of text.split('\n')) {
		const [, bytes, from, to] = /length (\d+): (\S+) > (\S+):/.exec(line) ?? []
		if (!bytes || !from || !to) continue
		const key = `${from} > ${to}`
		const count = counts.get(key) ?? { packets: 0, bytes: 0 }
		count.packets++
		count.bytes += Number(bytes)
		counts.set(key, count)
	}
	return counts
}
