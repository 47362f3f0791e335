import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { decodeMessage, encodeMessage, inflate, MESSAGE_BYTES_MAX } from './codec.ts'
import {
	commandSchema,
	documentStatusSchema,
	headSchema,
	helloSchema,
	presenceSchema,
	signedHeadSchema,
	telemetryAckSchema,
	workloadsReportSchema,
} from './messages.ts'
import { addressesShardSchema, policyShardSchema } from './policy.ts'
import { telemetryBatchSchema } from './telemetry.ts'
import { CONTRACT_VERSION } from './version.ts'

const PRESENCE = { v: CONTRACT_VERSION, boot: 'b1', isUp: true, at: 1 }

describe('a message', () => {
	test('comes back as it was sent', async () => {
		const bytes = await encodeMessage(PRESENCE)
		expect(new TextDecoder().decode(bytes)).toBe(JSON.stringify(PRESENCE))
		expect(await decodeMessage(presenceSchema, bytes)).toEqual({ ok: true, value: PRESENCE })
	})

	test('is compressed when it is long', async () => {
		const message = { text: 'ringfence '.repeat(5_000) }
		const bytes = await encodeMessage(message)
		expect([bytes[0], bytes[1]]).toEqual([0x1f, 0x8b])
		expect(bytes.length).toBeLessThan(1_000)
		const decoded = await decodeMessage(z.strictObject({ text: z.string() }), bytes)
		expect(decoded).toEqual({ ok: true, value: message })
	})

	test('of any JSON comes back, short or long', async () => {
		const run = async (value: unknown) => {
			const message = JSON.parse(JSON.stringify({ value }))
			const decoded = await decodeMessage(z.unknown(), await encodeMessage(message))
			expect(decoded).toEqual({ ok: true, value: message })
		}
		await fc.assert(fc.asyncProperty(fc.jsonValue({ maxDepth: 6 }), run))
	})
})

describe('what is refused says why', () => {
	test('an unknown key, by name', async () => {
		expect(await whyNot({ ...PRESENCE, sudo: true })).toContain('"sudo"')
	})

	test('another version, naming both', async () => {
		const why = await whyNot({ ...PRESENCE, v: 941 })
		expect(why).toBe(`v: contract version 941 is not ${CONTRACT_VERSION}`)
	})

	test.each([
		[undefined, 'of type undefined'],
		[null, 'of type object'],
		[{ toString: 1 }, 'of type object'],
		['9'.repeat(100_000), '9'.repeat(32)],
	])('a version that is none: %o', async (v, named) => {
		const why = await whyNot({ ...PRESENCE, v })
		expect(why).toBe(`v: contract version ${named} is not ${CONTRACT_VERSION}`)
	})

	test('a wrong field, with its path, and at most three of them', async () => {
		const why = await whyNot({ v: CONTRACT_VERSION, boot: '', isUp: 'yes', at: -1, x: 1, y: 2 })
		expect(why).toMatch(/^boot: .*; isUp: .*; at: /)
		expect(why.length).toBeLessThanOrEqual(500)
	})

	test('bytes that are not UTF-8', async () => {
		const bytes = Uint8Array.of(0x22, 0xc3, 0x28, 0x22)
		expect(await refusal(z.string(), bytes)).toMatch(/utf-8|encoded data/i)
	})

	test.each(['', '{', '{"a":1}}', 'NaN', '[1,]', '\u0000'])(
		'text that is not JSON: %o',
		async (text) => {
			expect((await refusal(z.unknown(), new TextEncoder().encode(text))).length).toBeGreaterThan(0)
		},
	)

	test('long keys and values only in part', async () => {
		const why = await whyNot({ ...PRESENCE, ['k'.repeat(100_000)]: 1 })
		expect(why.length).toBeLessThanOrEqual(500)
	})
})

describe('compressed bytes', () => {
	test('that unpack to the limit are read, to one more are not', async () => {
		const atLimit = gzipSync(new Uint8Array(MESSAGE_BYTES_MAX))
		expect(await inflate(atLimit)).toHaveLength(MESSAGE_BYTES_MAX)
		await expect(inflate(gzipSync(new Uint8Array(MESSAGE_BYTES_MAX + 1)))).rejects.toThrow(
			'message too large',
		)
	})

	test('that unpack to gigabytes cost no more than the limit', async () => {
		const member = gzipSync(new Uint8Array(16 * 1024 * 1024))
		const bomb = Buffer.concat(Array.from({ length: 128 }, () => member))
		expect(bomb.length).toBeLessThan(MESSAGE_BYTES_MAX)
		const before = process.memoryUsage().rss
		expect(await refusal(z.unknown(), bomb)).toBe('message too large')
		expect(process.memoryUsage().rss - before).toBeLessThan(256 * 1024 * 1024)
	})

	test('that are longer than the limit as they are are not even looked at', async () => {
		expect(await refusal(z.unknown(), new Uint8Array(MESSAGE_BYTES_MAX + 1))).toBe(
			'message too large',
		)
	})

	test('that are damaged or cut at any byte are refused', async () => {
		const whole = gzipSync(JSON.stringify(PRESENCE))
		for (let end = 2; end < whole.length; end++) {
			expect(await refusal(presenceSchema, whole.subarray(0, end)), `cut at ${end}`).not.toBe('')
		}
		const checksum = Uint8Array.from(whole)
		checksum[whole.length - 6] = (checksum[whole.length - 6] ?? 0) ^ 0xff
		expect(await refusal(presenceSchema, checksum)).not.toBe('')
	})
})

