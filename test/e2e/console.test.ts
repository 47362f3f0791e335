import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAgent } from '../harness/agent.ts'
import { type Controller, passwordIn, startController } from '../harness/controller.ts'
import { describeKernel } from '../harness/requirements.ts'
import { type Host, openSandbox, ROOT } from '../harness/sandbox.ts'
import { startServers } from '../harness/servers.ts'
import { waitFor } from '../harness/wait.ts'

const PROGRAMS = ['chromium', 'nginx', 'redis-server', 'dnsmasq', 'sshd', 'openssl', 'curl']
const CHROMIUM_FLAGS = [
	'--no-sandbox',
	'--disable-gpu',
	'--disable-quic',
	'--disable-background-networking',
	'--disable-component-update',
	'--disable-sync',
	'--no-first-run',
]
/** A name that would run if it were ever taken for markup. */
const HOSTILE_SERVICE = '<img/src=x/onerror=document.title="owned">'

describeKernel('console and command line', PROGRAMS, () => {
	const sandbox = openSandbox()
	const bridge = { name: 'br', v4: '10.92.4', v6: 'fd92:4' }
	let controller: Controller
	let browser: Browser
	let page: Page
	let password: string
	const complaints: string[] = []

	beforeAll(async () => {
		sandbox.bridge(bridge)
		const server: Host = sandbox.attach({ name: 'shop', bridge, host: 2 })
		const client: Host = sandbox.attach({ name: 'till', bridge, host: 3 })
		sandbox.label(server.namespace, { service: 'shop', domain: 'test' })
		sandbox.label(client.namespace, { service: HOSTILE_SERVICE, domain: 'test' })
		await startServers(sandbox, server)
		controller = await startController(sandbox)
		password = passwordIn(controller.program().output()) ?? ''
		startAgent(sandbox, { controller, name: 'console' })
		await waitFor('both workloads', async () => {
			return (await controller.api.list('workloads')).length === 2
		})
		sandbox.call(['curl', '-sS', `http://${server.v4}/`], { namespace: client.namespace })
		await waitFor('the rule', async () => (await controller.api.list('rules')).length === 1)
		browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: CHROMIUM_FLAGS })
		page = await browser.newPage()
		page.on('console', (message) => {
			if (message.type() === 'error') complaints.push(message.text())
		})
		page.on('pageerror', (error) => complaints.push(error.message))
	})
	const open = (name: string) =>
		page.getByRole('navigation').getByRole('link', { name, exact: false }).click()

	afterAll(async () => {
		await browser?.close()
		await sandbox.close()
	})

	test('signs in and shows workloads, conversation and learned rule', async () => {
		await page.goto(controller.url)
		await page.getByLabel('Name').fill('admin')
		await page.getByLabel('Password').fill(password)
		await page.getByRole('button', { name: 'Sign in' }).click()
		await page.getByRole('navigation').waitFor()
		// Before the sign-in the browser notes that it was asked to sign in.
		complaints.length = 0
		const expected = {
			workloads: [`${sandbox.prefix}-shop`, `${sandbox.prefix}-till`],
			conversations: [`${sandbox.prefix}-shop`, 'http'],
			rules: ['rf.shop.test', 'http', 'allow'],
		}
		for (const [name, texts] of Object.entries(expected)) {
			await open(name)
			await waitFor(`${name} to show ${texts}`, async () => {
				const shown = await page.locator('main').textContent()
				return texts.every((text) => shown?.includes(text))
			})
		}
	})

	test('shows a hostile name as text, and the page’s policy is never broken', async () => {
		await open('groups')
		await waitFor('the name', async () => {
			return (await page.locator('main').textContent())?.includes('<img_src=x') ?? false
		})
		expect(await page.locator('main img').count()).toBe(0)
		expect(await page.title()).not.toBe('owned')
		expect(complaints).toEqual([])
	})

	test('switches a group’s mode', async () => {
		const row = page
			.getByRole('row', { name: /rf\.shop\.test/ })
			.filter({ has: page.locator('select') })
		await row.locator('select').first().selectOption('monitor')
		await waitFor('the mode', async () => {
			const groups = await controller.api.list('groups')
			return groups.some(({ name, mode }) => name === 'rf.shop.test' && mode === 'monitor')
		})
	})

	test('the command line signs in, lists and changes', async () => {
		const ringfence = (...args: string[]) =>
			execFileSync(process.execPath, [join(ROOT, 'controller/bin/ringfence.mjs'), ...args], {
				encoding: 'utf8',
				input: `${password}\n`,
				env: { ...process.env, HOME: sandbox.directory, XDG_CONFIG_HOME: sandbox.directory },
			})
		ringfence('--url', controller.url, 'sign-in', 'admin')
		expect(ringfence('get', 'workloads')).toContain(`${sandbox.prefix}-shop`)
		expect(ringfence('get', 'rules')).toContain('rf.shop.test')
		const rules = JSON.parse(ringfence('get', 'rules', '-o', 'json')) as unknown
		expect(JSON.stringify(rules)).toContain('"isLearned":true')
		ringfence('group', 'mode', 'rf.shop.test', 'discover')
		const groups = await controller.api.list('groups')
		expect(groups.find(({ name }) => name === 'rf.shop.test')?.mode).toBe('discover')
	})
})
