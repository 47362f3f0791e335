import type { Store } from '../db/store.ts'

/** What the controller's domain logic needs from its host. Handed down explicitly; there are no globals. */
export interface Fleet {
	readonly store: Store
	readonly clock: Clock
	readonly log: Log
	readonly changes: Changes
	readonly live: Live
	readonly bus: Bus
	/** Where agents find the broker, for enrolment answers. */
	readonly brokerUrl: () => string
	/** Gives a node its broker account; removes it again. No-op where the broker asks us (embedded). */
	readonly brokerAccounts: BrokerAccounts
}

export interface Clock {
	/** Milliseconds since 1970. */
	now(): number
}

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'
export type Log = (level: LogLevel, message: string, fields?: Record<string, unknown>) => void

/** Tells the rest of the controller, after a commit, that something changed. Handlers must not throw. */
export interface Changes {
	/** Desired documents must be made and published anew; calls close together are joined. */
	documentsChanged(): void
	/** The outbox has something due. */
	outboxChanged(): void
}

/** The way to the agents. */
export interface Bus {
	/** Resolves when the broker has it; rejects when it refuses or is away for longer than the bus waits. */
	publish(
		topic: string,
		payload: Uint8Array,
		options: { readonly isRetained: boolean },
	): Promise<void>
}

/** Feed of the live stream (`GET /v1/events/stream`). */
export interface Live {
	publish(item: LiveItem): void
	/** @returns unsubscribe */
	subscribe(handler: (item: LiveItem) => void): () => void
}

export interface LiveItem {
	readonly kind: 'event'
	readonly id: string
	readonly event: unknown
}

export interface BrokerAccounts {
	provision(node: string, password: string): Promise<void>
	revoke(node: string): Promise<void>
}
