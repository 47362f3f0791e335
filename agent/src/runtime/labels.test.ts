import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseLabels, readLabelFile } from './labels.ts'

const DEFAULTS = { service: 'web', domain: 'default', labels: {} }

describe('labels', () => {
	test('default to the name where nothing is said', () => {
		expect(parseLabels('web', undefined)).toEqual({ labels: DEFAULTS })
		expect(parseLabels('web', '{}')).toEqual({ labels: DEFAULTS })
	})

	test('take what the file says', () => {
		const said = { service: 'shop', domain: 'prod', image: 'nginx:1', labels: { tier: 'front' } }
		expect(parseLabels('web', JSON.stringify(said))).toEqual({ labels: said })
	})

	test('are refused as a whole when one thing is wrong', () => {
		const cases: [string, string][] = [
			['{', 'JSON'],
			['[]', 'expected object'],
			['{"service":"shop","colour":"red"}', 'colour'],
			['{"service":""}', 'service'],
			[`{"domain":"${'d'.repeat(257)}"}`, 'domain'],
			['{"labels":{"a":1}}', 'labels.a'],
			[
				JSON.stringify({ labels: Object.fromEntries([...Array(200).keys()].map((i) => [i, ''])) }),
				'too many labels',
			],
		]
		for (const [text, why] of cases) {
			const result = parseLabels('web', text)
			expect(result.labels).toEqual(DEFAULTS)
			expect(result.why).toContain(why)
		}
	})

	test('never throw, whatever the text', () => {
		fc.assert(
			fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
				expect(parseLabels('web', text).labels.service).not.toBe('')
			}),
		)
	})
})

describe('a label file', () => {
	let folder = ''
	beforeAll(() => {
		folder = mkdtempSync(join(tmpdir(), 'ringfence-labels-'))
	})
	afterAll(() => rmSync(folder, { recursive: true }))

	test('is read when it is a small plain file, and may be missing', () => {
		writeFileSync(join(folder, 'a.json'), '{"service":"é"}')
		expect(readLabelFile(join(folder, 'a.json'))).toBe('{"service":"é"}')
		expect(readLabelFile(join(folder, 'b.json'))).toBeUndefined()
	})

	test('is refused when it is long, a directory or a pipe', () => {
		writeFileSync(join(folder, 'long.json'), ' '.repeat(70_000))
		execFileSync('sh', ['-c', 'mkfifo "$0"', join(folder, 'pipe.json')])
		expect(() => readLabelFile(join(folder, 'long.json'))).toThrow('longer than')
		expect(() => readLabelFile(folder)).toThrow('not a plain file')
		expect(() => readLabelFile(join(folder, 'pipe.json'))).toThrow('not a plain file')
	})
})
