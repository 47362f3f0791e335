import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPacketMeter } from './packet-meter.ts'

describe('packet meter', () => {
	it('lets a CONNECT and packets up to the limit pass', () => {
		const meter = createPacketMeter(() => 100)
		expect(meter.measure(packet(0x10, 12))).toBeUndefined()
		expect(meter.measure(packet(0x30, 98))).toBeUndefined()
		expect(meter.measure(packet(0xc0, 0))).toBeUndefined()
	})

	it('refuses a first packet that is no CONNECT', () => {
		expect(createPacketMeter(() => 100).measure(packet(0x30, 5))).toBe('not-connect')
	})

	it('refuses a packet above the limit from its length alone', () => {
		const meter = createPacketMeter(() => 100)
		expect(meter.measure(packet(0x10, 99).subarray(0, 2))).toBe('too-large')
	})

	it('refuses 256 MiB announced in four bytes', () => {
		const meter = createPacketMeter(() => 1 << 20)
		expect(meter.measure(Uint8Array.of(0x10, 0xff, 0xff, 0xff, 0x7f))).toBe('too-large')
	})

	it('refuses a length of five bytes', () => {
		const meter = createPacketMeter(() => 1 << 30)
		expect(meter.measure(Uint8Array.of(0x10, 0x80, 0x80, 0x80, 0x80, 0x01))).toBe('malformed')
	})

	it('applies the limit of the moment', () => {
		let limit = 20
		const meter = createPacketMeter(() => limit)
		meter.measure(packet(0x10, 10))
		limit = 1000
		expect(meter.measure(packet(0x30, 500))).toBeUndefined()
	})

	it('says the same of a stream however it is split', () => {
		fc.assert(
			fc.property(
				fc.array(fc.nat(300), { minLength: 1, maxLength: 8 }),
				fc.array(fc.nat(1000), { maxLength: 12 }),
				(lengths, cuts) => {
					const stream = Buffer.concat(lengths.map((length) => packet(0x10, length)))
					const whole = createPacketMeter(() => 256).measure(stream)
					const meter = createPacketMeter(() => 256)
					const borders = [...new Set(cuts.map((cut) => cut % (stream.length + 1)))].sort(
						(a, b) => a - b,
					)
					let found: string | undefined
					for (const [i, from] of [0, ...borders].entries()) {
						found ??= meter.measure(stream.subarray(from, borders[i] ?? stream.length))
					}
					expect(found).toBe(whole)
				},
			),
		)
	})
})

function packet(type: number, length: number): Buffer {
	const header = length < 128 ? [type, length] : [type, (length & 0x7f) | 0x80, length >> 7]
	return Buffer.concat([Buffer.from(header), Buffer.alloc(length, 0xee)])
}
