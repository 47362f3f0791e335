/** One figure of a bench. `ratio` compares with a peer that was measured in the same run. */
export interface Row {
	readonly name: string
	readonly value: number
	readonly unit: string
	readonly ratio?: number
}

/** The middle value; of an even number of them the lower middle. */
export function median(values: readonly number[]): number {
	return quantile(values, 0.5)
}

/** The value at rank `share` (0 to 1) of the sorted values, by nearest rank. */
export function quantile(values: readonly number[], share: number): number {
	const sorted = [...values].sort((a, b) => a - b)
	const rank = Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))
	return sorted[rank] ?? Number.NaN
}

export function formatRow({ name, value, unit, ratio }: Row): string {
	const figure = value.toLocaleString('en', { maximumSignificantDigits: 4, useGrouping: false })
	const compared = ratio === undefined ? '' : `  ratio ${ratio.toFixed(2)}`
	return `${name.padEnd(36)} ${figure.padStart(12)} ${unit}${compared}`
}
