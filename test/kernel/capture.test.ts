import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { whyNoCapture } from '../../agent/src/capture/can-capture.ts'
import { SystemCallError } from '../../agent/src/capture/libc.ts'
import { EXIT_NAMESPACE_LOST, inNetworkNamespace } from '../../agent/src/capture/namespace.ts'
import { openCaptureFile } from '../../agent/src/capture/pcap-file.ts'
import type { CaptureSource } from '../../agent/src/capture/source.ts'
import { LinkTypeError, openTapRing, type TapRing } from '../../agent/src/capture/tap-ring.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox } from '../harness/sandbox.ts'
import { exchangeOnce, startServers } from '../harness/servers.ts'
import { record } from '../harness/tcpdump.ts'
import { pause, waitFor } from '../harness/wait.ts'

const PROGRAMS = ['nginx', 'redis-server', 'dnsmasq', 'sshd', 'openssl', 'tcpdump', 'curl', 'dig']
/** Datagrams of the flood, each of them far from filling a segment. */
const DATAGRAMS = 60_000

describeKernel('a tap ring', PROGRAMS, () => {
	const sandbox = openSandbox()
	const bridge = { name: 'br', v4: '10.95.1', v6: 'fd95:1' }
	const rings: TapRing[] = []
	let server: Host
	let client: Host

	const open = (namespace: string, interfaceName = 'eth0', blocks = 16) => {
		const ring = openTapRing({
			namespace: join('/run/netns', namespace),
			interfaceName,
			port: 1,
			blocks,
		})
		rings.push(ring)
		return ring
	}

	beforeAll(async () => {
		sandbox.bridge(bridge)
		server = sandbox.attach({ name: 'server', bridge, host: 2 })
		client = sandbox.attach({ name: 'client', bridge, host: 3 })
		await startServers(sandbox, server)
	})
	afterAll(async () => {
		for (const ring of rings) ring.close()
		await sandbox.close()
	})

	test('may be opened here, as the probe says', async () => {
		expect(await whyNoCapture()).toBeUndefined()
	})

	test('gives exactly the frames that tcpdump records, byte for byte, over both families', async () => {
		const recording = await record(sandbox, client.namespace)
		// Read at the end only: a block every 20 ms for as long as the exchanges may take.
		const ring = open(client.namespace, 'eth0', 200)
		for (const address of [server.v4, server.v6]) exchangeOnce(sandbox, client, address)
		// libpcap hands a block over after a second at the latest, and tcpdump drops what it was not handed.
		await pause(1200)
		const seen = conversationFrames(ring)
		await recording.count()
		const file = openCaptureFile(recording.file, 1)
		const recorded = conversationFrames(file)
		file.close()
		expect(ring.losses()).toBe(0)
		expect(seen.length).toBeGreaterThan(100)
		expect(seen.sort()).toEqual(recorded.sort())
	})

	test('stamps frames with the wall clock, in the order they came', async () => {
		const ring = open(client.namespace)
		const beforeUs = Date.now() * 1000
		say()
		await pause(50)
		const times: number[] = []
		while (ring.next()) times.push(ring.timeUs)
		expect(times.length).toBeGreaterThan(5)
		expect(times).toEqual([...times].sort((a, b) => a - b))
		expect(times[0]).toBeGreaterThanOrEqual(beforeUs)
		expect(times.at(-1)).toBeLessThanOrEqual(Date.now() * 1000)
	})

	test('counts every packet it had no room for', () => {
		const ring = open(client.namespace, 'eth0', 8)
		const recordedBefore = sentPackets(client)
		flood(client, server.v4)
		const sent = sentPackets(client) - recordedBefore
		const read = [...framesOf(ring, () => true)].length
		expect(sent).toBeGreaterThanOrEqual(DATAGRAMS)
		expect(ring.losses()).toBeGreaterThan(0)
		// The other packets of the link (neighbour discovery) are few.
		expect(read + ring.losses()).toBeGreaterThanOrEqual(DATAGRAMS)
		expect(read + ring.losses()).toBeLessThan(sent + 200)
	})

	test('goes on when its interface was down for a while', async () => {
		const ring = open(client.namespace)
		const link = (state: string) =>
			sandbox.call(['ip', '-n', client.namespace, 'link', 'set', 'eth0', state])
		link('down')
		link('up')
		ring.clearError()
		await waitFor('the link to carry again', () => {
			say()
			return true
		})
		await pause(50)
		expect([...framesOf(ring, () => true)].length).toBeGreaterThan(1)
	})

	test('gives nothing after it is closed, and may be closed twice', () => {
		const ring = open(client.namespace)
		say()
		ring.next()
		ring.close()
		ring.close()
		expect(ring.next()).toBe(false)
		expect(ring.frame.view.byteLength).toBe(0)
	})

	test('is refused on a link that is not Ethernet, and where there is none', () => {
		expect(() => open(client.namespace, 'lo')).toThrow(LinkTypeError)
		expect(codeOf(() => open(client.namespace, 'eth9'))).toBe('ENODEV')
		expect(codeOf(() => open(`${sandbox.prefix}-none`))).toBe('ENOENT')
	})

	test('leaves the thread in its own namespace, also after a failure', () => {
		const links = () => sandbox.call(['ip', '-o', 'link'])
		const before = links()
		inNetworkNamespace(join('/run/netns', client.namespace), () => {
			expect(links()).not.toBe(before)
		})
		expect(() =>
			inNetworkNamespace(join('/run/netns', client.namespace), () => {
				throw new RangeError('inside')
			}),
		).toThrow('inside')
		expect(links()).toBe(before)
		expect(EXIT_NAMESPACE_LOST).not.toBe(0)
	})

	/** Any exchange. */
	function say(): void {
		const at = { namespace: client.namespace }
		sandbox.call(['redis-cli', '-h', server.v4, 'ping'], at)
	}

	function sentPackets({ namespace }: Host): number {
		const text = sandbox.call(['cat', '/proc/net/dev'], { namespace })
		const [, numbers = ''] = /eth0:\s*(.*)/.exec(text) ?? []
		return Number(numbers.trim().split(/\s+/)[9])
	}

	function flood({ namespace }: Host, address: string): void {
		const script = join(sandbox.directory, 'flood.mjs')
		writeFileSync(
			script,
			`import { createSocket } from 'node:dgram'
const socket = createSocket('udp4')
const bytes = Buffer.alloc(400)
let left = ${DATAGRAMS}
const send = () => (left-- > 0 ? socket.send(bytes, 9, '${address}', send) : socket.close())
send()
`,
		)
		sandbox.call([process.execPath, script], { namespace })
	}
})

