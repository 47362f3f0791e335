import { expect, test } from 'vitest'
import { type LogFormat, openLogger } from './log.ts'

function linesOf(format: LogFormat, level: 'warn' | 'debug', message: string): string[] {
	const lines: string[] = []
	const logger = openLogger(format, level, (line) => lines.push(line))
	logger.log('error', message, { node: 'n1' })
	logger.log('debug', message)
	return lines
}

test('writes what is urgent enough, one line each', () => {
	expect(linesOf('text', 'warn', 'hello').length).toBe(1)
	expect(linesOf('text', 'debug', 'hello').length).toBe(2)
	expect(linesOf('text', 'warn', 'hello')[0]).toMatch(/^\S+Z error hello node="n1"\n$/)
})

test('changes its level while it runs', () => {
	const lines: string[] = []
	const logger = openLogger('text', 'error', (line) => lines.push(line))
	logger.log('info', 'unheard')
	logger.level = 'info'
	logger.log('info', 'heard')
	expect(lines.join('')).toMatch(/^\S+ info {2}heard\n$/)
})

test('lets nothing that is quoted forge a line or move the cursor', () => {
	const [line = ''] = linesOf('text', 'warn', 'bad\n2026 error fake \u001b[2J')
	expect(line.trimEnd()).not.toContain('\n')
	expect(line).not.toContain('\u001b')
	expect(line).toContain('\\u001b[2J')
})

test('writes JSON with its fields', () => {
	const [line = ''] = linesOf('json', 'warn', 'a\nb')
	expect(JSON.parse(line)).toMatchObject({ level: 'error', message: 'a\nb', node: 'n1' })
})
