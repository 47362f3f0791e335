import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decode, OUTCOME } from '../../agent/src/packet/decode.ts'
import { Packet } from '../../agent/src/packet/packet.ts'
import { type Agent, startAgent } from '../harness/agent.ts'
import { type Controller, startController } from '../harness/controller.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox, type Program, ROOT } from '../harness/sandbox.ts'
import { pause, waitFor } from '../harness/wait.ts'
import { pcapRecords } from './capture-bytes.ts'
import { peakRssMib } from './memory.ts'
import { openPacketSender, type PacketSender } from './packet-sender.ts'
import { createRandom, flipBytes, type Random, SEED } from './random.ts'
import { ethernet, ipv6ChainFrame, udpFrame, vlanStackFrame } from './sample-frames.ts'

/** Engine tables for 131,072 sessions, rings of 8 MiB for each interface, Node twice. */
const PEAK_MIB_MAX = 600
/** More than the engine holds. */
const FLOOD_SESSIONS = 180_000
/** Connections of the honest client during all of it, one every 20 ms. */
const HONEST = 200
const MACS = { sourceMac: '02:00:00:00:0f:01', destinationMac: '02:00:00:00:0f:02' }
const golden = pcapRecords(readFileSync(join(ROOT, 'test/golden/five-protocols.pcap')))

