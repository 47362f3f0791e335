import type { Command, CommandResult } from '@ringfence/shared/contract/messages'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import type { Counters } from './counters.ts'
import { messageOf } from './uplink-error.ts'

export interface CommandsOptions {
	readonly counters: Counters
	/** Carries a command out. */
	run(command: Command['command']): Promise<{ ok: boolean; why?: string }>
	publishResult(result: CommandResult): void
}

/** Commands remembered, so that one that comes twice is carried out once. */
const SEEN_MAX = 256
const RUNNING_MAX = 8
const RUN_TIMEOUT_MS = 30_000
/** Of `proseSchema`. */
const PROSE_MAX = 1024

/** Carries out each command once, before it expires, and answers every one. */
export class Commands {
	readonly #options: CommandsOptions
	/** By id, oldest first; without a result while it runs. */
	readonly #seen = new Map<string, CommandResult | undefined>()
	#running = 0

	constructor(options: CommandsOptions) {
		this.#options = options
	}

	/** Never throws; resolves when the command is answered. */
	async take(command: Command): Promise<void> {
		const { counters, publishResult } = this.#options
		if (this.#seen.has(command.id)) {
			counters.add('commandsDuplicate')
			// The answer may have been lost: it is given again, the command is not carried out again.
			const result = this.#seen.get(command.id)
			if (result) publishResult(result)
			return
		}
		this.#remember(command.id, undefined)
		const { ok, why } = await this.#outcome(command)
		const result: CommandResult = {
			v: CONTRACT_VERSION,
			id: command.id,
			ok,
			...(why === undefined ? {} : { why: why.slice(0, PROSE_MAX) }),
			at: Date.now(),
		}
		if (this.#seen.has(command.id)) this.#seen.set(command.id, result)
		publishResult(result)
	}

	async #outcome(command: Command): Promise<{ ok: boolean; why?: string }> {
		const { counters, run } = this.#options
		const lateMs = Date.now() - command.expiresAt
		if (lateMs > 0) {
			counters.add('commandsExpired')
			return { ok: false, why: `expired ${lateMs} ms ago by this node's clock` }
		}
		if (this.#running >= RUNNING_MAX) {
			counters.add('commandsRefused')
			return { ok: false, why: `${RUNNING_MAX} commands run already` }
		}
		this.#running += 1
		counters.add('commandsRun')
		try {
			return await inTime(run(command.command))
		} catch (error) {
			return { ok: false, why: messageOf(error) }
		} finally {
			this.#running -= 1
		}
	}

	#remember(id: string, result: CommandResult | undefined): void {
		this.#seen.set(id, result)
		for (const oldest of this.#seen.keys()) {
			if (this.#seen.size <= SEEN_MAX) break
			this.#seen.delete(oldest)
		}
	}
}

async function inTime<Value>(promise: Promise<Value>): Promise<Value> {
	let timer: NodeJS.Timeout | undefined
	const timeout = new Promise<never>((_, reject) => {
		timer = setTimeout(() => reject(new Error('the command took too long')), RUN_TIMEOUT_MS)
	})
	try {
		return await Promise.race([promise, timeout])
	} finally {
		clearTimeout(timer)
	}
}
