import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { replay } from './replay.ts'
import type { ReplayFormat } from './replay-format.ts'

const HEADER =
	'src,sport,dst,dport,proto,app,clientPackets,clientBytes,serverPackets,serverBytes,why'
const CLIENT = { address: 1, port: 40_000 }
const SERVER = { address: 2, port: 9999 }

let folder = ''
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), 'ringfence-replay-'))
	mkdirSync(join(folder, 'in/deep'), { recursive: true })
})
afterEach(() => rmSync(folder, { recursive: true }))

interface Result {
	code: number
	said: string
	files: Record<string, string>
}

async function run(format: ReplayFormat, paths: string[]): Promise<Result> {
	let said = ''
	const out = join(folder, 'out')
	const code = await replay(
		paths.map((path) => join(folder, path)),
		{
			format,
			policyFile: undefined,
			outDirectory: out,
			say: (text) => {
				said += text
			},
		},
	)
	const files = readdirSync(out).map((name) => [name, readFileSync(join(out, name), 'utf8')])
	return { code, said, files: Object.fromEntries(files) }
}

describe('replay', () => {
	test('writes one row a session, client first', async () => {
		write('in/a.pcap', exchange())
		const { code, files } = await run('csv', ['in/a.pcap'])
		expect(code).toBe(0)
		expect(files).toEqual({
			'a.csv': `${HEADER}\n192.0.2.1,40000,192.0.2.2,9999,udp,,2,104,1,52,flush\n`,
		})
	})

	test('writes the same fields as JSON', async () => {
		write('in/a.pcap', exchange())
		const { files } = await run('json', ['in/a.pcap'])
		expect(JSON.parse(files['a.jsonl'] ?? '')).toMatchObject({
			...{ src: '192.0.2.1', sport: 40_000, dst: '192.0.2.2', dport: 9999, proto: 'udp', app: '' },
			...{ clientPackets: 2, clientBytes: 104, serverPackets: 1, serverBytes: 52 },
		})
	})

	test('takes every capture below a folder, each with sessions of its own, named by its path', async () => {
		write('in/deep/a.pcap', exchange())
		write('in/b.cap', exchange())
		writeFileSync(join(folder, 'in/notes.txt'), 'no capture')
		const { code, files, said } = await run('csv', ['in'])
		expect(code).toBe(0)
		expect(Object.keys(files).sort()).toEqual(['b.cap.csv', 'deep__a.csv'])
		expect(said).toMatch(/^2 captures, 6 packets, 312 bytes, 2 sessions/)
	})

	test('reports a damaged file, keeps what was read of it, and goes on', async () => {
		write('in/a.pcap', exchange().subarray(0, -1))
		writeFileSync(join(folder, 'in/b.pcap'), 'not a capture')
		write('in/c.pcap', exchange())
		const { code, files, said } = await run('csv', ['in', 'gone.pcap'])
		expect(code).toBe(1)
		expect(files['a.csv']).toContain('udp,,1,52,1,52,flush')
		expect(files['b.csv']).toBe(`${HEADER}\n`)
		expect(files['c.csv']).toContain('udp,,2,104,1,52,flush')
		expect(said).toContain('a.pcap: truncated: the file ends inside a packet')
		expect(said).toContain('b.pcap: not a pcap or pcapng file')
		expect(said).toContain('gone.pcap: ENOENT')
	})

	test('counts frames that do not parse', async () => {
		write('in/a.pcap', pcap([udpFrame(CLIENT, SERVER).fill(0x4f, 14, 15)]))
		const { said } = await run('csv', ['in'])
		expect(said).toContain('malformedIp: 1')
	})
})

function write(path: string, bytes: Uint8Array): void {
	writeFileSync(join(folder, path), bytes)
}

/** Two datagrams there and one back. */
function exchange(): Uint8Array {
	return pcap([udpFrame(CLIENT, SERVER), udpFrame(SERVER, CLIENT), udpFrame(CLIENT, SERVER)])
}

interface End {
	readonly address: number
	readonly port: number
}

/** Ethernet, IPv4 (192.0.2.0/24, RFC 5737), UDP, ten bytes of payload: 52 bytes. */
function udpFrame(from: End, to: End): Uint8Array {
	const view = new DataView(new ArrayBuffer(52))
	view.setUint8(5, to.address)
	view.setUint8(11, from.address)
	view.setUint16(12, 0x0800)
	view.setUint8(14, 0x45)
	view.setUint16(16, 38)
	view.setUint8(22, 64)
	view.setUint8(23, 17)
	view.setUint32(26, 0xc0000200 + from.address)
	view.setUint32(30, 0xc0000200 + to.address)
	view.setUint16(34, from.port)
	view.setUint16(36, to.port)
	view.setUint16(38, 18)
	return new Uint8Array(view.buffer)
}

function pcap(frames: readonly Uint8Array[]): Uint8Array {
	const header = new Uint32Array([0xa1b2c3d4, 0x0004_0002, 0, 0, 65_535, 1])
	const parts = frames.flatMap((frame, index) => [
		new Uint8Array(
			new Uint32Array([1_700_000_000, index * 1000, frame.length, frame.length]).buffer,
		),
		frame,
	])
	return Buffer.concat([new Uint8Array(header.buffer), ...parts])
}
