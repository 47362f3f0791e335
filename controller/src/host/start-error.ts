/** The controller cannot start, for a reason that whoever starts it can do something about: one line for them. */
export class StartError extends Error {
	readonly code = 'start'
}

/** Says what went wrong with an address that cannot be bound. */
export function bindError(what: string, address: string, error: unknown): StartError {
	const code = (error as { readonly code?: unknown }).code
	const why =
		code === 'EADDRINUSE'
			? 'another program uses it'
			: code === 'EACCES'
				? 'not allowed'
				: String((error as Error).message)
	return new StartError(`${what} cannot listen on ${address}: ${why}`, { cause: error })
}
