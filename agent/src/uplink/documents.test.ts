import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { DocumentStatus, SignedHead } from '@ringfence/shared/contract/messages'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Counters } from './counters.ts'
import { DocumentCache } from './document-cache.ts'
import { type ApplyResult, type DocumentPair, Documents } from './documents.ts'
import { parseIdentity } from './identity.ts'
import { Rejections } from './rejections.ts'
import {
	type DocumentOptions,
	FakeController,
	type SignedDocument,
	signDocument,
	signShards,
} from './testing/fake-controller.ts'
import { addressEntry, rule, SETTINGS } from './testing/samples.ts'
import { until } from './testing/until.ts'

const controller = new FakeController('mqtt://127.0.0.1:1')
const identity = parseIdentity(controller.response('n1'))

let dir: string
let counters: Counters
let documents: Documents
let statuses: DocumentStatus[]
let applied: DocumentPair[]
let lines: string[]
let answer: (documents: DocumentPair) => ApplyResult

beforeEach(async () => {
	dir = await mkdtemp(join(tmpdir(), 'rf-documents-'))
	await restart()
})

afterEach(async () => {
	await documents.stop()
	await rm(dir, { recursive: true })
})

it('applies once everything is there, in whatever order it comes', async () => {
	const policy = policyOf(1)
	const addresses = addressesOf(1)
	const steps = [policy, addresses].flatMap((document) => [
		() => giveHead(document),
		...document.shards.map((shard) => () => {
			documents.onShard(document.name, shard)
			return Promise.resolve()
		}),
	])
	await fc.assert(
		fc.asyncProperty(fc.shuffledSubarray(steps, { minLength: steps.length }), async (shuffled) => {
			await rm(dir, { recursive: true })
			await restart()
			for (const step of shuffled) await step()
			await until('it is in force', () => statuses.length === 2)
			expect(applied).toHaveLength(1)
			expect([...(applied[0]?.policy.entries.keys() ?? [])].sort()).toEqual(['rule:r1', 'settings'])
			await documents.stop()
		}),
		{ numRuns: 15 },
	)
})

it('takes the next version with the shards that changed, and leaves out what was removed', async () => {
	await give(addressesOf(1), policyOf(1, [SETTINGS, rule(1), rule(2)]))
	await until('in force', () => applied.length === 1)
	const next = policyOf(2, [SETTINGS, rule(2), rule(3)])
	const before = policyOf(1, [SETTINGS, rule(1), rule(2)])
	const known = new Set(before.shards.map(String))
	for (const shard of next.shards) if (!known.has(String(shard))) documents.onShard('policy', shard)
	await giveHead(next)
	await until('the next is in force', () => applied.length === 2)
	expect([...(applied[1]?.policy.entries.keys() ?? [])].sort()).toEqual([
		'rule:r2',
		'rule:r3',
		'settings',
	])
	expect(applied[1]?.addresses.generation).toBe(1)
})

it('answers a head that is in force already, and does not apply it twice', async () => {
	const policy = policyOf(1)
	await give(addressesOf(1), policy)
	await until('in force', () => statuses.length === 2)
	await giveHead(policy)
	await until('answered', () => statuses.length === 3)
	expect(statuses[2]).toMatchObject({ document: 'policy', state: 'applied', generation: 1 })
	expect(applied).toHaveLength(1)
})

it('takes a higher epoch with a lower generation, and nothing that is older', async () => {
	await give(addressesOf(1), policyOf(9))
	await until('in force', () => applied.length === 1)
	await give(sign({ name: 'policy', epoch: 2, generation: 1, entries: [SETTINGS] }))
	await until('the new epoch is in force', () => applied.length === 2)
	await give(policyOf(10))
	await until('the old epoch is refused', () => statuses.at(-1)?.state === 'rejected')
	expect(statuses.at(-1)).toMatchObject({ epoch: 1, generation: 10 })
	expect(counters.get('rejectedRollback')).toBe(1)
})

it('refuses the same version with other content', async () => {
	await give(addressesOf(1), policyOf(1))
	await until('in force', () => applied.length === 1)
	await give(policyOf(1, [SETTINGS, rule(7)]))
	await until('refused', () => statuses.at(-1)?.state === 'rejected')
	expect(statuses.at(-1)?.why).toContain('other content')
	expect(applied).toHaveLength(1)
})

