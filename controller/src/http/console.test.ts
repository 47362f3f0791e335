import { expect, test } from 'vitest'
import { openTestApp } from './test-app.ts'

test('the page and all it names are served, by their own types', async () => {
	const { app } = await openTestApp()
	const page = await app.request('/')
	expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
	const html = await page.text()
	const paths = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path ?? '')
	expect(paths.length).toBe(3)
	for (const path of paths) {
		const { status, headers } = await app.request(path)
		expect([path, status]).toEqual([path, 200])
		expect(headers.get('content-type')).toMatch(/javascript|css|svg/)
	}
})

test('nothing in the page needs more than its policy allows', async () => {
	const { app } = await openTestApp()
	const html = await (await app.request('/')).text()
	expect(html).not.toMatch(/<style|style=|\son\w+=|<script(?![^>]*\bsrc=)/)
	const script = await (await app.request('/assets/console.js')).text()
	expect(script).not.toMatch(
		/innerHTML|outerHTML|insertAdjacentHTML|\beval\b|new Function|document\.write/,
	)
})

test.each(['/assets/none', '/assets/__proto__', '/assets/..%2fapp.ts', '/assets/constructor'])(
	'%s is not there',
	async (path) => {
		const { call } = await openTestApp()
		expect((await call(`GET ${path}`)).status).toBe(404)
	},
)
