/**
 * What `npm start` and `npm test` share: make a fresh machine ready. Plain Node, no packages: it runs before any is installed.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = new URL('..', import.meta.url).pathname

const NODE_MIN = [20, 19]

export const isRoot = process.getuid?.() === 0

/** Ends the process unless Node is new enough. */
export function requireNode() {
	const [major, minor] = process.versions.node.split('.').map(Number)
	if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return
	fail(`Node ${NODE_MIN.join('.')} or newer is needed; this is ${process.versions.node}.`)
}

/** Installs the npm packages of the lockfile, unless they are there already. */
export function ensurePackages() {
	const installed = join(ROOT, 'node_modules/.package-lock.json')
	const isFresh =
		existsSync(installed) &&
		statSync(installed).mtimeMs >= statSync(join(ROOT, 'package-lock.json')).mtimeMs
	if (isFresh) return
	say('Installing npm packages by package-lock.json ...')
	run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
}

/**
 * Installs Debian packages that are missing, naming them first; only as root and only where apt is.
 * @param {Record<string, string>} programs program that must be on the path -> Debian package that brings it
 * @returns {string[]} programs that are still missing
 */
export function ensurePrograms(programs, purpose) {
	const missing = Object.keys(programs).filter((program) => !hasProgram(program))
	if (missing.length === 0) return []
	const packages = [...new Set(missing.map((program) => programs[program]))].sort()
	if (!isRoot || !hasProgram('apt-get')) {
		say(
			`Missing for ${purpose}: Debian packages ${packages.join(' ')} (only root can install them).`,
		)
		return missing
	}
	say(`Installing Debian packages for ${purpose}: ${packages.join(' ')}`)
	installDebian(packages)
	return missing.filter((program) => !hasProgram(program))
}

/** Bundles agent, controller and bench. */
export function build() {
	run(process.execPath, [join(ROOT, 'infra/build.mjs')])
}

/** Whether a program can be found, in the administrator's folders too. */
export function hasProgram(name) {
	const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/local/sbin']
	return folders.some((folder) => folder !== '' && existsSync(join(folder, name)))
}

export function say(text) {
	process.stdout.write(`${text}\n`)
}

/** @returns {never} */
export function fail(text) {
	process.stderr.write(`${text}\n`)
	process.exit(1)
}

/** Runs a command in the project's root with its output shown; ends the process when it fails. */
export function run(command, args, env = {}) {
	const { status, error } = spawnSync(command, args, {
		cwd: ROOT,
		stdio: 'inherit',
		env: { ...process.env, ...env },
	})
	if (error) fail(`${command}: ${error.message}`)
	if (status !== 0) fail(`${command} ${args.join(' ')} ended with status ${status}.`)
}

function installDebian(packages) {
	const env = { DEBIAN_FRONTEND: 'noninteractive' }
	const release = holdServices()
	try {
		run('apt-get', ['update', '-qq'], env)
		run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], env)
	} finally {
		release()
	}
}

/** Keeps installed servers from being started on this machine: invoke-rc.d asks policy-rc.d (exit 101: forbidden). */
function holdServices() {
	const policy = '/usr/sbin/policy-rc.d'
	if (existsSync(policy)) return () => {}
	writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
	return () => rmSync(policy, { force: true })
}
