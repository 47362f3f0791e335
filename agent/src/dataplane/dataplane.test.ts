import { describe, expect, it } from 'vitest'
import { Dataplane, type TapWorkload } from './dataplane.ts'

/** A thread that opens no ring and answers nothing: it only ends when it is told to. */
const MUTE = new URL(
	`data:text/javascript,${encodeURIComponent(
		`import { parentPort } from 'node:worker_threads'
parentPort.on('message', ({ kind }) => kind === 'stop' && process.exit(0))`,
	)}`,
)
const ENGINE = {
	sessionsMax: 16,
	hasSessionEvents: false,
	hasConversationEvents: true,
	reportIntervalUs: 1_000_000,
}
const DOCUMENTS = {
	policy: { epoch: 1, generation: 1, entries: new Map() },
	addresses: { epoch: 1, generation: 1, entries: new Map() },
}

describe.skipIf(process.platform !== 'linux')('the data plane (threads need Linux)', () => {
	it('takes thousands of workloads at once without holding the main thread up', async () => {
		const dataplane = newDataplane()
		const startMs = performance.now()
		const settled = Array.from({ length: 4096 }, (_, i) => dataplane.setWorkload(workload(i)))
		expect(performance.now() - startMs).toBeLessThan(1500)
		for (let i = 0; i < 4096; i++) dataplane.removeWorkload(String(i))
		await Promise.all(settled)
		await dataplane.stop()
	})

	it('refuses documents that come while it stops or after: nobody waits for ever', async () => {
		const dataplane = newDataplane()
		const before = dataplane.applyPolicy(DOCUMENTS)
		await dataplane.stop()
		expect(await before).toBe('the agent is stopping')
		expect(await dataplane.applyPolicy(DOCUMENTS)).toBe('the agent is stopping')
	})

	it('a workload that goes before its rings are open is waited for no longer', async () => {
		const dataplane = newDataplane()
		const settled = [dataplane.setWorkload(workload(1)), dataplane.setWorkload(workload(1))]
		dataplane.removeWorkload('1')
		dataplane.removeWorkload('1')
		// Whoever waited for it is told at once, not when the time is up.
		const startMs = performance.now()
		await Promise.all(settled)
		expect(performance.now() - startMs).toBeLessThan(1000)
		await dataplane.stop()
	})
})

function newDataplane(): Dataplane {
	const options = { workers: 2, ringBlocks: 2, workerUrl: MUTE, engine: ENGINE }
	return new Dataplane(options, { events: () => undefined, notice: () => undefined })
}

function workload(index: number): TapWorkload {
	const mac = '02:00:00:00:00:01'
	const interfaces = [{ name: 'eth0', index: 2, mac }]
	return { id: String(index), namespace: `/run/netns/${index}`, interfaces }
}
