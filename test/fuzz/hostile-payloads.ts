import { gzipSync } from 'node:zlib'
import { flipBytes, type Random } from './random.ts'

/** Text that hurts whoever prints, renders, joins or stores it without care. */
export const HOSTILE_TEXTS = [
	'<script>alert(1)</script><img src=x onerror=alert(1)>',
	'\u001b[2J\u001b]0;owned\u0007\u009b31m',
	'nul\u0000nul',
	'line\r\nlevel=error forged',
	'\u202etxt.exe',
	"'; drop table nodes; --",
	'../../../../etc/passwd',
	'$(reboot)`reboot`',
	'{{7*7}}',
	'__proto__',
	'constructor',
] as const

const WRONG_VALUES: readonly unknown[] = [
	...[null, true, {}, [], '', -1, 0.5, 2 ** 53, 1e308, '\u0000', 'x'.repeat(5000)],
	...[['a'], { toString: 1 }, { length: 1e9 }, '9'.repeat(400), HOSTILE_TEXTS[1]],
]

/**
 * What can be done to one good message: other bytes, other types, other versions, bombs. All fit in a packet.
 * @param message an object of plain JSON
 */
export function damaged(random: Random, message: Readonly<Record<string, unknown>>): Buffer[] {
	const good = Buffer.from(JSON.stringify(message))
	const variants: unknown[] = [null, 1, 'x', [], {}, [message], { ...message, unknown: 1 }]
	for (const v of [0, 2, -1, '1', 1e99, null, {}, [1], { toString: null }]) {
		variants.push({ ...message, v })
	}
	for (const key of Object.keys(message)) {
		const { [key]: _, ...without } = message
		variants.push(without, { ...message, [key]: random.pick<unknown>([null, ...WRONG_VALUES]) })
		for (const wrong of WRONG_VALUES)
			if (random.below(6) === 0) variants.push({ ...message, [key]: wrong })
	}
	const poisoned = `{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"v":1}},${good.toString().slice(1)}`
	return [
		...variants.map((variant) => Buffer.from(JSON.stringify(variant))),
		Buffer.from(poisoned),
		...[1, 2, 7, 64, 1000, 100_000].map((count) => random.bytes(count)),
		good.subarray(0, good.length >> 1),
		Buffer.concat([good, good]),
		Buffer.from([0xff, 0xfe, ...good]),
		Buffer.from('{"v":1,"\ud800":"\\ud800"}'),
		Buffer.from('{"v":1e999}'),
		...Array.from({ length: 5 }, () => flipBytes(random, good, { count: 2 })),
		...bombs(good),
	]
}

/** Little that becomes much: packed, nested, of many elements or keys. */
export function bombs(good: Buffer): Buffer[] {
	const packed = gzipSync(good)
	const keys = Array.from({ length: 60_000 }, (_, index) => `"${index.toString(36)}":-1`).join()
	return [
		packed.subarray(0, packed.length - 5),
		Buffer.concat([Buffer.from([0x1f, 0x8b]), good]),
		gzipSync(Buffer.alloc(64 * 1024 * 1024)),
		gzipSync(gzipSync(Buffer.alloc(64 * 1024 * 1024))),
		gzipSync('['.repeat(4_000_000)),
		gzipSync(`${'{"a":'.repeat(500_000)}1${'}'.repeat(500_000)}`),
		gzipSync(`{"v":1,"records":[${'0,'.repeat(1_900_000)}0],"workloads":[]}`),
		gzipSync(`{"v":1,"workloads":[${'{},'.repeat(1_300_000)}{}]}`),
		Buffer.from(`{"v":1,${keys}}`),
		gzipSync(good.toString().replace('"counters":{', `"counters":{${keys},`)),
	]
}
