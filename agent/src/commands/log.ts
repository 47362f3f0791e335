export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

export const LOG_FORMATS = ['text', 'json'] as const
export type LogFormat = (typeof LOG_FORMATS)[number]

export interface Logger {
	/** What is less urgent is not written. */
	level: LogLevel
	log(level: LogLevel, message: string, fields?: Record<string, unknown>): void
}

/** Longest line: what others say (a broker, a label file) is quoted in them. */
const LINE_MAX = 4096

/** Writes one line a message. @param write takes whole lines, with their line feed */
export function openLogger(
	format: LogFormat,
	level: LogLevel,
	write: (line: string) => void,
): Logger {
	const line = format === 'json' ? jsonLine : textLine
	return {
		level,
		log(its, message, fields = {}) {
			if (LOG_LEVELS.indexOf(its) > LOG_LEVELS.indexOf(this.level)) return
			write(`${line(its, message, fields).slice(0, LINE_MAX)}\n`)
		},
	}
}

function jsonLine(level: LogLevel, message: string, fields: Record<string, unknown>): string {
	return JSON.stringify({ at: new Date().toISOString(), level, message, ...fields })
}

/** Control characters are quoted: nothing that others say can draw on a terminal or forge a line. */
function textLine(level: LogLevel, message: string, fields: Record<string, unknown>): string {
	const pairs = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
	const text = [message, ...pairs].join(' ').replace(CONTROL, (character) => {
		return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
	})
	return `${new Date().toISOString()} ${level.padEnd(5)} ${text}`
}

const CONTROL = /\p{Cc}/gu
