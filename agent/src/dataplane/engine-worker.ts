import { Worker } from 'node:worker_threads'
import { CLOEXEC, close, eventfd, NONBLOCK, unmap, write } from '../capture/libc.ts'
import type { EngineCounters, EngineEvent, EngineOptions } from '../engine/engine.ts'
import type { PolicyDocuments } from '../policy/compile.ts'
import type { Order, Report, RingCounters, RingHandle, RingOrder } from './messages.ts'

/** Pause before a worker is started again: none at first, then doubled up to a limit while it keeps ending early. */
const RESPAWN_MS_FIRST = 100
const RESPAWN_MS_MAX = 5000
/** A worker that ran this long is taken to be sound. */
const SOUND_AFTER_MS = 30_000
/** Threads that may end before documents are in force. */
const ATTEMPTS_MAX = 2
const WAKE = new Uint8Array(new BigUint64Array([1n]).buffer)

export interface EngineWorkerOptions {
	/** Built program of the thread. */
	readonly url: URL
	readonly engine: EngineOptions
}

export interface EngineWorkerHandlers {
	events(events: readonly EngineEvent[], shiftUs: number): void
	/** Fresh totals are there. */
	counted(rings: readonly RingCounters[]): void
	ringOpened(port: number): void
	ringFailed(port: number, why: string, isLasting: boolean): void
	ringClosed(totals: RingCounters): void
	/** The thread ended by itself and is started again; its rings lost what came meanwhile. */
	crashed(why: string): void
}

/** A thread with an engine, as the main thread sees it: kept running, with its rings and its policy, until stopped. */
export class EngineWorker {
	readonly #options: EngineWorkerOptions
	readonly #handlers: EngineWorkerHandlers
	readonly #wakeFd = eventfd(CLOEXEC | NONBLOCK)
	readonly #rings = new Map<number, RingOrder>()
	/** What the running thread holds of the kernel's. */
	readonly #handles = new Map<number, RingHandle>()
	#unread = new Int32Array(new SharedArrayBuffer(4))
	#worker: Worker | undefined
	#startedAtMs = 0
	#respawnMs = 0
	#respawnTimer: NodeJS.Timeout | undefined
	#failure = ''
	#documents: PolicyDocuments | undefined
	#proposal: Proposal | undefined
	#sequence = 0
	/** Totals of the threads before this one, and the newest of this one. */
	#earlier: Record<string, number> = {}
	#current: Record<string, number> = {}
	#sessionsOpen = 0
	#stopped: (() => void) | undefined

	constructor(options: EngineWorkerOptions, handlers: EngineWorkerHandlers) {
		this.#options = options
		this.#handlers = handlers
		this.#start()
	}

	addRing(ring: RingOrder): void {
		this.#rings.set(ring.port, ring)
		this.#order({ kind: 'add-ring', ring })
	}

