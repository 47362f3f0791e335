import {
	accessSync,
	chmodSync,
	constants,
	existsSync,
	mkdirSync,
	renameSync,
	writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { StartError } from './start-error.ts'

/** Makes a directory that only we can look into. */
export function makePrivateDirectory(directory: string): void {
	try {
		makeDirectory(directory)
		chmodSync(directory, 0o700)
		accessSync(directory, constants.W_OK | constants.X_OK)
	} catch (error) {
		const why = (error as Error).message
		throw new StartError(`the data directory ${directory} cannot be used: ${why}`, { cause: error })
	}
}

/** Writes a file that only we can read; whoever reads it meanwhile sees the old text or the new. */
export function writePrivateFile(file: string, text: string): void {
	try {
		makeDirectory(dirname(file))
		const temporary = `${file}.${process.pid}.new`
		writeFileSync(temporary, text, { mode: 0o600 })
		renameSync(temporary, file)
	} catch (error) {
		throw new StartError(`${file} cannot be written: ${(error as Error).message}`, { cause: error })
	}
}

/** Level by level: `recursive` never returns where the system says that a parent isn't there though it is, as in `/proc`. */
function makeDirectory(directory: string): void {
	if (existsSync(directory)) return
	makeDirectory(dirname(directory))
	mkdirSync(directory, { mode: 0o700 })
}
