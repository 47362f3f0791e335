import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { openSandbox, type Sandbox } from '../harness/sandbox.ts'
import { benchReplay } from './replay.ts'
import { formatRow, type Row } from './report.ts'
import { benchRollout } from './rollout.ts'
import { benchTap } from './tap.ts'

const BENCHES: Readonly<Record<string, (sandbox: Sandbox) => Promise<Row[]>>> = {
	replay: benchReplay,
	tap: benchTap,
	rollout: benchRollout,
}

const { values } = parseArgs({
	options: { json: { type: 'string' }, only: { type: 'string' } },
})
const names = values.only?.split(',') ?? Object.keys(BENCHES)
const print = (text: string) => process.stdout.write(`${text}\n`)

print(`${cpus().length} x ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}`)
const rows: Row[] = []
for (const name of names) {
	const bench = BENCHES[name]
	if (!bench) throw new Error(`no bench ${name}; there are ${Object.keys(BENCHES).join(', ')}`)
	const sandbox = openSandbox()
	try {
		for (const row of await bench(sandbox)) {
			rows.push(row)
			print(formatRow(row))
		}
	} finally {
		await sandbox.close()
	}
}
if (values.json) writeFileSync(values.json, `${JSON.stringify(rows, undefined, '\t')}\n`)
