import { ENGINE_COUNTERS, type EngineCounter } from './engine.ts'

/** Counters that the engine writes. */
export type Counts = Record<EngineCounter, number>

/** All counters at zero. */
export function newCounts(): Counts {
	return Object.fromEntries(ENGINE_COUNTERS.map((name) => [name, 0])) as Counts
}
