import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError } from '../config.ts'
import { NO_POLICY } from '../policy/compile.ts'
import { endsNamed } from '../policy/explain.ts'
import { type ExplainOptions, explain, explainQuestion, report } from './explain.ts'
import { readPolicyFile } from './replay-policy.ts'

const rule = (id: string, order: number, more: object = {}) => ({
	...{ kind: 'rule', id, order, from: 'rf.web.shop', to: 'rf.db.shop' },
	...{ ports: ['any'], applications: ['any'], action: 'allow', ...more },
})

/** Web in monitor, its database in protect. */
const POLICY = {
	policy: {
		settings: { kind: 'settings', newServiceMode: 'discover', fleetNetworks: ['10.0.0.0/24'] },
		'group:rf.web.shop': { kind: 'group', name: 'rf.web.shop', mode: 'monitor' },
		'group:rf.db.shop': { kind: 'group', name: 'rf.db.shop', mode: 'protect' },
		'rule:1': rule('1', 1, { from: 'nodes' }),
		'rule:2': rule('2', 2, { to: 'external' }),
		'rule:3': rule('3', 3, { ports: ['tcp/80'], action: 'deny' }),
		'rule:4': rule('4', 4, { applications: ['redis', 'ssh'] }),
		'rule:5': rule('5', 5, { ports: ['tcp/5432'] }),
		'rule:6': rule('6', 6, { from: 'nodes', to: 'external' }),
	},
	addresses: {
		'10.0.0.1/32': entry('10.0.0.1/32', 'web', ['rf.web.shop', 'containers']),
		'fd00::1/128': entry('fd00::1/128', 'web', ['rf.web.shop', 'containers']),
		'10.0.0.2/32': entry('10.0.0.2/32', 'db', ['rf.db.shop', 'containers']),
		'fd00::2/128': entry('fd00::2/128', 'db', ['rf.db.shop', 'containers']),
		'10.0.0.7/32': entry('10.0.0.7/32', 'v4only', ['containers']),
		'fd00::8/128': entry('fd00::8/128', 'v6only', ['containers']),
	},
}

const directory = mkdtempSync(join(tmpdir(), 'ringfence-explain-'))
const file = join(directory, 'policy.json')
beforeAll(() => writeFileSync(file, JSON.stringify(POLICY)))
afterAll(() => rmSync(directory, { recursive: true }))

describe('the verdict', () => {
	test('each workload obeys its own mode, by the same rules', () => {
		const { sides } = json({ port: 'tcp/80' })
		expect(sides).toMatchObject([
			{
				...{ side: 'client', workload: 'web', mode: 'monitor' },
				verdict: { action: 'violate', rule: '3', why: 'deny rule 3 (monitor)' },
			},
			{
				...{ side: 'server', workload: 'db', mode: 'protect' },
				verdict: { action: 'deny', rule: '3', why: 'deny rule 3 (protect)' },
			},
		])
	})

	test('an application that has no name yet shows what each name would give', () => {
		const [, server] = json({ port: 'tcp/6379' }).sides
		expect(server).toMatchObject({
			verdict: { action: 'pending', rule: null },
			outcomes: [
				{ application: 'ssh', verdict: { action: 'allow', rule: '4' } },
				{ application: 'redis', verdict: { action: 'allow', rule: '4' } },
				{ application: null, verdict: { action: 'deny', rule: null } },
			],
		})
		expect(json({ port: 'tcp/6379', application: 'redis' }).sides[1]).toMatchObject({
			verdict: { action: 'allow', rule: '4' },
			outcomes: [],
		})
		expect(json({ port: 'tcp/6379', application: 'unknown' }).sides[1]).toMatchObject({
			verdict: { action: 'deny', rule: null, why: 'no rule (protect)' },
		})
	})

	test('ICMP is of the family of the addresses, and has no application', () => {
		expect(json({ port: 'icmp/8' })).toMatchObject({ protocol: 1, port: 8 })
		const v6 = json({ from: 'fd00::1', port: 'icmp/128' })
		expect(v6).toMatchObject({ protocol: 58, to: { address: 'fd00::2' } })
		expect(v6.sides[0]?.verdict).toMatchObject({ action: 'violate', rule: null })
	})

	test('no agent decides at an address outside', () => {
		const { from, sides } = json({ from: '192.0.2.9', port: 'tcp/5432' })
		expect(from).toEqual({ address: '192.0.2.9', workload: null, groups: ['external'] })
		expect(sides).toMatchObject([{ side: 'server', verdict: { action: 'deny', rule: null } }])
	})

	test('an address inside the fleet that the map does not name is in no group', () => {
		const { to, sides } = json({ to: '10.0.0.99', port: 'tcp/5432' })
		expect(to).toEqual({ address: '10.0.0.99', workload: null, groups: [] })
		expect(sides).toMatchObject([{ side: 'client', verdict: { why: 'peer not yet known' } }])
	})
})

