import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { CommanderError } from 'commander'
import { CliError, EXIT } from './client.ts'
import { escapeText } from './output.ts'
import { createProgram, type Shell } from './program.ts'

const shell: Shell = {
	env: process.env,
	write: (text) => void process.stdout.write(text),
	warn: (line) => void process.stderr.write(`ringfence: ${escapeText(line)}\n`),
	askSecret,
}

/** A pager that was closed is no error. */
process.stdout.on('error', () => process.exit(0))

try {
	await createProgram(shell).parseAsync()
} catch (error) {
	process.exitCode = report(error)
}

function report(error: unknown): number {
	// Commander has said it already.
	if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage
	const message = error instanceof Error ? error.message : String(error)
	process.stderr.write(`ringfence: ${escapeText(message, '\n')}\n`)
	return error instanceof CliError ? error.exitCode : EXIT.failed
}

/** From a terminal without echo; from a pipe its first line. */
async function askSecret(question: string): Promise<string> {
	const isTerminal = process.stdin.isTTY
	if (isTerminal) process.stderr.write(question)
	const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
	const lines = createInterface({ input: process.stdin, output: silent, terminal: isTerminal })
	try {
		return await lines.question('')
	} finally {
		lines.close()
		if (isTerminal) process.stderr.write('\n')
	}
}