describe('hostile bytes', () => {
	test('never make the reader throw', async () => {
		const bytes = fc.oneof(
			fc.uint8Array({ maxLength: 200 }),
			fc.uint8Array({ maxLength: 200 }).map((tail) => Uint8Array.of(0x1f, 0x8b, 8, ...tail)),
			fc.uint8Array({ maxLength: 200 }).map((inside) => new Uint8Array(gzipSync(inside))),
		)
		const run = async (some: Uint8Array) => expectAnswers(some)
		await fc.assert(fc.asyncProperty(bytes, run), { numRuns: 150 })
	})

	test('of valid JSON never make the reader throw', async () => {
		const key = fc.constantFrom(
			'v',
			'boot',
			'at',
			'records',
			'kind',
			'__proto__',
			'constructor',
			'x',
		)
		const json = fc.letrec<{ value: unknown }>((tie) => ({
			value: fc.oneof(
				{ maxDepth: 4 },
				fc.jsonValue({ maxDepth: 2 }),
				fc.constantFrom(CONTRACT_VERSION, 'conversation', 'policy', 'up', '10.0.0.1'),
				fc.array(tie('value'), { maxLength: 4 }),
				fc.dictionary(key, tie('value'), { maxKeys: 6, noNullPrototype: true }),
			),
		})).value
		const run = async (value: unknown) =>
			expectAnswers(new TextEncoder().encode(JSON.stringify(value) ?? ''))
		await fc.assert(fc.asyncProperty(json, run), { numRuns: 300 })
	})

	test('nested beyond any sense are answered', async () => {
		for (const [open, close] of [
			['[', ']'],
			['{"records":[', ']}'],
			['{"v":', '}'],
		] as const) {
			const depth = 100_000
			await expectAnswers(new TextEncoder().encode(`${open.repeat(depth)}0${close.repeat(depth)}`))
		}
	})

	test('of more values or levels than any message has are refused before they are parsed', async () => {
		const why = 'message has too many values or levels'
		for (const text of [
			'['.repeat(70_000),
			`${'{"a":'.repeat(40)}"${'x'.repeat(70_000)}"${'}'.repeat(40)}`,
			`[${'0,'.repeat(600_000)}0]`,
		]) {
			expect(await refusal(z.unknown(), new TextEncoder().encode(text))).toBe(why)
		}
		const brackets = `["${'[{,\\"'.repeat(200_000)}"]`
		expect(await refusal(z.unknown(), new TextEncoder().encode(brackets))).toBe('')
	})

	test('have no NUL in text and keys, which databases cut at', async () => {
		const bytes = new TextEncoder().encode('{"a\\u0000b":["c\\u0000","\\\\u0000"],"d":1}')
		expect(await decodeMessage(z.unknown(), bytes)).toEqual({
			ok: true,
			value: { 'a\ufffdb': ['c\ufffd', '\\u0000'], d: 1 },
		})
	})

	test('that name __proto__ change no prototype', async () => {
		const bytes = new TextEncoder().encode('{"__proto__":{"isAdmin":true}}')
		await expectAnswers(bytes)
		expect(await refusal(presenceSchema, bytes)).not.toBe('')
		expect(await decodeMessage(policyShardSchema, bytes)).toEqual({ ok: true, value: {} })
		expect(Object.hasOwn(Object.prototype, 'isAdmin')).toBe(false)
	})
})

const SCHEMAS = [
	presenceSchema,
	helloSchema,
	workloadsReportSchema,
	telemetryAckSchema,
	headSchema,
	signedHeadSchema,
	documentStatusSchema,
	commandSchema,
	telemetryBatchSchema,
	policyShardSchema,
	addressesShardSchema,
]

/** Every schema answers: a value, or a reason of bounded length. */
async function expectAnswers(bytes: Uint8Array): Promise<void> {
	for (const schema of SCHEMAS) {
		const decoded = await decodeMessage<z.ZodType>(schema, bytes)
		if (decoded.ok) continue
		expect(decoded.why.length).toBeGreaterThan(0)
		expect(decoded.why.length).toBeLessThanOrEqual(500)
	}
}

async function refusal(schema: z.ZodType, bytes: Uint8Array): Promise<string> {
	const decoded = await decodeMessage(schema, bytes)
	return decoded.ok ? '' : decoded.why
}

async function whyNot(message: unknown): Promise<string> {
	return refusal(presenceSchema, await encodeMessage(message))
}
