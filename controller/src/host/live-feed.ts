import type { Live, LiveItem, Log } from '../fleet/fleet.ts'

/** The live stream within one process. A handler that throws loses an item, and no other handler does. */
export function createLiveFeed(log: Log): Live {
	const handlers = new Set<(item: LiveItem) => void>()
	return {
		publish(item) {
			for (const handler of handlers) {
				try {
					handler(item)
				} catch (error) {
					log('error', 'live stream handler failed', { error: String(error) })
				}
			}
		},
		subscribe(handler) {
			handlers.add(handler)
			return () => void handlers.delete(handler)
		},
	}
}
