import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { type Host, ROOT, type Sandbox } from '../harness/sandbox.ts'
import { startServers } from '../harness/servers.ts'
import { pause, waitFor } from '../harness/wait.ts'
import { median, type Row } from './report.ts'

const ROUNDS = 7
const PACKETS_MIN = 500_000
/** How often the load is repeated: enough that start-up and compilation of either side weigh little. */
const REPEATS = 3

/**
 * The engine over a capture of real servers, as whole processes in turn with nDPI's reader on the same file: a pair a
 * round, so that a change of the machine's speed touches both.
 */
export async function benchReplay(sandbox: Sandbox): Promise<Row[]> {
	const capture = await recordMix(sandbox)
	const packets = countPackets(sandbox, capture)
	if (packets < PACKETS_MIN) throw new Error(`the capture holds ${packets} packets only`)
	const bytes = statSync(capture).size
	const ours = [process.execPath, join(ROOT, 'agent/dist/main.js'), 'replay', capture]
	const peer = ['ndpiReader', '-q', '-i', capture]
	secondsOf(ours)
	secondsOf(peer)
	const pairs = Array.from({ length: ROUNDS }, () => ({
		ours: secondsOf(ours),
		peer: secondsOf(peer),
	}))
	const seconds = median(pairs.map((pair) => pair.ours))
	const vsPeer = median(pairs.map((pair) => pair.peer / pair.ours))
	return [
		{ name: 'replay.mix.packets', value: packets, unit: 'packets' },
		{ name: 'replay.mix.mpps', value: packets / seconds / 1e6, unit: 'Mpackets/s' },
		{ name: 'replay.mix.gbytes', value: bytes / seconds / 1e9, unit: 'GB/s' },
		{
			name: 'replay.mix.peer_mpps',
			value: packets / median(pairs.map((pair) => pair.peer)) / 1e6,
			unit: 'Mpackets/s (ndpiReader)',
		},
		{ name: 'replay.mix.vs_peer', value: vsPeer, unit: 'x', ratio: vsPeer },
	]
}

/** HTTP, TLS, Redis, DNS and SSH from their usual clients, with many short and some long connections. */
async function recordMix(sandbox: Sandbox): Promise<string> {
	const bridge = { name: 'mix', v4: '10.94.1', v6: 'fd94:1' }
	sandbox.bridge(bridge)
	const server = sandbox.attach({ name: 'srv', bridge, host: 2 })
	const client = sandbox.attach({ name: 'cli', bridge, host: 3 })
	await startServers(sandbox, server)
	const capture = join(sandbox.directory, 'mix.pcap')
	const tcpdump = sandbox.run(['tcpdump', '-i', 'eth0', '-B', '65536', '-n', '-w', capture], {
		namespace: server.namespace,
	})
	await waitFor('tcpdump to listen', () => tcpdump.output().includes('listening on'))
	for (let repeat = 0; repeat < REPEATS; repeat++) {
		for (const command of loads(sandbox, server)) {
			sandbox.call(command, { namespace: client.namespace })
		}
	}
	await pause(500)
	await tcpdump.stop('SIGINT')

	return capture
}

function loads(sandbox: Sandbox, server: Host): string[][] {
	const names = Array.from({ length: 500 }, (_, i) => `host${i}.shop.example A`).join('\n')
	const queries = sandbox.file('queries', `${names}\n`)
	return [
		['ab', '-q', '-n', '12000', '-c', '16', `http://${server.v4}/page`],
		['ab', '-q', '-k', '-n', '60000', '-c', '16', `http://[${server.v6}]/page`],
		['ab', '-q', '-n', '2500', '-c', '8', `https://${server.v4}/page`],
		['redis-benchmark', '-q', '-h', server.v4, '-n', '60000', '-c', '20', '-t', 'set,get,lpush'],
		['redis-benchmark', '-q', '-h', server.v6, '-n', '3000', '-k', '0', '-t', 'incr'],
		['dnsperf', '-s', server.v4, '-d', queries, '-n', '60', '-c', '20', '-Q', '20000'],
		...Array.from({ length: 10 }, () => ['ssh-keyscan', '-t', 'ed25519', server.v4]),
	]
}

function countPackets(sandbox: Sandbox, capture: string): number {
	const answer = sandbox.call(['sh', '-c', `tcpdump -r ${capture} -n --count 2>/dev/null`])
	return Number(/(\d+) packets?/.exec(answer)?.[1] ?? 0)
}

function secondsOf(command: readonly string[]): number {
	const [file = '', ...args] = command
	const start = process.hrtime.bigint()
	const { status } = spawnSync(file, args, { stdio: 'ignore' })
	if (status !== 0) throw new Error(`${command.join(' ')} ended with ${status}`)
	return Number(process.hrtime.bigint() - start) / 1e9
}
