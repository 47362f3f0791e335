import { expect, it } from 'vitest'
import { createTally } from './tally.ts'

it('counts everything, and logs a reason once in ten seconds with what it kept quiet', () => {
	const lines: unknown[] = []
	let now = 0
	const tally = createTally(
		'refused',
		(_level, message, fields) => lines.push({ message, ...fields }),
		() => now,
	)
	for (let i = 0; i < 1000; i++) tally.count('bad', 'x\u001b[31m')
	tally.count('worse')
	now = 10_000
	tally.count('bad')
	expect(lines).toEqual([
		{ message: 'refused', reason: 'bad', times: 1, total: 1, detail: 'x?[31m' },
		{ message: 'refused', reason: 'worse', times: 1, total: 1 },
		{ message: 'refused', reason: 'bad', times: 1000, total: 1001 },
	])
	expect(tally.counters()).toEqual({ bad: 1001, worse: 1 })
})
