import { expect, it } from 'vitest'
import { Counters } from './counters.ts'
import { Inbox } from './inbox.ts'
import { Rejections } from './rejections.ts'
import { until } from './testing/until.ts'

it('hands messages over one at a time, in order, and drops those beyond its bounds', async () => {
	const counters = new Counters()
	const lines: string[] = []
	const handled: string[] = []
	const releases: (() => void)[] = []
	const rejections = new Rejections(counters, (level, message) => lines.push(`${level} ${message}`))
	const inbox = new Inbox(async ({ topic }) => {
		if (topic === '0') await new Promise<void>((resolve) => releases.push(resolve))
		handled.push(topic)
	}, rejections)
	for (let number = 0; number < 300; number++) {
		inbox.push({ topic: String(number), payload: new Uint8Array(1), isRetained: false })
	}
	expect(counters.get('rejectedOverflow')).toBe(300 - 257)
	expect(lines).toHaveLength(1)
	for (const release of releases) release()
	await until('all are handled', () => handled.length === 257)
	expect(handled).toEqual(Array.from({ length: 257 }, (_, index) => String(index)))
})

it('bounds bytes, of one message and of all that wait', () => {
	const counters = new Counters()
	const rejections = new Rejections(counters, () => undefined)
	const inbox = new Inbox(() => new Promise(() => undefined), rejections)
	const large = new Uint8Array(4 * 1024 * 1024)
	inbox.push({ topic: 't', payload: new Uint8Array(large.length + 1), isRetained: false })
	expect(counters.get('rejectedTooLarge')).toBe(1)
	for (let number = 0; number < 12; number++) {
		inbox.push({ topic: 't', payload: large, isRetained: false })
	}
	expect(counters.get('rejectedOverflow')).toBe(12 - 9)
})
