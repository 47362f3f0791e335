/** Seed of every fuzz test: the same unless `RINGFENCE_FUZZ_SEED` says otherwise. Names of the tests carry it. */
export const SEED = Number(process.env['RINGFENCE_FUZZ_SEED'] ?? 1)

/** Numbers that follow from a seed. */
export interface Random {
	/** A whole number from 0 to below `end`. */
	below(end: number): number
	pick<Value>(values: readonly [Value, ...Value[]]): Value
	bytes(count: number): Buffer
}

/** Mulberry32. @param stream tells one test's numbers from another's under the same seed */
export function createRandom(stream: number): Random {
	let state = (SEED * 0x9e3779b1 + stream) >>> 0
	const next = () => {
		state = (state + 0x6d2b79f5) >>> 0
		let mixed = Math.imul(state ^ (state >>> 15), state | 1)
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
		return (mixed ^ (mixed >>> 14)) >>> 0
	}
	const below = (end: number) => next() % end
	return {
		below,
		pick: (values) => values[below(values.length)] ?? values[0],
		bytes: (count) => Buffer.from(Array.from({ length: count }, () => below(256))),
	}
}

/** A copy with `count` bytes of `[from, end)` changed: to the borders of their range, to their neighbours, to anything. */
export function flipBytes(
	random: Random,
	bytes: Uint8Array,
	{ count, from = 0, end = bytes.length }: { count: number; from?: number; end?: number },
): Buffer {
	const copy = Buffer.from(bytes)
	for (let i = 0; i < count && end > from; i++) {
		const at = from + random.below(end - from)
		const old = copy[at] ?? 0
		copy[at] = random.pick([0, 255, old ^ (1 << random.below(8)), old + 1, random.below(256)])
	}
	return copy
}
