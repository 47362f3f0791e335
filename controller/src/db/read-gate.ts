import type { Client } from '@libsql/client'
import { StoreError } from './errors.ts'

/** A read inside a write transaction that does not go through it would wait for itself: it is told so after this time. */
const WAIT_MS_MAX = 5000

/** Client whose calls wait until the writes that are queued have ended. */
export function gateReads(client: Client, writesEnd: () => Promise<unknown>): Client {
	const gated = {
		execute: client.execute,
		batch: client.batch,
		executeMultiple: client.executeMultiple,
		transaction: client.transaction,
		migrate: client.migrate,
	}
	return new Proxy(client, {
		get(target, key) {
			const value: unknown = Reflect.get(target, key, target)
			if (typeof value !== 'function') return value
			if (!Object.hasOwn(gated, key)) return value.bind(target)
			return async (...args: unknown[]) => {
				let end: Promise<unknown> | undefined
				while (end !== writesEnd()) {
					end = writesEnd()
					await within(end)
				}
				return value.apply(target, args)
			}
		},
	})
}

async function within(end: Promise<unknown>): Promise<void> {
	let timer: ReturnType<typeof setTimeout> | undefined
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(
			() => reject(new StoreError('a read waited for a transaction', { code: 'busy' })),
			WAIT_MS_MAX,
		)
	})
	try {
		await Promise.race([end, late])
	} finally {
		clearTimeout(timer)
	}
}
