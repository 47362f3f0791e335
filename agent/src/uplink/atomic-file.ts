import { open, rename, rm } from 'node:fs/promises'

export interface ReplaceOptions {
	/** Permission bits of the file. */
	readonly mode: number
	/** Waits until the bytes are on the medium: survives the loss of power, not only of the process. */
	readonly isSynced: boolean
}

/**
 * Writes a file whole: readers, and a process that starts after a crash, see the old content or the new one.
 * One writer a path at a time.
 */
export async function replaceFile(
	path: string,
	bytes: Uint8Array | string,
	options: ReplaceOptions,
): Promise<void> {
	const temporary = `${path}.tmp`
	try {
		const file = await open(temporary, 'w', options.mode)
		try {
			await file.writeFile(bytes)
			if (options.isSynced) await file.sync()
		} finally {
			await file.close()
		}
		await rename(temporary, path)
	} catch (error) {
		await rm(temporary, { force: true }).catch(() => undefined)
		throw error
	}
}

/** Makes the names in a directory durable: `rename` alone is not (POSIX fsync on the directory). */
export async function syncDirectory(path: string): Promise<void> {
	const directory = await open(path, 'r')
	try {
		await directory.sync()
	} finally {
		await directory.close()
	}
}
