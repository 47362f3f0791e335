import { leavesOf, type PairTable } from './pair-table.ts'

interface MemoLimits {
	readonly pairsMax: number
	readonly leavesMax: number
}

/** At most about 120 MB, when every pair has rules of its own: 1.1 kB a pair was measured, and some 100 bytes a further leaf. */
const LIMITS: MemoLimits = { pairsMax: 65_536, leavesMax: 524_288 }

/**
 * Tables of the pairs that were asked for. When a limit is reached all are forgotten and made again as they are asked
 * for: a table costs microseconds, and no bookkeeping burdens the look-ups between.
 */
export class PairMemo {
	readonly #limits: MemoLimits
	#rows: (Map<number, PairTable> | undefined)[] = []
	#pairs = 0
	#leaves = 0

	constructor(limits: MemoLimits = LIMITS) {
		this.#limits = limits
	}

	/** @param row small dense number of one end; @param column of the other */
	get(row: number, column: number): PairTable | undefined {
		return this.#rows[row]?.get(column)
	}

	set(row: number, column: number, table: PairTable): void {
		const leaves = leavesOf(table)
		if (this.#pairs >= this.#limits.pairsMax || this.#leaves + leaves > this.#limits.leavesMax) {
			this.#rows = []
			this.#pairs = 0
			this.#leaves = 0
		}
		const tables = this.#rows[row] ?? new Map<number, PairTable>()
		this.#rows[row] = tables
		tables.set(column, table)
		this.#pairs++
		this.#leaves += leaves
	}
}
