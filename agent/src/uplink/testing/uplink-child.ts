import { setTimeout as delay } from 'node:timers/promises'
import { openUplink } from '../uplink.ts'
import { conversation, recordingHandlers } from './samples.ts'

/*
 * A process that sends numbered records until it is killed. Arguments: state directory, URL and token of the controller,
 * first number, milliseconds after which a record must be safe. Writes the number of each record that must be.
 */

const SEND_EVERY_MS = 3

const [stateDir = '', controllerUrl, token, first = '1', safeAfterMs = '250'] =
	process.argv.slice(2)

async function main(): Promise<void> {
	const config = { stateDir, controllerUrl, token, name: 'child' }
	const uplink = await openUplink(config, recordingHandlers())
	process.stdout.write(`node ${uplink.node}\n`)
	for (let number = Number(first); ; number++) {
		uplink.send([conversation(number)])
		setTimeout(() => process.stdout.write(`${number}\n`), Number(safeAfterMs))
		await delay(SEND_EVERY_MS)
	}
}

main().catch((error: unknown) => {
	process.stderr.write(`${String(error)}\n`)
	process.exitCode = 1
})
