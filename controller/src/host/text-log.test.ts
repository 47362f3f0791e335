import { describe, expect, it } from 'vitest'
import { createLog } from './text-log.ts'

describe('log', () => {
	it('writes one line an entry, whatever the values', () => {
		const lines = collect('text', 'info')
		lines.log('info', 'node came', {
			node: 'n-1',
			name: 'a\n\u001b[31mb\u009b',
			count: 2,
			gone: undefined,
		})
		expect(lines.written).toEqual([
			'1970-01-01T00:00:00.000Z info  node came node=n-1 name="a\\n\\u001b[31mb?" count=2\n',
		])
	})

	it('writes JSON for programs, and leaves out what is below its level', () => {
		const lines = collect('json', 'warn')
		lines.log('info', 'quiet')
		lines.log('error', 'loud', { why: 'x' })
		expect(lines.written.map((line) => JSON.parse(line))).toEqual([
			{ time: '1970-01-01T00:00:00.000Z', level: 'error', message: 'loud', why: 'x' },
		])
	})

	it('survives values that have no text', () => {
		const lines = collect('json', 'info')
		const loop: Record<string, unknown> = {}
		loop['self'] = loop
		lines.log('info', 'x', loop)
		lines.log('info', 'x', { big: 1n })
		expect(lines.written).toHaveLength(2)
	})
})

function collect(format: 'text' | 'json', level: 'warn' | 'info') {
	const written: string[] = []
	const write = (line: string) => void written.push(line)
	return { written, log: createLog({ level, format, write, nowMs: () => 0 }) }
}