	/** The `ownAddresses` of a ring's workload are others. */
	setOwnAddresses(ring: RingOrder): void {
		const { port, ownAddresses: addresses } = ring
		// A ring that waits for its next try has none here; the try brings them.
		if (!this.#rings.has(port)) return
		this.#rings.set(port, ring)
		this.#order({ kind: 'own-addresses', port, addresses })
	}

	/** Whether a thread is there to read the ring to its end; if so, `ringClosed` or `ringFailed` follows. */
	removeRing(port: number): boolean {
		this.#rings.delete(port)
		this.#order({ kind: 'remove-ring', port })
		return this.#worker !== undefined
	}

	/** Puts documents in force; resolves with why not, or undefined. One at a time. */
	applyPolicy(documents: PolicyDocuments): Promise<string | undefined> {
		if (this.#stopped) return Promise.resolve('the agent is stopping')
		return new Promise((resolve) => {
			this.#sequence++
			this.#proposal = { sequence: this.#sequence, documents, resolve, attempts: 0 }
			this.#propose()
		})
	}

	/** Totals since the agent's start, over all threads that this has run. */
	counters(): Record<string, number> {
		const total = sum(this.#earlier, this.#current)
		return { ...total, sessionsOpen: this.#sessionsOpen }
	}

	/** Ends every session; all that the engine knows is reported before this resolves. */
	stop(): Promise<void> {
		clearTimeout(this.#respawnTimer)
		const ended = new Promise<void>((resolve) => {
			this.#stopped = resolve
		})
		if (this.#worker) this.#order({ kind: 'stop' })
		else this.#exitStopped()
		return ended.then(() => close(this.#wakeFd))
	}

	#start(): void {
		this.#startedAtMs = performance.now()
		this.#unread = new Int32Array(new SharedArrayBuffer(4))
		const worker = new Worker(this.#options.url, {
			workerData: {
				wakeFd: this.#wakeFd,
				unread: this.#unread.buffer,
				engine: this.#options.engine,
			},
		})
		this.#worker = worker
		this.#failure = ''
		worker.on('message', (report: Report) => this.#take(report))
		worker.on('error', (error) => {
			this.#failure = error.stack ?? error.message
		})
		worker.on('exit', (code) => this.#exited(code))
		if (this.#documents) this.#order({ kind: 'policy', sequence: 0, documents: this.#documents })
		this.#propose()
		for (const ring of this.#rings.values()) this.#order({ kind: 'add-ring', ring })
	}

	#propose(): void {
		if (!this.#proposal || !this.#worker) return
		const { sequence, documents } = this.#proposal
		this.#proposal.attempts++
		this.#order({ kind: 'policy', sequence, documents })
	}

	#order(order: Order): void {
		if (!this.#worker) return
		this.#worker.postMessage(order)
		write(this.#wakeFd, WAKE)
	}

	#take(report: Report): void {
		switch (report.kind) {
			case 'events':
				Atomics.sub(this.#unread, 0, 1)
				this.#handlers.events(report.events, report.shiftUs)
				return
			case 'counters':
				this.#current = { ...report.engine } satisfies EngineCounters
				this.#sessionsOpen = report.sessionsOpen
				this.#handlers.counted(report.rings)
				return
			case 'ring-open':
				this.#handles.set(report.port, report.handle)
				this.#handlers.ringOpened(report.port)
				return
			case 'ring-failed':
				this.#rings.delete(report.port)
				this.#handlers.ringFailed(report.port, report.why, report.isLasting)
				return
			case 'ring-closed':
				this.#handles.delete(report.totals.port)
				this.#handlers.ringClosed(report.totals)
				return
			case 'policy-done':
				this.#settle(report.sequence, report.why)
				return
		}
	}

	#settle(sequence: number, why: string | undefined): void {
		const proposal = this.#proposal
		if (!proposal || proposal.sequence !== sequence) return
		this.#proposal = undefined
		if (why === undefined) this.#documents = proposal.documents
		proposal.resolve(why)
	}

	#exited(code: number): void {
		this.#worker = undefined
		this.#releaseHandles()
		this.#earlier = sum(this.#earlier, this.#current)
		this.#current = {}
		this.#sessionsOpen = 0
		if (this.#stopped) {
			this.#exitStopped()
			return
		}
		// Documents that end two threads are taken for the reason.
		if (this.#proposal && this.#proposal.attempts >= ATTEMPTS_MAX) {
			this.#settle(this.#proposal.sequence, 'the worker ended before it had compiled them')
		}
		this.#handlers.crashed(this.#failure || `exit code ${code}`)
		const isSound = performance.now() - this.#startedAtMs > SOUND_AFTER_MS
		if (isSound) this.#respawnMs = 0
		this.#respawnTimer = setTimeout(() => this.#start(), this.#respawnMs)
		this.#respawnMs = Math.min(Math.max(this.#respawnMs * 2, RESPAWN_MS_FIRST), RESPAWN_MS_MAX)
	}

	/** No thread comes any more: whoever waits for one is told. */
	#exitStopped(): void {
		if (this.#proposal) this.#settle(this.#proposal.sequence, 'the agent is stopping')
		this.#stopped?.()
	}

	/** A thread that was ended from outside leaves its rings open: the process would hold them for ever. */
	#releaseHandles(): void {
		for (const { fd, mapping } of this.#handles.values()) {
			unmap(mapping)
			close(fd)
		}
		this.#handles.clear()
	}
}

interface Proposal {
	readonly sequence: number
	readonly documents: PolicyDocuments
	readonly resolve: (why: string | undefined) => void
	/** Threads that were told. */
	attempts: number
}

function sum(a: Record<string, number>, b: Record<string, number>): Record<string, number> {
	const total = { ...a }
	for (const [name, value] of Object.entries(b)) total[name] = (total[name] ?? 0) + value
	return total
}
