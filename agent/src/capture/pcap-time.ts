/** How a pcapng interface counts time (`if_tsresol`): units a second. */
export type Resolution =
	/** At least microseconds: `perUs` units each. */
	| { readonly kind: 'fine'; readonly perUs: number }
	/** Coarser, or a power of two: one unit is `us` microseconds. */
	| { readonly kind: 'scaled'; readonly us: number }

/** A 64-bit number as the format has it: two unsigned words. */
export interface WideNumber {
	readonly high: number
	readonly low: number
}

/** Reads `if_tsresol`: the top bit chooses powers of two over powers of ten, the rest is the negative exponent. */
export function resolutionOf(tsresol: number): Resolution {
	const exponent = tsresol & 0x7f
	if ((tsresol & 0x80) !== 0) return { kind: 'scaled', us: 1e6 / 2 ** exponent }
	return exponent >= 6
		? { kind: 'fine', perUs: 10 ** (exponent - 6) }
		: { kind: 'scaled', us: 10 ** (6 - exponent) }
}

/**
 * Whole microseconds since 1970. Exact for micro- and nanoseconds of this and the next centuries, although the
 * nanoseconds themselves do not fit a number. What lies before 1970 or beyond 2^53 is moved there.
 */
export function microseconds(
	resolution: Resolution,
	offsetSeconds: number,
	{ high, low }: WideNumber,
): number {
	const counted =
		resolution.kind === 'fine'
			? divide(high, low, resolution.perUs)
			: Math.floor((high * 2 ** 32 + low) * resolution.us)
	return Math.min(Math.max(counted + offsetSeconds * 1e6, 0), Number.MAX_SAFE_INTEGER)
}

/** `(high * 2^32 + low) / divisor` rounded down, by parts that each fit a number. */
function divide(high: number, low: number, divisor: number): number {
	const quotient = Math.floor(2 ** 32 / divisor)
	const remainder = 2 ** 32 - quotient * divisor
	return high * quotient + Math.floor((high * remainder + low) / divisor)
}
