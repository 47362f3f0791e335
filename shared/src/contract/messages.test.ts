import { describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { enrolRequestSchema, enrolResponseSchema } from './enrol.ts'
import {
	commandResultSchema,
	commandSchema,
	controllerStateSchema,
	documentStatusSchema,
	headSchema,
	helloSchema,
	presenceSchema,
	signedHeadSchema,
	telemetryAckSchema,
	workloadsReportSchema,
} from './messages.ts'
import { addressesShardSchema, documentVersionSchema, policyShardSchema } from './policy.ts'
import { telemetryBatchSchema } from './telemetry.ts'
import { CONTRACT_VERSION } from './version.ts'

const v = CONTRACT_VERSION
const SHA256 = 'ab'.repeat(32)
const INTERFACE = {
	name: 'eth0',
	mac: '02:42:ac:11:00:02',
	addresses: ['10.0.0.5/24', 'fd00::5/64'],
}
const ENDS = {
	workload: 'w1',
	side: 'client',
	peerAddress: '2001:db8::1',
	peerWorkload: 'w2',
	protocol: 6,
	serverPort: 6379,
	application: 'redis',
	rule: 'r1',
	why: 'rule r1',
	host: 'cache.example',
}

/** Everything that crosses the wire: schema, whole example, keys that may be absent. */
const EXAMPLES: readonly [string, z.ZodType, object, readonly string[]][] = [
	['presence', presenceSchema, { v, boot: 'b1', isUp: true, at: 1 }, []],
	['controller state', controllerStateSchema, { v, boot: 'b1', isUp: false, at: 1 }, []],
	[
		'hello',
		helloSchema,
		{
			v,
			boot: 'b1',
			startedAt: 1,
			facts: {
				hostname: 'host',
				os: 'Debian 12',
				kernel: '6.18',
				arch: 'x64',
				agentVersion: '0.1.0',
				interfaces: [INTERFACE],
				canCapture: false,
				captureWhy: 'not root',
			},
			applied: [{ document: 'policy', epoch: 1, generation: 2 }],
		},
		['captureWhy'],
	],
	[
		'workloads report',
		workloadsReportSchema,
		{
			v,
			boot: 'b1',
			revision: 3,
			at: 1,
			workloads: [
				{
					id: 'w1',
					name: 'web',
					runtime: 'netns',
					service: 'web',
					domain: 'shop',
					image: 'nginx:1',
					labels: { tier: 'front' },
					interfaces: [INTERFACE],
					startedAt: 1,
				},
			],
		},
		['image', 'tier'],
	],
	[
		'telemetry acknowledgement',
		telemetryAckSchema,
		{ v, boot: 'b1', seq: 7, rejected: { seq: 7, why: 'no' } },
		['rejected'],
	],
	[
		'head',
		headSchema,
		{
			v,
			cluster: 'c1',
			node: 'n1',
			document: 'addresses',
			epoch: 1,
			generation: 2,
			at: 1,
			shards: [SHA256],
		},
		[],
	],
	['signed head', signedHeadSchema, { v, body: '{}', signature: 'c2ln', keyId: 'k1' }, []],
	[
		'document status',
		documentStatusSchema,
		{
			v,
			boot: 'b1',
			document: 'policy',
			epoch: 1,
			generation: 2,
			state: 'rejected',
			why: 'no settings',
			at: 1,
		},
		['why'],
	],
	['resync', commandSchema, { v, id: 'x1', expiresAt: 1, command: { kind: 'resync' } }, []],
	[
		'log level',
		commandSchema,
		{ v, id: 'x1', expiresAt: 1, command: { kind: 'log-level', level: 'debug' } },
		[],
	],
	['command result', commandResultSchema, { v, id: 'x1', ok: false, why: 'late', at: 1 }, ['why']],
	[
		'telemetry batch',
		telemetryBatchSchema,
		{
			v,
			boot: 'b1',
			seq: 2,
			floor: 1,
			at: 1,
			records: [
				{
					kind: 'conversation',
					...ENDS,
					isFinal: true,
					action: 'learn',
					sessions: 1,
					clientPackets: 2,
					clientBytes: 3,
					serverPackets: 4,
					serverBytes: 5,
					firstAt: 6,
					lastAt: 7,
				},
				{ kind: 'violation', ...ENDS, clientPort: 40_000, action: 'violate', count: 1, at: 8 },
				{
					kind: 'threat',
					...ENDS,
					clientPort: 40_000,
					name: 'land',
					severity: 'high',
					count: 1,
					at: 9,
				},
				{
					kind: 'agent',
					name: 'ring-loss',
					severity: 'low',
					message: 'lost',
					count: 1,
					at: 10,
				},
				{ kind: 'counters', at: 11, counters: { frames: 12 } },
			],
		},
		['peerWorkload', 'application', 'rule', 'host', 'frames'],
	],
	['enrolment request', enrolRequestSchema, { token: 'rft_a_b', name: 'host' }, []],
	[
		'enrolment response',
		enrolResponseSchema,
		{
			node: 'n1',
			cluster: 'c1',
			brokerUrl: 'mqtt://localhost:1883',
			brokerPassword: 'x',
			controllerKey: 'eA==',
			keyId: 'k1',
		},
		[],
	],
	['document version', documentVersionSchema, { epoch: 1, generation: 2 }, []],
	[
		'policy shard',
		policyShardSchema,
		{
			settings: { kind: 'settings', newServiceMode: 'discover', fleetNetworks: ['10.0.0.0/8'] },
			'group:g': { kind: 'group', name: 'g', mode: 'monitor' },
			'rule:r': {
				kind: 'rule',
				id: 'r',
				order: -1,
				from: 'g',
				to: 'external',
				ports: ['any'],
				applications: ['http', 'any'],
				action: 'allow',
			},
		},
		['settings', 'group:g', 'rule:r'],
	],
	[
		'addresses shard',
		addressesShardSchema,
		{ '10.0.0.5/32': { network: '10.0.0.5/32', kind: 'workload', id: 'w1', groups: ['g'] } },
		['10.0.0.5/32'],
	],
]

/** Objects with keys that others choose. */
const RECORDS = /(^|\.)(labels|counters)$/
const SHARDS = new Set(['policy shard', 'addresses shard'])

describe.each(EXAMPLES)('%s', (name, schema, example, optionalKeys) => {
	const places = placesOf(example)

	test('is read whole', () => {
		expect(schema.safeParse(example).data).toEqual(example)
		expect(places.length).toBeGreaterThan(1)
	})

	test('without what may be absent is read, without anything else refused by its path', () => {
		for (const { path } of places.filter((place) => typeof place.path.at(-1) === 'string')) {
			const isOptional = optionalKeys.includes(String(path.at(-1)))
			expect(complaints(schema, without(example, path)), path.join('.')).toEqual(
				isOptional ? [] : [path.join('.')],
			)
		}
	})

	test('with null anywhere is refused by its path', () => {
		for (const { path } of places) {
			expect(complaints(schema, withValue(example, path, null))).toContain(path.join('.'))
		}
	})

	test('with an unknown key is refused by the object that holds it', () => {
		for (const { path, value } of [{ path: [], value: example }, ...places]) {
			if (!isObject(value) || RECORDS.test(path.join('.'))) continue
			if (path.length === 0 && SHARDS.has(name)) continue
			const mutated = withValue(example, [...path, 'intruder'], 1)
			expect(complaints(schema, mutated)).toEqual([path.join('.')])
		}
	})

	test('holds no unbounded text, number or list', () => {
		for (const { path, value } of places) {
			for (const excess of excesses(value)) {
				expect(complaints(schema, withValue(example, path, excess)), path.join('.')).not.toEqual([])
			}
		}
	})
})

test('every example is tried', () => {
	expect(EXAMPLES.length).toBe(17)
	expect(EXAMPLES.flatMap(([, , example]) => placesOf(example)).length).toBeGreaterThan(150)
})

type Path = readonly (string | number)[]

interface Place {
	readonly path: Path
	readonly value: unknown
}

/** Every value inside, with its path. */
function placesOf(value: unknown, path: Path = []): Place[] {
	if (typeof value !== 'object' || value === null) return []
	return Object.entries(value).flatMap(([key, inner]) => {
		const innerPath = [...path, Array.isArray(value) ? Number(key) : key]
		return [{ path: innerPath, value: inner }, ...placesOf(inner, innerPath)]
	})
}

function excesses(value: unknown): unknown[] {
	if (typeof value === 'string') return ['x'.repeat(10_000)]
	if (typeof value === 'number') return [0.5, 1e300, Number.NaN]
	if (Array.isArray(value)) return [new Array(70_000).fill(value[0])]
	return []
}

function complaints(schema: z.ZodType, message: unknown): string[] {
	const parsed = schema.safeParse(message)
	return parsed.success ? [] : parsed.error.issues.map((issue) => issue.path.join('.'))
}

function withValue(example: unknown, path: Path, value: unknown): unknown {
	return edited(example, path, (holder, key) => {
		holder[key] = value
	})
}

function without(example: unknown, path: Path): unknown {
	return edited(example, path, (holder, key) => {
		delete holder[key]
	})
}

function edited(
	example: unknown,
	path: Path,
	edit: (holder: Record<string, unknown>, key: string) => void,
): unknown {
	const copy: unknown = structuredClone(example)
	let holder = copy
	for (const key of path.slice(0, -1)) {
		holder = isObject(holder) || Array.isArray(holder) ? Reflect.get(holder, key) : undefined
	}
	edit(holder as Record<string, unknown>, String(path.at(-1)))
	return copy
}

function isObject(value: unknown): value is Record<string, unknown> {
	return typeof value === 'object' && value !== null && !Array.isArray(value)
}
