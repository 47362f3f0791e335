/**
 * Bundles the programs. Packages of the registry stay outside; the workspace's own packages are TypeScript source and go in.
 * What a program imports lazily becomes a file of its own, so that `replay` loads neither MQTT nor the C library.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { buildConsole } from './console.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Each output folder with its programs: name of the output, source. */
const PROGRAMS = {
	'agent/dist': { main: 'agent/src/main.ts', worker: 'agent/src/dataplane/worker.ts' },
	'controller/dist': { node: 'controller/src/node.ts', cli: 'controller/src/cli/main.ts' },
	'test/dist': { bench: 'test/bench/main.ts' },
}

await buildConsole()
try {
	await Promise.all(Object.entries(PROGRAMS).map(([folder, sources]) => bundle(folder, sources)))
} catch (error) {
	// What esbuild found wrong with the sources it has printed itself.
	if (!error.errors) throw error
	process.exitCode = 1
}

async function bundle(folder, sources) {
	const entryPoints = {}
	for (const [name, source] of Object.entries(sources)) {
		if (existsSync(root + source)) entryPoints[name] = root + source
		else process.stdout.write(`build: ${source} does not exist, ${folder}/${name}.js is not made\n`)
	}
	if (Object.keys(entryPoints).length === 0) return
	const { metafile } = await build({
		entryPoints,
		outdir: root + folder,
		chunkNames: '[name]-[hash]',
		bundle: true,
		splitting: true,
		format: 'esm',
		platform: 'node',
		target: 'node20',
		sourcemap: true,
		packages: 'external',
		alias: { '@ringfence/shared': `${root}shared/src` },
		absWorkingDir: root,
		logLevel: 'warning',
		metafile: true,
	})
	removeStale(folder, Object.keys(metafile.outputs))
}

/** Pieces of earlier builds; the type checker's files in the same folder stay. */
function removeStale(folder, outputs) {
	for (const file of readdirSync(root + folder)) {
		const isOurs = file.endsWith('.js') || file.endsWith('.js.map')
		if (isOurs && !outputs.includes(`${folder}/${file}`)) rmSync(`${root}${folder}/${file}`)
	}
}
