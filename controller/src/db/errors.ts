export type StoreErrorCode = 'busy' | 'closed' | 'newer'

/** What the database does to us. `busy`: a lock was held too long; `newer`: a later version wrote it. */
export class StoreError extends Error {
	readonly code: StoreErrorCode

	constructor(message: string, options: ErrorOptions & { readonly code: StoreErrorCode }) {
		super(message, options)
		this.name = 'StoreError'
		this.code = options.code
	}
}
