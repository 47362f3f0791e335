/**
 * `npm test`: makes the machine ready, then runs the gate (`npm run check`) and the system tests, and says how many tests
 * passed, failed and were skipped. Without root the tests that need the kernel are skipped by name, with the reason.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { build, ensurePackages, ensurePrograms, isRoot, ROOT, requireNode, say } from './setup.mjs'

/** Real servers and tools that the tests talk to. */
const TEST_PROGRAMS = {
	ip: 'iproute2',
	nsenter: 'util-linux',
	sysctl: 'procps',
	tcpdump: 'tcpdump',
	nginx: 'nginx-light',
	'redis-server': 'redis-server',
	'redis-cli': 'redis-tools',
	dnsmasq: 'dnsmasq-base',
	dig: 'bind9-dnsutils',
	sshd: 'openssh-server',
	'ssh-keyscan': 'openssh-client',
	openssl: 'openssl',
	curl: 'curl',
	mosquitto: 'mosquitto',
	mosquitto_pub: 'mosquitto-clients',
	chromium: 'chromium',
	git: 'git',
}

/** Lets git read a checkout that belongs to another user than the one who tests, as in containers (git-config(1), safe.directory). */
const GIT_MAY_READ = {
	GIT_CONFIG_COUNT: '1',
	GIT_CONFIG_KEY_0: 'safe.directory',
	GIT_CONFIG_VALUE_0: resolve(ROOT),
}

requireNode()
ensurePackages()
const missing = ensurePrograms(TEST_PROGRAMS, 'the tests')
build()

const results = mkdtempSync(join(tmpdir(), 'ringfence-test-'))
const gate = ['lint', 'types', 'layers', 'unused', 'worker'].map((step) => ({
	step,
	ok: npmRun(step),
}))
const suites = ['unit', 'system'].map((project) => runProject(project))
rmSync(results, { recursive: true, force: true })
report()

function npmRun(step) {
	say(`\n--- ${step}`)
	return spawnSync('npm', ['run', '--silent', step], { cwd: ROOT, stdio: 'inherit' }).status === 0
}

/** Runs one vitest project; its tests read RINGFENCE_TEST_MISSING to skip by name what this machine cannot run. */
function runProject(project) {
	say(`\n--- ${project} tests`)
	const output = join(results, `${project}.json`)
	const { status } = spawnSync(
		'npx',
		[
			'vitest',
			'run',
			'--project',
			project,
			'--reporter=default',
			'--reporter=json',
			`--outputFile.json=${output}`,
		],
		{
			cwd: ROOT,
			stdio: 'inherit',
			env: { ...process.env, ...GIT_MAY_READ, RINGFENCE_TEST_MISSING: missing.join(' ') },
		},
	)
	const json = readJson(output)
	const files = json?.testResults ?? []
	const named = (...statuses) =>
		files
			.flatMap((file) => file.assertionResults)
			.filter((test) => statuses.includes(test.status))
			.map((test) => test.fullName)
	return {
		project,
		ok: status === 0 && json !== undefined,
		passed: json?.numPassedTests ?? 0,
		failed: [
			...named('failed'),
			...files.filter(failedAsWhole).map((file) => relative(ROOT, file.name)),
			...(json ? [] : [`${project} tests, which left no report`]),
		],
		skipped: named('pending', 'skipped'),
	}
}

/** A file that could not be loaded or prepared: it failed, and none of its tests did. */
function failedAsWhole(file) {
	return (
		file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed')
	)
}

function readJson(file) {
	try {
		return JSON.parse(readFileSync(file, 'utf8'))
	} catch {
		return undefined
	}
}

function report() {
	say('')
	const skipped = suites.flatMap((suite) => suite.skipped)
	for (const name of skipped) say(`skipped: ${name}`)
	const failed = suites.flatMap((suite) => suite.failed)
	for (const { step, ok } of gate) if (!ok) failed.push(`npm run ${step}`)
	for (const name of failed) say(`failed: ${name}`)
	if (skipped.length > 0 && !isRoot)
		say('Tests that make network namespaces or capture packets need root.')
	const passed = suites.reduce((total, suite) => total + suite.passed, 0)
	say(`${passed} passed, ${failed.length} failed, ${skipped.length} skipped`)
	process.exit(failed.length === 0 && suites.every((suite) => suite.ok) ? 0 : 1)
}
