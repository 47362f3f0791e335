/**
 * `npm test`: makes the machine ready, then runs the gate (`npm run check`) and the system tests, and says how many tests
 * passed, failed and were skipped. Without root the tests that need the kernel are skipped by name, with the reason.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build, ensurePackages, ensurePrograms, isRoot, ROOT, requireNode, say } from './setup.mjs'

/** Real servers and tools that the tests talk to. */
const TEST_PROGRAMS = {
	ip: 'iproute2',
	nsenter: 'util-linux',
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
			env: { ...process.env, RINGFENCE_TEST_MISSING: missing.join(' ') },
		},
	)
	const json = readJson(output)
	const skipped = (json?.testResults ?? [])
		.flatMap((file) => file.assertionResults)
		.filter((test) => test.status === 'pending' || test.status === 'skipped')
		.map((test) => test.fullName)
	return {
		project,
		ok: status === 0 && json !== undefined,
		passed: json?.numPassedTests ?? 0,
		failed: (json?.numFailedTests ?? 0) + (json ? 0 : 1),
		skipped,
	}
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
	for (const { step, ok } of gate) if (!ok) say(`failed: npm run ${step}`)
	const skipped = suites.flatMap((suite) => suite.skipped)
	for (const name of skipped) say(`skipped: ${name}`)
	if (skipped.length > 0 && !isRoot)
		say('Tests that make network namespaces or capture packets need root.')
	const sum = (pick) => suites.reduce((total, suite) => total + pick(suite), 0)
	const failed = sum((suite) => suite.failed) + gate.filter(({ ok }) => !ok).length
	say(`${sum((suite) => suite.passed)} passed, ${failed} failed, ${skipped.length} skipped`)
	process.exit(failed === 0 && suites.every((suite) => suite.ok) ? 0 : 1)
}