describe('the path', () => {
	test('says of each rule why it does not match, and ends at the one that decides', () => {
		expect(json({ port: 'tcp/5432', application: 'http' }).sides[0]).toMatchObject({
			verdict: { action: 'allow', rule: '5' },
			path: [
				{ rule: '1', result: 'from' },
				{ rule: '2', result: 'to' },
				{ rule: '3', result: 'port' },
				{ rule: '4', result: 'application' },
				{ rule: '5', result: 'decides' },
			],
			unrelated: 0,
			unread: 1,
		})
	})

	test('goes on behind a rule that waits for the application, which may come to the same', () => {
		expect(json({ port: 'tcp/5432' }).sides[0]).toMatchObject({
			verdict: { action: 'allow', rule: '5' },
			path: [{}, {}, {}, { rule: '4', result: 'waits' }, { rule: '5', result: 'decides' }],
			outcomes: [],
		})
	})

	test('is written for people, without what a terminal would obey', () => {
		const text = run({ port: 'tcp/6379' }).written
		expect(text).toContain('from  10.0.0.1  workload web, groups rf.web.shop, containers\n')
		expect(text).toContain("at the server's port (db, protect): pending, application not yet known")
		expect(text).toContain('  rule 3  rf.web.shop -> rf.db.shop  tcp/80  any  no: port\n')
		expect(text).toContain(
			'  1 rules between other groups\n  no rule left: deny, no rule (protect)',
		)
		expect(text).toMatch(/as redis +allow, rule 4\n {2}as any other +deny, no rule \(protect\)/)
		const hostile = join(directory, 'hostile.json')
		const named = entry('10.0.0.1/32', 'web', ['rf\u001b[2J'])
		writeFileSync(
			hostile,
			JSON.stringify({ ...POLICY, addresses: { ...POLICY.addresses, '10.0.0.1/32': named } }),
		)
		const escaped = run({ policyFile: hostile, port: 'tcp/80' }).written
		expect(escaped).toContain('rf\\x1b[2J')
		expect(escaped).not.toContain('\u001b')
	})
})

describe('a bug in the look-up', () => {
	test('is told with both answers, and fails the command', () => {
		const { documents } = readPolicyFile(file)
		const [client] = endsNamed(documents, 'web')
		const [server] = endsNamed(documents, 'db')
		if (!client || !server) throw new Error('not in the map')
		const question = { client, server, protocol: 6, port: 80, application: undefined }
		const explained = explainQuestion({ documents, compiled: NO_POLICY }, question)
		let said = ''
		const code = report(explained, {
			isJson: true,
			write: () => {},
			say: (text) => {
				said += text
			},
		})
		expect(code).toBe(1)
		expect(said).toContain('"why":"no policy yet"} by look-up')
		expect(said).toContain('"why":"deny rule 3 (protect)"} by scan')
	})
})

describe('words that mean nothing', () => {
	test.each<[string, Partial<ExplainOptions>]>([
		['explain needs --policy', { policyFile: undefined }],
		['explain needs --from', { from: undefined }],
		['explain needs --to', { to: undefined }],
		['explain needs --port', { port: undefined }],
		['"webb" is neither an address nor a workload', { from: 'webb' }],
		['not like tcp/80', { port: 'tcp/65536' }],
		['not like tcp/80', { port: 'icmp/256' }],
		['not like tcp/80', { port: 'sctp/5' }],
		['not like tcp/80', { port: 'tcp' }],
		['none of http, ', { application: 'gopher' }],
		['no agent decides', { from: '192.0.2.1', to: '192.0.2.2' }],
		['no two addresses of one family: 10.0.0.7, fd00::8', { from: 'v4only', to: 'v6only' }],
		['no such file', { policyFile: join(directory, 'none.json') }],
	])('%s', (why, options) => {
		expect(() => run(options)).toThrow(ConfigError)
		expect(() => run(options)).toThrow(why)
	})
})

function entry(network: string, id: string, groups: string[]) {
	return { network, kind: 'workload', id, groups }
}

interface Run {
	readonly code: number
	readonly written: string
}

/** From web to its database's tcp/6379, unless told otherwise. */
function run(options: Partial<ExplainOptions>): Run {
	let written = ''
	const code = explain({
		policyFile: file,
		from: 'web',
		to: 'db',
		port: 'tcp/6379',
		application: undefined,
		isJson: false,
		write: (text) => {
			written += text
		},
		say: (text) => {
			throw new Error(text)
		},
		...options,
	})
	return { code, written }
}

interface Json {
	readonly from: object
	readonly to: object
	readonly sides: { readonly verdict: object }[]
}

function json(options: Partial<ExplainOptions>): Json {
	const { code, written } = run({ ...options, isJson: true })
	expect(code).toBe(0)
	return JSON.parse(written) as Json
}
