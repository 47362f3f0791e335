/**
 * Bundles the web console's page and writes it as a module of strings, so that it is part of the controller's program on
 * every host: Node, workerd and tests import the same file.
 */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const folder = fileURLToPath(new URL('../controller/src/console/', import.meta.url))

/** Files of the page: path, media type, and where the text comes from. */
const ASSETS = [
	['/', 'text/html; charset=utf-8', () => readText('page/index.html')],
	['/assets/style.css', 'text/css; charset=utf-8', () => readText('page/style.css')],
	['/assets/icon.svg', 'image/svg+xml', () => readText('page/icon.svg')],
	['/assets/console.js', 'text/javascript; charset=utf-8', bundlePage],
]

/** Writes `controller/src/console/assets.gen.ts`; leaves it alone when nothing has changed. */
export async function buildConsole() {
	const rows = await Promise.all(
		ASSETS.map(async ([path, type, read]) => row(path, type, await read())),
	)
	const text = [
		'/** Made by `infra/console.mjs` from `page/`. */',
		'export const ASSETS: Readonly<Record<string, { type: string; etag: string; text: string }>> = {',
		...rows,
		'}',
		'',
	].join('\n')
	const file = `${folder}assets.gen.ts`
	if (readOld(file) !== text) writeFileSync(file, text)
}

function row(path, type, text) {
	const etag = `"${createHash('sha256').update(text).digest('hex').slice(0, 16)}"`
	return `\t${JSON.stringify(path)}: ${JSON.stringify({ type, etag, text })},`
}

async function bundlePage() {
	const { outputFiles } = await build({
		entryPoints: [`${folder}page/main.ts`],
		bundle: true,
		minify: true,
		format: 'esm',
		target: ['chrome123', 'firefox120', 'safari17.5'],
		write: false,
		logLevel: 'warning',
	})
	return outputFiles[0].text
}

function readText(path) {
	return readFileSync(folder + path, 'utf8')
}

function readOld(file) {
	try {
		return readFileSync(file, 'utf8')
	} catch {
		return undefined
	}
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildConsole()
