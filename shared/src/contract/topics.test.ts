import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { agentTopics, controllerTopics, DOCUMENTS, parseTopic } from './topics.ts'

describe('topics of an agent', () => {
	test.each(allTopics('c1', 'n1'))('%s is taken apart as %o', (topic, address) => {
		expect(parseTopic('c1', topic)).toEqual(address)
	})

	test('have at most seven slashes', () => {
		for (const [topic] of allTopics('c1', 'n1')) {
			expect(topic.split('/').length - 1).toBeLessThanOrEqual(7)
		}
	})

	test('round-trip for every cluster and node id', () => {
		const id = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
		const run = (cluster: string, node: string) => {
			for (const [topic, address] of allTopics(cluster, node)) {
				expect(parseTopic(cluster, topic)).toEqual(address)
			}
		}
		fc.assert(fc.property(id, id, run))
	})

	test('are covered by the filters of those who read them, and by no other', () => {
		const agent = agentTopics('c1', 'n1')
		const { upFilter, presenceFilter } = controllerTopics('c1')
		for (const [topic, { direction }] of allTopics('c1', 'n1')) {
			expect(matches(upFilter, topic)).toBe(direction === 'up')
			expect(matches(presenceFilter, topic)).toBe(direction === 'presence')
			expect(matches(agent.downFilter, topic)).toBe(direction === 'down')
		}
	})

	test('of one node are none of another node', () => {
		for (const [topic] of allTopics('c1', 'n2')) {
			expect(matches(agentTopics('c1', 'n1').downFilter, topic)).toBe(false)
		}
	})
})

describe('what is no topic of an agent', () => {
	test.each([
		...['', '/', 'rf', 'rf/v1/c1', 'rf/v1/c1/agent', 'rf/v1/c1/agent/n1', 'rf/v1/c1/agent/n1/up'],
		...['rf/v2/c1/agent/n1/up/hello', 'rf/v1/c2/agent/n1/up/hello', 'xx/v1/c1/agent/n1/up/hello'],
		...['/rf/v1/c1/agent/n1/up/hello', 'rf/v1/c1/agent/n1/sideways/hello', 'rf/v1/c1/ctl/state'],
		...['rf/v1/c1/presence/', 'rf/v1/c1/presence/n1/', 'rf/v1/c1/presence/n1/up/hello'],
		...['rf/v1/c1/agent//up/hello', 'rf/v1/c1/agent/+/up/hello', 'rf/v1/c1/agent/#/up/hello'],
		...['rf/v1/c1/agent/../up/hello', 'rf/v1/c1/agent/a b/up/hello', 'rf/v1/c1/presence/n\u0000'],
		`rf/v1/c1/agent/${'n'.repeat(65)}/up/hello`,
	])('is refused: "%s"', (topic) => {
		expect(parseTopic('c1', topic)).toBeUndefined()
	})

	test('whatever the text, the parts come from it and nothing is thrown', () => {
		const level = fc.oneof(
			fc.constantFrom('rf', 'v1', 'c1', 'agent', 'presence', 'up', 'down', 'hello', '', '+', '#'),
			fc.string({ unit: 'binary', maxLength: 8 }),
		)
		const run = (levels: readonly string[]) => {
			const topic = levels.join('/')
			const address = parseTopic('c1', topic)
			if (!address) return
			expect(address.node).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
			expect(topic.endsWith(address.channel)).toBe(true)
		}
		fc.assert(fc.property(fc.array(level, { maxLength: 10 }), run), { numRuns: 2_000 })
	})
})

type Address = NonNullable<ReturnType<typeof parseTopic>>

function allTopics(cluster: string, node: string): [string, Address][] {
	const topics = agentTopics(cluster, node)
	const up = (channel: string): Address => ({ direction: 'up', node, channel })
	const down = (channel: string): Address => ({ direction: 'down', node, channel })
	return [
		[topics.hello, up('hello')],
		[topics.workloads, up('workloads')],
		[topics.telemetry, up('telemetry')],
		[topics.result, up('result')],
		[topics.presence, { direction: 'presence', node, channel: '' }],
		[topics.ack, down('ack')],
		[topics.command, down('command')],
		...DOCUMENTS.flatMap((document): [string, Address][] => [
			[topics.status(document), up(`status/${document}`)],
			[topics.head(document), down(`${document}/head`)],
			[topics.shard(document, 0), down(`${document}/0`)],
			[topics.shard(document, 15), down(`${document}/15`)],
		]),
	]
}

/** Whether a topic filter matches, as in MQTT 3.1.1 §4.7. */
function matches(filter: string, topic: string): boolean {
	const levels = topic.split('/')
	const wanted = filter.split('/')
	if (wanted.at(-1) === '#') levels.length = Math.min(levels.length, wanted.length - 1)
	const fixed = wanted.filter((level) => level !== '#')
	return (
		levels.length === fixed.length &&
		fixed.every((level, i) => level === '+' || level === levels[i])
	)
}
