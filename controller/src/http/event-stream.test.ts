import { beforeEach, expect, test } from 'vitest'
import { events } from '../db/schema.ts'
import { joinAgent, type TestAgent, violation, workload } from '../fleet/test-fleet.ts'
import { openTestApp, type TestApp } from './test-app.ts'

let it: TestApp
let agent: TestAgent

beforeEach(async () => {
	it = await openTestApp({ streamTickMs: 5 })
	agent = await joinAgent(it.fleet, 'n1', ['10.0.0.1/24'])
	await agent.report([workload('web', ['10.0.0.2/24'])])
})

test('an event reaches the stream when it arrives, whole', async () => {
	const stream = await open()
	const [id] = await raise(1)
	const message = await stream.next()
	expect(message).toMatchObject({ id, event: 'event' })
	const { json } = await it.call(`GET /v1/events/${id}`, { as: 'viewer' })
	expect(JSON.parse(message.data ?? '')).toEqual(json)
	await stream.close()
})

test('a stream begins with what is new', async () => {
	await raise(3)
	const stream = await open()
	const [id] = await raise(1)
	expect((await stream.next()).id).toBe(id)
	await stream.close()
})

test('a stream that resumes misses nothing and repeats nothing', async () => {
	const all = await raise(250)
	const stream = await open({ 'last-event-id': all[9] ?? '' })
	const later = await raise(5)
	const seen: (string | undefined)[] = []
	while (seen.length < 245) seen.push((await stream.next()).id)
	expect(seen).toEqual([...all.slice(10), ...later])
	await stream.close()
})

test('a stream misses no event of a controller whose clock is behind', async () => {
	const [newest] = await raise(1)
	const stream = await open()
	const [row] = await it.fleet.store.db.select().from(events)
	if (!row) throw new Error('there is no event')
	const late = { ...row, id: `0${newest?.slice(0, -1)}`, dedupeKey: 'other' }
	await it.fleet.store.write((tx) => tx.insert(events).values(late))
	expect((await stream.next()).id).toBe(late.id)
	await stream.close()
	const resumed = await open({ 'last-event-id': newest ?? '' })
	expect((await resumed.next()).id).toBe(late.id)
	await resumed.close()
})

test('nobody takes the streams of all others', async () => {
	const streams = await Promise.all(Array.from({ length: 20 }, () => open()))
	const more = await it.call('GET /v1/events/stream', { as: 'viewer' })
	expect(more).toMatchObject({
		status: 503,
		json: { type: 'urn:ringfence:problem:too-many-streams' },
	})
	const headers = { authorization: `Bearer ${it.keys.operator}` }
	const other = await it.app.request('/v1/events/stream', { headers })
	expect(other.status).toBe(200)
	await other.body?.cancel()
	await streams[0]?.close()
	await expect.poll(async () => (await open()).close()).toBeUndefined()
	for (const stream of streams.slice(1)) await stream.close()
})

test('a stream ends when its key is taken away', async () => {
	const stream = await open()
	const [, id = ''] = it.keys.viewer.split('_')
	await it.call(`DELETE /v1/api-keys/${id}`, { as: 'admin', revision: '*' })
	expect(await stream.next()).toEqual({})
})

test('a client that goes away leaves nothing behind', async () => {
	let watchers = 0
	const { live } = it.fleet
	const counting = {
		...it.fleet,
		live: {
			...live,
			subscribe: (handler: Parameters<typeof live.subscribe>[0]) => {
				watchers++
				const leave = live.subscribe(handler)
				return () => {
					watchers--
					leave()
				}
			},
		},
	}
	const { createApp } = await import('../app.ts')
	const app = createApp(counting, { streamTickMs: 5 })
	const headers = { authorization: `Bearer ${it.keys.viewer}` }
	const response = await app.request('/v1/events/stream', { headers })
	const reader = response.body?.getReader()
	await reader?.read()
	expect(watchers).toBe(1)
	await reader?.cancel()
	await expect.poll(() => watchers).toBe(0)
})

interface Message {
	id?: string
	event?: string
	data?: string
}

async function open(headers: Record<string, string> = {}) {
	const response = await it.app.request('/v1/events/stream', {
		headers: { authorization: `Bearer ${it.keys.viewer}`, ...headers },
	})
	expect(response.headers.get('content-type')).toContain('text/event-stream')
	const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
	let text = ''
	const read = async (): Promise<boolean> => {
		const chunk = await reader?.read()
		text += chunk?.value ?? ''
		return chunk?.done === false
	}
	// The first sign of life comes when the stream knows where it begins.
	while (!text.includes('still here') && headers['last-event-id'] === undefined) await read()
	return {
		/** The next message; empty at the end. */
		async next(): Promise<Message> {
			for (;;) {
				const end = text.indexOf('\n\n')
				if (end < 0) {
					if (!(await read())) return {}
					continue
				}
				const lines = text.slice(0, end).split('\n')
				text = text.slice(end + 2)
				if (lines.some((line) => line.startsWith('data:'))) return toMessage(lines)
			}
		},
		close: async () => reader?.cancel(),
	}
}

function toMessage(lines: readonly string[]): Message {
	return Object.fromEntries(
		lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
	)
}

let port = 1000

/** Makes events, and tells the live feed as the intake does. @returns their ids, in order of arrival */
async function raise(count: number): Promise<string[]> {
	const { told, live } = it.fleet
	const before = told.length
	const records = Array.from({ length: count }, () =>
		violation({ workload: 'web', peerAddress: '192.0.2.1', serverPort: port++ }),
	)
	await agent.send(...records)
	for (const item of told.slice(before)) live.publish(item)
	return told.slice(before).map(({ id }) => id)
}
