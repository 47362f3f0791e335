import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openCaptureFile } from '../../agent/src/capture/pcap-file.ts'
import { createEngine } from '../../agent/src/engine/create-engine.ts'
import type { EngineEvent } from '../../agent/src/engine/engine.ts'
import { ROOT } from '../harness/sandbox.ts'

const FOLDER = join(ROOT, 'test/golden')
const captures = readdirSync(FOLDER).filter((name) => name.endsWith('.pcap'))

test('there are captures', () => {
	expect(captures.length).toBeGreaterThan(0)
})

test.each(captures)('%s gives the recorded verdicts and events', async (name) => {
	const { text } = inspectAll(join(FOLDER, name))
	await expect(text).toMatchFileSnapshot(join(FOLDER, name.replace('.pcap', '.golden')))
})

test.each(captures)('%s gives the same twice', (name) => {
	const path = join(FOLDER, name)
	expect(inspectAll(path)).toEqual(inspectAll(path))
})

/** Runs one capture through an engine of its own. */
function inspectAll(path: string): { text: string } {
	const source = openCaptureFile(path, 0)
	const engine = createEngine({
		sessionsMax: 1024,
		hasSessionEvents: true,
		hasConversationEvents: false,
		reportIntervalUs: 1_000_000,
	})
	engine.openPort({ id: 0, workload: undefined, mac: undefined })
	const verdicts = new Map<string, number>()
	while (source.next()) {
		const { action, why } = engine.inspect(source.frame, source.timeUs)
		verdicts.set(`${action}: ${why}`, (verdicts.get(`${action}: ${why}`) ?? 0) + 1)
	}
	engine.flush(source.timeUs, true)
	source.close()
	const counted = Object.entries(engine.counters()).filter(([, value]) => value > 0)
	const lines = [
		...[...verdicts].map(([verdict, count]) => `verdict ${count} ${verdict}`),
		...counted.map(([counter, value]) => `counter ${counter} ${value}`),
		...engine.takeEvents().map(lineOf),
	]
	return { text: `${lines.join('\n')}\n` }
}

function lineOf(event: EngineEvent): string {
	if (event.kind !== 'session') return JSON.stringify(event)
	const { clientAddress, clientPort, serverAddress, serverPort, protocol } = event
	return [
		`session ${clientAddress} ${clientPort} > ${serverAddress} ${serverPort} protocol ${protocol}:`,
		`${event.application ?? 'unknown'} ${event.host ?? '-'} ${event.detail ?? '-'}`,
		`${event.clientPackets}/${event.clientBytes} ${event.serverPackets}/${event.serverBytes}`,
		`${event.end}`,
	].join(' ')
}
