/** Polls until `look` gives something other than undefined or false; rejects with what it waited for. */
export async function waitFor<Found>(
	what: string,
	look: () => Promise<Found | undefined | false> | Found | undefined | false,
	withinMs = 30_000,
): Promise<Found> {
	const deadline = Date.now() + withinMs
	let last: unknown
	for (;;) {
		try {
			const found = await look()
			if (found !== undefined && found !== false) return found
		} catch (error) {
			last = error
		}
		if (Date.now() > deadline) {
			throw new Error(`waited ${withinMs} ms for ${what}`, { cause: last })
		}
		await pause(25)
	}
}

export function pause(ms: number): Promise<void> {
	return new Promise((wake) => setTimeout(wake, ms))
}
