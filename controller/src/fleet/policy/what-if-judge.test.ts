import { expect, test } from 'vitest'
import { Turns } from '../turns.ts'
import { EndIndex } from './what-if-ends.ts'
import { RuleList } from './what-if-judge.ts'

const PORTS = Array.from({ length: 64 }, (_, port) => `tcp/${port + 1}`)
const RULES = Array.from({ length: 2000 }, (_, index) => ({
	...{ id: String(index), from: 'external', to: 'external', ports: PORTS },
	...{ applications: ['any'], action: 'allow' as const },
}))
const ends = new EndIndex([])
const session = (port: number) => ({
	...{ client: ends.at('external:192.0.2.1', ''), server: ends.at('external:192.0.2.2', '') },
	...{ protocol: 6, port, application: '' },
})

test('a long scan lets others have their turns', async () => {
	const rules = new RuleList(RULES, new Turns(Number.POSITIVE_INFINITY))
	let turns = 0
	const timer = setInterval(() => turns++, 0)
	expect(await rules.first(session(99))).toBeNull()
	clearInterval(timer)
	expect(turns).toBeGreaterThan(2)
	expect(await rules.first(session(64))).toMatchObject({ id: '0' })
})

test('a scan ends with the work that was granted', async () => {
	const turns = new Turns(100_000)
	const rules = new RuleList(RULES, turns)
	expect(await rules.first(session(64))).toMatchObject({ id: '0' })
	expect(turns.isOver).toBe(false)
	expect(await rules.first(session(99))).toBeNull()
	expect(turns.isOver).toBe(true)
})
