import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Dataplane } from '../../agent/src/dataplane/dataplane.ts'
import { type Host, ROOT, type Sandbox } from '../harness/sandbox.ts'
import { pause, waitFor } from '../harness/wait.ts'
import type { Row } from './report.ts'

const RATES_KPPS = [25, 50, 100, 200, 400, 800]
const SECONDS = 4
/** Payload of a datagram; with headers the frame has 106 bytes. */
const PAYLOAD_BYTES = 64

/** A tap ring and an engine at rising packet rates: small UDP datagrams, sent by iperf3 on the same machine. */
export async function benchTap(sandbox: Sandbox): Promise<Row[]> {
	const bridge = { name: 'tap', v4: '10.94.2', v6: 'fd94:2' }
	sandbox.bridge(bridge)
	const server = sandbox.attach({ name: 'tsrv', bridge, host: 2 })
	const client = sandbox.attach({ name: 'tcli', bridge, host: 3 })
	sandbox.run(['iperf3', '-s'], { namespace: server.namespace })
	await waitFor('iperf3 to listen', () =>
		sandbox.call(['ss', '-Hltn'], { namespace: server.namespace }).includes(':5201 '),
	)
	const dataplane = await openTap(sandbox, server)
	const rows: Row[] = []
	let lossFreeKpps = 0
	for (const kpps of RATES_KPPS) {
		const before = await settled(dataplane)
		const start = process.hrtime.bigint()
		send(sandbox, client, server, kpps)
		const seconds = Number(process.hrtime.bigint() - start) / 1e9
		const after = await settled(dataplane)
		const packets = after.packets - before.packets
		const losses = after.losses - before.losses
		// iperf3 takes a moment to begin and to end; the rate is that of its sending time.
		const measured = (packets + losses) / Math.min(seconds, SECONDS) / 1000
		if (losses === 0) lossFreeKpps = Math.max(lossFreeKpps, measured)
		rows.push(
			{ name: `tap.${kpps}k.offered_kpps`, value: measured, unit: 'kpackets/s' },
			{ name: `tap.${kpps}k.loss_share`, value: losses / (packets + losses), unit: 'share' },
		)
	}
	await dataplane.stop()
	return [...rows, { name: 'tap.loss_free_kpps', value: lossFreeKpps, unit: 'kpackets/s' }]
}

async function openTap(sandbox: Sandbox, server: Host): Promise<Dataplane> {
	const [link] = JSON.parse(
		sandbox.call(['ip', '-j', 'link', 'show', 'eth0'], { namespace: server.namespace }),
	) as [{ ifindex: number; address: string }]
	const dataplane = new Dataplane(
		{
			workers: 1,
			ringBlocks: 16,
			workerUrl: pathToFileURL(join(ROOT, 'agent/dist/worker.js')),
			engine: {
				sessionsMax: 131_072,
				hasSessionEvents: false,
				hasConversationEvents: true,
				reportIntervalUs: 1_000_000,
			},
		},
		{ events() {}, notice() {} },
	)
	await dataplane.setWorkload({
		id: 'bench',
		namespace: `/run/netns/${server.namespace}`,
		interfaces: [{ name: 'eth0', index: link.ifindex, mac: link.address }],
	})
	return dataplane
}

/** Counters come from the thread every few seconds: waits until they no longer move. */
async function settled(dataplane: Dataplane): Promise<{ packets: number; losses: number }> {
	let last = -1
	for (;;) {
		const counters = dataplane.counters()
		const packets = counters['ringPackets'] ?? 0
		if (packets === last) return { packets, losses: counters['ringLosses'] ?? 0 }
		last = packets
		await pause(2500)
	}
}

function send(sandbox: Sandbox, client: Host, server: Host, kpps: number): void {
	const bitsPerSecond = kpps * 1000 * PAYLOAD_BYTES * 8
	const options = ['-u', '-l', String(PAYLOAD_BYTES), '-b', String(bitsPerSecond)]
	sandbox.call(['iperf3', '-c', server.v4, ...options, '-t', String(SECONDS)], {
		namespace: client.namespace,
	})
}