it.each([
	[
		'another key',
		() => signDocument(generateKeyPairSync('ed25519').privateKey, 'n1', good()),
		/signature/,
	],
	['another key id', () => withHead(sign(good()), { keyId: 'k2' }), /key k2/],
	['a short signature', () => withHead(sign(good()), { signature: 'AAAA' }), /signature/],
	[
		'a changed body',
		() => withHead(sign(good()), { body: `${sign(good()).head.body} ` }),
		/signature/,
	],
	['another node', () => signDocument(controller.privateKey, 'n2', good()), /for node n2/],
	['another cluster', () => sign({ ...good(), cluster: 'c2' }), /for cluster c2/],
	[
		'another document',
		() => ({ ...sign(good()), name: 'addresses' as const }),
		/for document policy/,
	],
	['an entry in the wrong shard', () => misplaced(), /belongs into another shard/],
	[
		'an entry under a wrong key',
		() => contents([{ 'rule:r2': rule(1) }]),
		/should have the key rule:r1/,
	],
	['an unknown field', () => contents([{ settings: { ...SETTINGS, extra: 1 } }]), /shard 0/],
	['a shard that is no object', () => contents([7]), /shard 0/],
])('refuses a head with %s, says why, and keeps the last good one', async (_, make, why) => {
	await give(addressesOf(1), policyOf(1))
	await until('in force', () => statuses.length === 2)
	await give(make())
	await until('refused', () => statuses.at(-1)?.state === 'rejected')
	expect(statuses.at(-1)?.why).toMatch(why)
	expect(applied).toHaveLength(1)
	expect(documents.applied()).toMatchObject([{ generation: 1 }, { generation: 1 }])
	await give(policyOf(3))
	await until('a good one follows', () => applied.length === 2)
})

it('refuses shards that are bombs', async () => {
	const bomb = gzipSync(Buffer.alloc(32 * 1024 * 1024))
	const signed = signShards(controller.privateKey, 'n1', {
		name: 'policy',
		generation: 2,
		contents: [{}],
		bytes: [bomb],
	})
	await give(addressesOf(1), policyOf(1))
	await until('in force', () => applied.length === 1)
	await give(signed)
	await until('refused', () => statuses.at(-1)?.state === 'rejected')
	expect(statuses.at(-1)?.why).toContain('message too large')
})

it('never throws on noise in place of a head, and bounds how many refusals it publishes', async () => {
	await fc.assert(
		fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (noise) => {
			await documents.onHead('policy', 't', noise)
		}),
	)
	expect(counters.get('documentsRejected')).toBeGreaterThan(50)
	expect(statuses.length).toBeLessThanOrEqual(10)
})

it('tells the reason of a document that the agent cannot put in force, and tries the next', async () => {
	answer = ({ policy }) =>
		policy.entries.has('rule:r1') ? { ok: false, why: 'rule r1' } : { ok: true }
	await give(addressesOf(1), policyOf(1))
	await until('both are refused', () => statuses.length === 2)
	expect(statuses.map(({ state, why }) => [state, why])).toEqual([
		['rejected', 'rule r1'],
		['rejected', 'rule r1'],
	])
	await give(policyOf(2, [SETTINGS]))
	await until('both are in force', () => statuses.length === 4)
	expect(documents.applied()).toEqual([
		{ document: 'policy', epoch: 1, generation: 2 },
		{ document: 'addresses', epoch: 1, generation: 1 },
	])
	await give(policyOf(3, [SETTINGS, rule(1)]))
	await until('the third is refused', () => statuses.length === 5)
	expect(documents.applied()[0]?.generation).toBe(2)
})

it('has documents in force at a start without anybody, and still knows what is older', async () => {
	await give(addressesOf(1), policyOf(5))
	await until('in force', () => statuses.length === 2)
	await restart()
	expect(applied).toHaveLength(1)
	expect(applied[0]?.policy.generation).toBe(5)
	await give(policyOf(4))
	await until('refused', () => statuses.at(-1)?.state === 'rejected')
	expect(await readdir(join(dir, 'policy'))).toHaveLength(
		2 + new Set(policyOf(5).shards.map(String)).size,
	)
})