describeKernel(`an agent under malformed frames [seed ${SEED}]`, ['redis-server'], () => {
	const sandbox = openSandbox()
	const bridge = { name: 'br', v4: '10.97.1', v6: 'fd97:1' }
	const random = createRandom(30)
	let controller: Controller
	let agent: Agent
	let server: Host
	let sender: PacketSender
	let honest: Program

	beforeAll(async () => {
		sandbox.bridge(bridge)
		server = sandbox.attach({ name: 'w-server', bridge, host: 2 })
		const client = sandbox.attach({ name: 'w-client', bridge, host: 3 })
		const attacker = sandbox.namespace('attacker')
		// No bridge between these two: one that filters drops what is malformed.
		sandbox.call([
			...['ip', 'link', 'add', 'eth0', 'netns', attacker, 'address', MACS.sourceMac],
			...['type', 'veth', 'peer', 'name', 'eth1'],
			...['netns', server.namespace, 'address', MACS.destinationMac],
		])
		sandbox.call(['ip', '-n', attacker, 'link', 'set', 'eth0', 'up'])
		sandbox.call(['ip', '-n', server.namespace, 'link', 'set', 'eth1', 'up'])
		sandbox.run(['redis-server', '--bind', '0.0.0.0', '--protected-mode', 'no', '--save', ''], {
			namespace: server.namespace,
		})
		controller = await startController(sandbox)
		agent = startAgent(sandbox, { controller, name: 'n1', netnsPrefix: `${sandbox.prefix}-w-` })
		await waitFor('both workloads', async () => {
			return (await controller.api.list('workloads')).length === 2
		})
		sender = openPacketSender(attacker, 'eth0')
		const chatter = join(ROOT, 'test/harness/chatter.mjs')
		honest = sandbox.run([process.execPath, chatter, server.v4, '6379', String(HONEST), '20'], {
			namespace: client.namespace,
		})
	})
	afterAll(async () => {
		sender?.close()
		await sandbox.close()
	})

	/** How many frames of each outcome the kernel carried there. */
	const sent = new Map<string, number>()
	let taken = 0

	async function send(frames: readonly Buffer[]): Promise<void> {
		const carried: Buffer[] = []
		for (const frame of frames) {
			if (frame.length >= 14 && frame.length <= 1514) carried.push(frame)
		}
		expect(await sender.send(carried)).toBe(carried.length)
		taken += carried.length
		for (const frame of carried) {
			const outcome = outcomeOf(frame)
			sent.set(outcome, (sent.get(outcome) ?? 0) + 1)
		}
	}

	test('takes real frames with bytes changed and ends cut off', async () => {
		const readdressed = golden.map(({ frame }) =>
			Buffer.concat([ethernet(MACS, frame.readUInt16BE(12)), frame.subarray(14)]),
		)
		const frames = readdressed.flatMap((frame) => [
			...Array.from({ length: 10 }, () => mutated(random, frame)),
			...[14, 15, 20, 33, 34, 40, 53, 54, 60].map((end) => frame.subarray(0, end)),
		])
		await send(frames.filter((frame) => frame.readUInt16BE(12) !== 0x8100))
		expect(taken).toBeGreaterThan(1500)
	})

	test('takes random bytes behind every kind of header', async () => {
		const types = [0x0800, 0x86dd, 0x0806, 0x8847, 0x8864, 0x88cc, 0, 0x05ff, 0xffff] as const
		const frames = Array.from({ length: 2000 }, () =>
			Buffer.concat([ethernet(MACS, random.pick(types)), random.bytes(random.below(200))]),
		)
		await send(frames)
	})

	test('takes chains of extension headers and fragments', async () => {
		const kinds = [0, 43, 44, 51, 60, 135] as const
		const frames = Array.from({ length: 500 }, () =>
			ipv6ChainFrame(
				MACS,
				Array.from({ length: random.below(100) }, () => random.pick(kinds)),
				random.pick([6, 17, 58, 59, 0]),
			),
		)
		await send(frames)
	})

	test('takes stacks of tags', async () => {
		// The kernel takes the outermost tag out before a tap sees the frame, so nobody knows what is counted as what.
		const frames = Array.from({ length: 64 }, (_, tags) => vlanStackFrame(MACS, tags))
		taken += await sender.send([...frames, ...frames.map((frame) => frame.subarray(0, 22))])
	})

	test('takes more sessions than it holds', async () => {
		await send(
			Array.from({ length: FLOOD_SESSIONS }, (_, index) =>
				udpFrame({ ...MACS, sourceAddress: 1 + (index >>> 16), sourcePort: index & 0xffff }),
			),
		)
	})

	test('and names every honest connection of that time', async () => {
		await waitFor('the client', () => !honest.isRunning())
		expect(honest.output().trim().split('\n')).toHaveLength(HONEST)
		await waitFor('the conversation with all of them', async () => {
			const conversations = await controller.api.list('conversations')
			return conversations.find(({ application }) => application === 'redis')?.sessions === HONEST
		})
	})

	test('and stays up, in bounded memory', async () => {
		const program = agent.program()
		expect(program.isRunning()).toBe(true)
		expect(program.output()).not.toMatch(/^\s+at |worker-restarted/m)
		const peak = peakRssMib(program.child.pid)
		expect(peak).toBeGreaterThan(0)
		expect(peak).toBeLessThan(PEAK_MIB_MAX)
	})

	test('and tells by REST what it counted', async () => {
		await pause(100)
		await agent.stop('SIGTERM')
		expect(agent.program().child.exitCode).toBe(0)
		const counters = await waitFor('the last counters', async () => {
			const [node] = await controller.api.list('nodes')
			const known = node?.counters ?? {}
			return (known['ringPackets'] ?? 0) + (known['ringLosses'] ?? 0) >= taken && known
		})
		expect(counters['workersRestarted']).toBe(0)
		const losses = counters['ringLosses'] ?? 0
		for (const name of ['malformedIp', 'malformedTransport', 'fragments', 'otherIp']) {
			expect(sent.get(name), name).toBeGreaterThan(10)
			expect(counters[name], name).toBeGreaterThanOrEqual((sent.get(name) ?? 0) - losses)
		}
		expect(counters['malformedLink']).toBeGreaterThan(0)
		expect(counters['otherLink']).toBeGreaterThanOrEqual((sent.get('otherLink') ?? 0) - losses)
		const opened = counters['sessionsOpened'] ?? 0
		expect(opened).toBeGreaterThanOrEqual(FLOOD_SESSIONS - losses)
		expect(counters['sessionsEvicted']).toBeGreaterThan(0)
		expect(counters['sessionsClosed']).toBe(opened)
	})
})

/** Bytes behind the Ethernet addresses changed, most of them in the headers. */
function mutated(random: Random, frame: Buffer): Buffer {
	const isInHeaders = random.below(4) > 0
	const end = isInHeaders ? Math.min(frame.length, 74) : frame.length
	const changed = flipBytes(random, frame, { count: 1 + random.below(4), from: 14, end })
	return random.below(4) === 0 ? changed.subarray(0, 14 + random.below(changed.length)) : changed
}

/** Name of the counter that the engine has for such a frame. */
function outcomeOf(frame: Buffer): string {
	const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
	const bytes = { view, at: 0, end: frame.length, wireBytes: frame.length, linkType: 1 }
	const outcome = decode(bytes, new Packet())
	const name = Object.entries(OUTCOME).find(([, value]) => value === outcome)?.[0] ?? ''
	return name === 'fragment' ? 'fragments' : name
}
