import type { Log, LogLevel } from '../fleet/fleet.ts'

const LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug']

export interface LogOptions {
	readonly level: LogLevel
	readonly format: 'text' | 'json'
	readonly write: (line: string) => void
	readonly nowMs: () => number
}

/** A log of one line an entry, for people or for programs. Values that others choose cannot break a line or the terminal. */
export function createLog({ level, format, write, nowMs }: LogOptions): Log {
	const shown = LEVELS.slice(0, LEVELS.indexOf(level) + 1)
	return (entryLevel, message, fields = {}) => {
		if (!shown.includes(entryLevel)) return
		const time = new Date(nowMs()).toISOString()
		if (format === 'json') {
			write(`${jsonOf({ time, level: entryLevel, message, ...fields })}\n`)
			return
		}
		const pairs = Object.entries(fields).flatMap(([key, value]) =>
			value === undefined ? [] : [`${key}=${wordOf(value)}`],
		)
		write(`${[time, entryLevel.padEnd(5), message, ...pairs].join(' ')}\n`)
	}
}

function wordOf(value: unknown): string {
	const text = typeof value === 'string' ? value : jsonOf(value)
	// JSON.stringify leaves DEL and the C1 controls as they are.
	const quoted = /^[\w.:/@+-]+$/.test(text)
		? text
		: typeof value === 'string'
			? jsonOf(value)
			: text
	return quoted.replace(/[\u007f-\u009f]/g, '?')
}

function jsonOf(value: unknown): string {
	try {
		return JSON.stringify(value) ?? 'undefined'
	} catch {
		return '"unprintable"'
	}
}