it('keeps no shard on disk that is not in force', async () => {
	await give(addressesOf(1), policyOf(1, [SETTINGS, rule(1)]))
	await until('in force', () => applied.length === 1)
	const next = policyOf(2, [SETTINGS])
	await give(next)
	await until('in force', () => statuses.length === 3)
	await documents.stop()
	const files = await readdir(join(dir, 'policy'))
	expect(files).toHaveLength(2 + new Set(next.shards.map(String)).size)
})

it.each([
	['a shard is changed', (path: string) => damageShard(path), /missing or damaged/],
	['the head is no JSON', (path: string) => writeFile(join(path, 'head.json'), '{'), /JSON/],
	['the head is forged', (path: string) => forgeHead(path), /signature/],
	['an older one was put in its place', (path: string) => replaceByOlder(path), /older than/],
])(
	'refuses what is on disk when %s, says so, and takes it from the controller again',
	async (_, damage, why) => {
		await give(addressesOf(1), policyOf(5))
		await until('in force', () => statuses.length === 2)
		await documents.stop()
		await damage(join(dir, 'policy'))
		await restart()
		expect(applied).toEqual([])
		expect(counters.get('documentCacheRefused')).toBe(1)
		expect(lines.join()).toMatch(why)
		await give(policyOf(4))
		await until('an older one is refused', () => statuses.at(-1)?.state === 'rejected')
		await give(policyOf(5))
		await until('in force again', () => applied.length === 1)
		await restart()
		expect(applied).toHaveLength(1)
	},
)

async function restart(): Promise<void> {
	await documents?.stop()
	counters = new Counters()
	statuses = []
	applied = []
	lines = []
	answer = () => ({ ok: true })
	const log = (level: string, message: string, fields?: Record<string, unknown>): void => {
		lines.push(`${level} ${message} ${JSON.stringify(fields)}`)
	}
	documents = new Documents({
		identity,
		boot: 'b1',
		cache: new DocumentCache(dir),
		counters,
		rejections: new Rejections(counters, log),
		log,
		refetch: { firstMs: 60_000, maxMs: 60_000 },
		apply: (pair) => {
			const result = answer(pair)
			if (result.ok) applied.push(pair)
			return Promise.resolve(result)
		},
		fetchAgain: () => undefined,
		publishStatus: (status) => statuses.push(status),
	})
	await documents.loadCache()
	statuses = []
}

async function give(...given: SignedDocument[]): Promise<void> {
	for (const document of given) {
		for (const shard of document.shards) documents.onShard(document.name, shard)
		await giveHead(document)
	}
}

function giveHead(document: SignedDocument): Promise<void> {
	return documents.onHead(document.name, 'topic', Buffer.from(JSON.stringify(document.head)))
}

function sign(options: DocumentOptions): SignedDocument {
	return signDocument(controller.privateKey, 'n1', options)
}

function policyOf(generation: number, entries = [SETTINGS, rule(1)]): SignedDocument {
	return sign({ name: 'policy', generation, entries })
}

function addressesOf(generation: number): SignedDocument {
	return sign({ name: 'addresses', generation, entries: [addressEntry(1)] })
}

function good(): DocumentOptions & { name: 'policy' } {
	return { name: 'policy', generation: 2, entries: [SETTINGS, rule(2)] }
}

function withHead(document: SignedDocument, changes: Partial<SignedHead>): SignedDocument {
	return { ...document, head: { ...document.head, ...changes } }
}

function contents(given: readonly unknown[]): SignedDocument {
	const options = { name: 'policy', generation: 2, contents: given } as const
	return signShards(controller.privateKey, 'n1', options)
}

/** A policy whose shards have changed places. */
function misplaced(): SignedDocument {
	const right = sign({ ...good(), shardCount: 2 })
	return contents([...right.shards].reverse().map((shard): unknown => JSON.parse(String(shard))))
}

async function damageShard(path: string): Promise<void> {
	const name = (await readdir(path)).find((file) => file.length === 64) ?? ''
	await writeFile(join(path, name), `${await readFile(join(path, name), 'utf8')} `)
}

async function forgeHead(path: string): Promise<void> {
	const head = JSON.parse(await readFile(join(path, 'head.json'), 'utf8')) as SignedHead
	const body = head.body.replace('"generation":5', '"generation":6')
	await writeFile(join(path, 'head.json'), JSON.stringify({ ...head, body }))
}

async function replaceByOlder(path: string): Promise<void> {
	await writeFile(join(path, 'head.json'), JSON.stringify(policyOf(3).head))
}