function codeOf(work: () => unknown): string | undefined {
	try {
		work()
		return undefined
	} catch (error) {
		return error instanceof SystemCallError ? error.code : String(error)
	}
}

/** Every TCP and UDP frame of the two hosts in hexadecimal: what else a link carries comes at any moment. */
function conversationFrames(source: CaptureSource): string[] {
	return [...framesOf(source, isConversation)]
}

function* framesOf(
	source: CaptureSource,
	isWanted: (view: DataView, at: number) => boolean,
): Generator<string> {
	while (source.next()) {
		const { view, at, end, wireBytes } = source.frame
		if (!isWanted(view, at)) continue
		const bytes = Buffer.from(view.buffer, view.byteOffset + at, end - at)
		yield `${wireBytes} ${bytes.toString('hex')}`
	}
}

/** IPv4 or IPv6 with TCP or UDP, and no name look-up by multicast. */
function isConversation(view: DataView, at: number): boolean {
	const etherType = view.getUint16(at + 12)
	const isGroup = (view.getUint8(at) & 1) === 1
	if (isGroup || (etherType !== 0x0800 && etherType !== 0x86dd)) return false
	const protocol = view.getUint8(at + (etherType === 0x0800 ? 23 : 20))
	return protocol === 6 || protocol === 17
}
