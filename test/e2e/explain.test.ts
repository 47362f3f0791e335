import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ROOT } from '../harness/sandbox.ts'

const POLICY = {
	policy: {
		settings: { kind: 'settings', newServiceMode: 'monitor', fleetNetworks: ['10.91.1.0/24'] },
		'group:servers': { kind: 'group', name: 'servers', mode: 'protect' },
		'rule:7': {
			...{ kind: 'rule', id: '7', order: 1, from: 'clients', to: 'servers' },
			...{ ports: ['tcp/80'], applications: ['http'], action: 'allow' },
		},
	},
	addresses: {
		'10.91.1.2/32': { network: '10.91.1.2/32', kind: 'workload', id: 's', groups: ['servers'] },
		'10.91.1.3/32': { network: '10.91.1.3/32', kind: 'workload', id: 'c', groups: ['clients'] },
	},
}

describe('ringfence-agent explain', () => {
	const directory = mkdtempSync(join(tmpdir(), 'ringfence-explain-'))
	const file = join(directory, 'policy.json')
	writeFileSync(file, JSON.stringify(POLICY))
	afterAll(() => rmSync(directory, { recursive: true, force: true }))

	const explain = (...args: string[]) => {
		const bin = join(ROOT, 'agent/bin/ringfence-agent.mjs')
		return spawnSync(process.execPath, [bin, 'explain', ...args], { encoding: 'utf8' })
	}
	const between = ['--policy', file, '--from', 'c', '--to', '10.91.1.2']

	test('names the ends, the verdict at both ports and the rule', () => {
		const { status, stdout, stderr } = explain(...between, '--port', 'tcp/80', '--app', 'http')
		expect([status, stderr]).toEqual([0, ''])
		expect(stdout).toContain('from  10.91.1.3  workload c, groups clients')
		expect(stdout).toContain("at the client's port (c, monitor): allow, rule 7")
		expect(stdout).toContain("at the server's port (s, protect): allow, rule 7")
	})

	test('shows what the application would make of it', () => {
		const { status, stdout } = explain(...between, '--port', 'tcp/80', '--json')
		expect(status).toBe(0)
		expect(JSON.parse(stdout)).toMatchObject({
			sides: [
				{ side: 'client', verdict: { action: 'pending' } },
				{
					outcomes: [
						{ application: 'http', verdict: { action: 'allow', rule: '7' } },
						{ application: null, verdict: { action: 'deny', why: 'no rule (protect)' } },
					],
				},
			],
		})
	})

	test('refuses what means nothing, and says why', () => {
		const { status, stdout, stderr } = explain(...between, '--port', 'http')
		expect([status, stdout]).toEqual([2, ''])
		expect(stderr).toBe('ringfence-agent: --port "http" is not like tcp/80, udp/53 or icmp/8\n')
		expect(explain('--policy', join(directory, 'none.json'), '--from', 'c').status).toBe(2)
	})
})
