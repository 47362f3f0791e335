import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Packet } from '../packet/packet.ts'
import { CHAIN_MAX, SessionTable } from './session-table.ts'

it('finds a session from both directions and tells them apart', () => {
	fc.assert(
		fc.property(keys(), (key) => {
			const table = new SessionTable(4)
			const forward = packetOf(key)
			const back = reversed(forward)
			table.insert(3, forward, 7)
			const isFromLow = table.isFromLow
			expect(table.find(back, 7)).toBe(3)
			const isSame = JSON.stringify(forward) === JSON.stringify(back)
			expect(table.isFromLow).toBe(isSame ? isFromLow : !isFromLow)
			expect(table.find(forward, 7)).toBe(3)
			expect(table.find(forward, 8)).toBe(-1)
			const source = new Int32Array(4)
			table.readAddress(3, isFromLow, source)
			expect(source[3]).toBe(forward.source3)
			expect(source[2]).toBe(forward.isV6 ? forward.source2 : 0xffff)
			expect(table.transportPort(3, isFromLow)).toBe(forward.sourcePort)
			expect(table.transportPort(3, !isFromLow)).toBe(forward.destinationPort)
		}),
	)
})

it('agrees with a map after any inserts and removals', () => {
	const steps = fc.array(fc.tuple(keys(), fc.boolean()), { maxLength: 60 })
	fc.assert(
		fc.property(steps, (list) => {
			const table = new SessionTable(64)
			const map = new Map<string, number>()
			let next = 0
			for (const [key, isInsert] of list) {
				const packet = packetOf(key)
				const name = nameOf(packet)
				const known = map.get(name)
				expect(table.find(packet, 1)).toBe(known ?? -1)
				if (isInsert && known === undefined) {
					map.set(name, next)
					table.insert(next++, packet, 1)
				} else if (!isInsert && known !== undefined) {
					map.delete(name)
					table.remove(known)
				}
			}
			for (const [key] of list) {
				const packet = packetOf(key)
				expect(table.find(packet, 1)).toBe(map.get(nameOf(packet)) ?? -1)
			}
		}),
	)
})

it('names the oldest entry of a chain that is full', () => {
	const table = new SessionTable(CHAIN_MAX)
	for (const [i, packet] of collidingPackets(CHAIN_MAX).entries()) {
		expect(table.find(packet, 1)).toBe(-1)
		expect(table.excess()).toBe(-1)
		table.insert(i, packet, 1)
	}
	const last = collidingPackets(CHAIN_MAX + 1).at(-1)
	expect(last && table.find(last, 1)).toBe(-1)
	expect(table.excess()).toBe(0)
	table.remove(0)
	expect(last && table.find(last, 1)).toBe(-1)
	expect(table.excess()).toBe(-1)
})

it('spreads ordinary sessions over its buckets', () => {
	const table = new SessionTable(4096)
	let longest = 0
	for (let i = 0; i < 4096; i++) {
		const packet = numbered(i)
		expect(table.find(packet, 1)).toBe(-1)
		longest = Math.max(longest, table.chainLength)
		table.insert(i, packet, 1)
	}
	expect(longest).toBeLessThan(10)
})

interface Key {
	readonly isV6: boolean
	readonly source: number
	readonly destination: number
	readonly sourcePort: number
	readonly destinationPort: number
}

/** Few values, so that keys meet again, in both orders, and with both ends alike. */
function keys(): fc.Arbitrary<Key> {
	const word = fc.constantFrom(0, 1, -1, 0x0a000001, -0x54000000)
	const port = fc.constantFrom(0, 53, 80, 0xffff)
	return fc.record({
		isV6: fc.boolean(),
		source: word,
		destination: word,
		sourcePort: port,
		destinationPort: port,
	})
}

function packetOf({ isV6, source, destination, sourcePort, destinationPort }: Key): Packet {
	const packet = new Packet()
	packet.isV6 = isV6
	packet.source3 = source
	packet.destination3 = destination
	if (isV6) {
		packet.source1 = ~source
		packet.source2 = source
		packet.destination1 = ~destination
		packet.destination2 = destination
	}
	packet.sourcePort = sourcePort
	packet.destinationPort = destinationPort
	packet.protocol = 6
	return packet
}

function reversed(packet: Packet): Packet {
	const back = new Packet()
	Object.assign(back, packet, {
		source0: packet.destination0,
		source1: packet.destination1,
		source2: packet.destination2,
		source3: packet.destination3,
		destination0: packet.source0,
		destination1: packet.source1,
		destination2: packet.source2,
		destination3: packet.source3,
		sourcePort: packet.destinationPort,
		destinationPort: packet.sourcePort,
	})
	return back
}

/** The same for both directions. */
function nameOf(packet: Packet): string {
	const ends = [
		`${packet.source3}:${packet.sourcePort}`,
		`${packet.destination3}:${packet.destinationPort}`,
	]
	return `${packet.isV6} ${ends.sort().join(' ')}`
}

function numbered(i: number): Packet {
	return packetOf({
		isV6: false,
		source: 0x0a000000 + (i >>> 12),
		destination: 0x0a640001,
		sourcePort: 32_768 + (i & 0xfff),
		destinationPort: 80,
	})
}

/** Packets that fall into the bucket of the first, in a table of `CHAIN_MAX` sessions. */
function collidingPackets(count: number): Packet[] {
	const table = new SessionTable(CHAIN_MAX)
	const found = [numbered(0)]
	table.insert(0, numbered(0), 1)
	for (let i = 1; found.length < count; i++) {
		if (table.find(numbered(i), 1) === -1 && table.chainLength === 1) found.push(numbered(i))
	}
	return found
}
