import { endianness } from 'node:os'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dumpRequest, messagesOf, RTM_GETLINK, readMessage } from './route-netlink.ts'

const isLittle = endianness() === 'LE'
const RTM_NEWLINK = 16
const RTM_NEWADDR = 20
const RTM_NEWNETCONF = 80

describe('routing netlink', () => {
	test('asks for a dump of links', () => {
		const view = new DataView(dumpRequest(RTM_GETLINK, 7).buffer)
		expect(view.getUint32(0, isLittle)).toBe(32)
		expect(view.getUint16(4, isLittle)).toBe(18)
		expect(view.getUint16(6, isLittle)).toBe(0x301)
		expect(view.getUint32(8, isLittle)).toBe(7)
	})

	test('reads a link with its name and address', () => {
		const body = [...[0, 0], ...half(1), ...word(12), ...word(0x1043), ...word(0)]
		const name = attribute(3, [...new TextEncoder().encode('eth0'), 0])
		const bytes = message(RTM_NEWLINK, [...body, ...name, ...attribute(1, [2, 66, 172, 17, 0, 2])])
		expect(read(bytes)).toEqual([
			{
				...{ kind: 'link', index: 12, name: 'eth0', mac: '02:42:ac:11:00:02' },
				...{ isLoopback: false, isEthernet: true, driver: '', master: 0, lower: 0 },
			},
		])
	})

	test('reads what a link stands upon and what it is a part of, unless that is elsewhere', () => {
		const body = [...[0, 0], ...half(1), ...word(12), ...word(0x1043), ...word(0)]
		const kind = attribute(1, [...new TextEncoder().encode('vlan'), 0])
		const rest = attribute(2, Array(200).fill(7))
		const links = [...attribute(18, [...kind, ...rest]), ...attribute(10, word(3))]
		const lower = attribute(5, word(2))
		const here = message(RTM_NEWLINK, [...body, ...lower, ...links])
		expect(read(here)).toMatchObject([{ driver: 'vlan', master: 3, lower: 2 }])
		const elsewhere = message(RTM_NEWLINK, [...body, ...lower, ...attribute(37, word(0))])
		expect(read(elsewhere)).toMatchObject([{ driver: '', master: 0, lower: 0 }])
	})

	test('reads whether an interface forwards', () => {
		const setting = (on: number) =>
			message(RTM_NEWNETCONF, [2, 0, 0, 0, ...attribute(1, word(4)), ...attribute(2, word(on))])
		expect(read(setting(1))).toEqual([{ kind: 'forwarding', index: 4, isOn: true }])
		expect(read(setting(0))).toEqual([{ kind: 'forwarding', index: 4, isOn: false }])
	})

	test('knows loopback, and links without an Ethernet header', () => {
		const link = (type: number, flags: number) =>
			message(RTM_NEWLINK, [0, 0, ...half(type), ...word(1), ...word(flags), ...word(0)])
		expect(read(link(772, 8))).toMatchObject([{ isLoopback: true, isEthernet: false }])
		expect(read(link(0xfffe, 1))).toMatchObject([{ isLoopback: false, isEthernet: false }])
	})

	test("reads addresses of both families, its own before the other end's", () => {
		const four = [2, 24, 0, 0, ...word(5), ...attribute(1, [10, 0, 0, 9])]
		const own = attribute(2, [10, 0, 0, 1])
		const six = [10, 64, 0, 0, ...word(5), ...attribute(1, [0xfd, ...Array(14).fill(0), 1])]
		const parts = [message(RTM_NEWADDR, [...four, ...own]), message(RTM_NEWADDR, six)]
		expect(parts.flatMap(read)).toEqual([
			{ kind: 'address', index: 5, text: '10.0.0.1/24' },
			{ kind: 'address', index: 5, text: 'fd00::1/64' },
		])
	})

	test('leaves out what is neither, and stops at what does not fit', () => {
		expect(read(message(99, [1, 2, 3, 4]))).toEqual([undefined])
		expect(read(message(RTM_NEWLINK, [0, 0]))).toEqual([undefined])
		expect(read(message(RTM_NEWLINK, []).fill(255, 0, 4))).toEqual([])
	})

	test('any bytes end in some list', () => {
		fc.assert(
			fc.property(
				fc.constantFrom(RTM_NEWLINK, RTM_NEWADDR, RTM_NEWNETCONF),
				fc.uint8Array({ maxLength: 200 }),
				(type, body) => {
					expect(read(message(type, [...body])).length).toBe(1)
					expect(read(body).length).toBeLessThanOrEqual(13)
				},
			),
		)
	})
})

function read(bytes: Uint8Array) {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
	return [...messagesOf(view)].map(readMessage)
}

function message(type: number, body: number[]): Uint8Array {
	return Uint8Array.from([
		...word(16 + body.length),
		...half(type),
		0,
		0,
		...Array(8).fill(0),
		...body,
	])
}

function attribute(type: number, value: number[]): number[] {
	const padding = Array<number>((4 - (value.length % 4)) % 4).fill(0)
	return [...half(4 + value.length), ...half(type), ...value, ...padding]
}

function half(value: number): number[] {
	return [...new Uint8Array(new Uint16Array([value]).buffer)]
}

function word(value: number): number[] {
	return [...new Uint8Array(new Uint32Array([value]).buffer)]
}
