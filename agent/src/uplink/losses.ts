import { readFile } from 'node:fs/promises'
import type { AgentRecord } from '@ringfence/shared/contract/telemetry'
import { replaceFile } from './atomic-file.ts'

const MESSAGES = {
	evicted: 'records evicted: the spool was full while the controller was away',
	corrupt: 'batches lost: their files in the spool were damaged',
	rejected: 'records refused by the controller',
	invalid: 'records left out: they do not fit the contract',
	dropped: 'records dropped: they came faster than they could be spooled',
} as const

/** Why telemetry did not arrive. */
export type LossReason = keyof typeof MESSAGES
const REASONS = Object.keys(MESSAGES) as LossReason[]

const PERSIST_AFTER_MS = 100
/** A batch that carries the announcement is on disk by then. */
const FORGET_AFTER_MS = 1_000

/**
 * What was lost and not yet told. Kept in a file, so that a loss is announced even when the agent restarts before it
 * reaches a controller; a crash right after an announcement repeats it.
 */
export class Losses {
	readonly #path: string
	readonly #counts = new Map<LossReason, number>()
	#timer: NodeJS.Timeout | undefined

	private constructor(path: string) {
		this.#path = path
	}

	static async open(path: string): Promise<Losses> {
		const losses = new Losses(path)
		try {
			const kept = JSON.parse(await readFile(path, 'utf8')) as Partial<Record<LossReason, unknown>>
			for (const reason of REASONS) {
				const count = kept?.[reason]
				if (Number.isSafeInteger(count) && Number(count) > 0) {
					losses.#counts.set(reason, Number(count))
				}
			}
		} catch {
			// No file is the rule, and a damaged one tells nothing.
		}
		return losses
	}

	add(reason: LossReason, count: number): void {
		this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + count)
		this.#persistAfter(PERSIST_AFTER_MS)
	}

	/** Hands over what is to be told, as records. */
	take(): AgentRecord[] {
		if (this.#counts.size === 0) return []
		const at = Date.now()
		const records = [...this.#counts].map(
			([reason, count]): AgentRecord => ({
				kind: 'agent',
				name: `telemetry-${reason}`,
				severity: 'medium',
				message: MESSAGES[reason],
				count,
				at,
			}),
		)
		this.#counts.clear()
		this.#persistAfter(FORGET_AFTER_MS)
		return records
	}

	/** Writes down at once what is outstanding. */
	async close(): Promise<void> {
		if (this.#timer === undefined) return
		clearTimeout(this.#timer)
		await this.#persist()
	}

	#persistAfter(delayMs: number): void {
		if (this.#timer !== undefined) return
		this.#timer = setTimeout(() => {
			this.#persist().catch(() => undefined)
		}, delayMs)
	}

	/** A disk that refuses this refuses batches too, and that is said there. */
	async #persist(): Promise<void> {
		this.#timer = undefined
		const text = JSON.stringify(Object.fromEntries(this.#counts))
		await replaceFile(this.#path, text, { mode: 0o600, isSynced: false }).catch(() => undefined)
	}
}
