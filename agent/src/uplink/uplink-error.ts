/** - `state`: the state directory cannot be used as it is. - `enrol`: the controller refuses this agent. - `aborted`: the caller gave up. */
export type UplinkErrorCode = 'state' | 'enrol' | 'aborted'

/** Why the uplink cannot start, in words for an operator. */
export class UplinkError extends Error {
	readonly code: UplinkErrorCode

	constructor(message: string, options: ErrorOptions & { code: UplinkErrorCode }) {
		super(message, options)
		this.name = 'UplinkError'
		this.code = options.code
	}
}

/** The message of whatever was thrown, bounded. */
export function messageOf(error: unknown): string {
	return (error instanceof Error ? error.message || error.name : String(error)).slice(0, 500)
}
