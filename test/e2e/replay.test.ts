import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ROOT } from '../harness/sandbox.ts'

const CAPTURE = join(ROOT, 'test/golden/five-protocols.pcap')
const HEAD = 'src,sport,dst,dport,proto,app,clientPackets,clientBytes,serverPackets,serverBytes,why'

/** Monitor for the server, which allows HTTP and DNS to the client's group. */
const POLICY = {
	policy: {
		settings: { kind: 'settings', newServiceMode: 'monitor', fleetNetworks: ['10.91.1.0/24'] },
		'rule:7': {
			kind: 'rule',
			id: '7',
			order: 1,
			from: 'clients',
			to: 'servers',
			ports: ['any'],
			applications: ['http', 'dns'],
			action: 'allow',
		},
	},
	addresses: {
		'10.91.1.2/32': { network: '10.91.1.2/32', kind: 'workload', id: 's', groups: ['servers'] },
		'10.91.1.3/32': { network: '10.91.1.3/32', kind: 'workload', id: 'c', groups: ['clients'] },
	},
}

describe('ringfence-agent replay', () => {
	const directory = mkdtempSync(join(tmpdir(), 'ringfence-replay-'))
	afterAll(() => rmSync(directory, { recursive: true, force: true }))

	const replay = (...args: string[]) => {
		const bin = join(ROOT, 'agent/bin/ringfence-agent.mjs')
		return spawnSync(process.execPath, [bin, 'replay', ...args], { encoding: 'utf8' })
	}

	test('writes a row a session, client first', () => {
		const { status, stdout, stderr } = replay(CAPTURE, '--csv')
		const [head, ...rows] = stdout.trim().split('\n')
		expect(status).toBe(0)
		expect(head).toBe(HEAD)
		expect(rows).toHaveLength(26)
		expect(rows).toContain('10.91.1.3,49448,10.91.1.2,443,tcp,tls,8,1286,7,1407,fin')
		expect(rows).toContain('fd91:1::3,38944,fd91:1::2,22,tcp,ssh,10,3157,7,2987,fin')
		expect(stderr).toContain('128 packets')
	})

	test('writes an object a line, and the totals last', () => {
		const lines = replay(CAPTURE, '--json').stdout.trim().split('\n')
		const objects = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
		expect(objects).toHaveLength(27)
		expect(objects.filter(({ app }) => app === 'redis')).toHaveLength(2)
		expect(JSON.stringify(objects.at(-1))).toContain('128')
	})

	test('judges by a policy, and names the rule', () => {
		const file = join(directory, 'policy.json')
		writeFileSync(file, JSON.stringify(POLICY))
		const { stdout } = replay(CAPTURE, '--csv', '--policy', file)
		const whyOf = (app: string) =>
			stdout
				.split('\n')
				.filter((row) => row.startsWith('10.91.1.3,') && row.includes(`,${app},`))
				.map((row) => row.split(',').at(-1))
		expect(whyOf('http')).toEqual(['rule 7'])
		expect(whyOf('dns')).toEqual(['rule 7'])
		expect(whyOf('redis')).toEqual(['no rule (monitor)'])
		expect(whyOf('tls')).toEqual(['no rule (monitor)'])
	})

	test('refuses a policy that does not parse, and a capture that is none', () => {
		const file = join(directory, 'broken.json')
		writeFileSync(file, JSON.stringify({ ...POLICY, extra: {} }))
		const refused = replay(CAPTURE, '--policy', file)
		expect(refused.status).not.toBe(0)
		expect(refused.stderr).toContain('extra')
		const none = replay(join(ROOT, 'README.md'), CAPTURE, '--csv')
		expect(none.status).toBe(1)
		expect(none.stderr).toContain('README.md')
		expect(none.stdout.trim().split('\n')).toHaveLength(27)
	})
})
