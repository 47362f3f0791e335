#!/usr/bin/env node
import { existsSync } from 'node:fs'

const program = new URL('../dist/main.js', import.meta.url)
if (!existsSync(program)) {
	process.stderr.write(
		'ringfence-agent is not built: run `npm run build` in the root of the repository\n',
	)
	process.exit(1)
}
await import(program)
