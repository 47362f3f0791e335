/** Where the uplink's messages for people go; `main.ts` gives it. */
export type Log = (
	level: 'error' | 'warn' | 'info' | 'debug',
	message: string,
	fields?: Record<string, unknown>,
) => void
