import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { APPLICATIONS } from '@ringfence/shared/contract/application'
import { describe, expect, test } from 'vitest'
import { PARSERS } from '../agent/src/dpi/registry.ts'
import { ROOT } from './harness/sandbox.ts'

const CORE = ['packet', 'session', 'dpi', 'policy', 'engine']

const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
	cwd: ROOT,
	encoding: 'utf8',
})
	.split('\n')
	.filter((name) => name !== '' && existsSync(join(ROOT, name)))
const sources = tracked.filter((name) => /\.(ts|mjs|cjs)$/.test(name))
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8')

describe('protocols', () => {
	const files = readdirSync(join(ROOT, 'agent/src/dpi/proto'))
	const protocols = files.filter((name) => !name.endsWith('.test.ts'))

	test('every protocol file is a row of the registry and an application of the contract', () => {
		const names = PARSERS.map((parser) => parser.name).sort()
		expect(protocols.map((name) => name.replace('.ts', '')).sort()).toEqual(names)
		expect([...APPLICATIONS].sort()).toEqual(names)
	})

	test.each(protocols)('%s names its specification and has vectors', (name) => {
		expect(read(`agent/src/dpi/proto/${name}`)).toMatch(/RFC \d+|https:/)
		expect(files).toContain(name.replace('.ts', '.test.ts'))
	})
})

describe('sources', () => {
	test('there are as many as there should be', () => {
		expect(sources.length).toBeGreaterThan(120)
	})

	test.each(CORE)('%s has no randomness and no promise', (room) => {
		const files = sources.filter(
			(name) => name.startsWith(`agent/src/${room}/`) && !name.endsWith('.test.ts'),
		)
		expect(files.length).toBeGreaterThan(2)
		const guilty = files.filter((name) => /Math\.random|\basync\b|\bPromise\b/.test(read(name)))
		expect(guilty).toEqual([])
	})

	test('every open task names its issue', () => {
		const bare = sources.filter(
			(name) => name !== 'test/tidy.test.ts' && /\b(TODO|FIXME|XXX)\b(?!\(#\d+\))/.test(read(name)),
		)
		expect(bare).toEqual([])
	})

	test('no file is named for nothing', () => {
		const vague = sources.filter((name) =>
			/(^|\/)(utils?|helpers?|common|types|misc)\.\w+$/.test(name),
		)
		expect(vague).toEqual([])
	})
})

test('the layer check sees the modules', () => {
	const json = execFileSync(
		join(ROOT, 'node_modules/.bin/depcruise'),
		['shared', 'agent', 'controller', '--output-type', 'json'],
		{ cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 28 },
	)
	const { summary } = JSON.parse(json) as { summary: { totalCruised: number } }
	expect(summary.totalCruised).toBeGreaterThan(100)
})
