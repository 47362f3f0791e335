import type { Context } from 'hono'
import { ASSETS } from '../console/assets.gen.ts'
import type { Api } from './api.ts'
import { ProblemError } from './problem.ts'

/** The web console: one page and its files, part of the program. */
export function addConsole(app: Api): void {
	app.get('/', (c) => answerAsset(c, '/'))
	app.get('/assets/:name', (c) => answerAsset(c, `/assets/${c.req.param('name')}`))
}

function answerAsset(c: Context, path: string): Response {
	const asset = Object.hasOwn(ASSETS, path) ? ASSETS[path] : undefined
	if (!asset) throw new ProblemError(404, 'not-found', 'The console has no such file.')
	return c.body(asset.text, 200, {
		'content-type': asset.type,
		etag: asset.etag,
		// Asked for each time, answered by 304: a new version shows at once.
		'cache-control': 'no-cache',
	})
}
