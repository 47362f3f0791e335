import type { EngineEvent, EngineOptions } from '../engine/engine.ts'
import { compilePolicy, type PolicyDocuments } from '../policy/compile.ts'
import { EngineWorker } from './engine-worker.ts'
import type { RingCounters, RingOrder } from './messages.ts'

/** An interface of a workload that frames are taken from. */
export interface TapInterface {
	readonly name: string
	/** Told apart from an interface of the same name that was there before. */
	readonly index: number
	readonly mac: string
}

/** A workload as the data plane knows it. */
export interface TapWorkload {
	readonly id: string
	/** For people; the id where it is left out. */
	readonly name?: string
	/** Namespace file. */
	readonly namespace: string
	readonly interfaces: readonly TapInterface[]
	/** All its addresses if it forwards packets of others; left out if it does not. */
	readonly ownAddresses?: readonly string[] | undefined
}

/** Something that a person must hear of. */
export interface Notice {
	readonly name: string
	readonly severity: 'info' | 'low' | 'medium' | 'high'
	readonly message: string
	readonly count: number
}

export interface DataplaneOptions {
	/** Threads; 0 where nothing can be captured. */
	readonly workers: number
	readonly ringBlocks: number
	readonly workerUrl: URL
	readonly engine: EngineOptions
}

export interface DataplaneHandlers {
	events(events: readonly EngineEvent[], shiftUs: number): void
	notice(notice: Notice): void
}

/** An interface whose ring could not be opened is tried again after this. */
const RETRY_MS = 5000
/** Opening a ring takes a millisecond; a worker that was just started again takes longer. */
const SETTLE_MS_MAX = 2000

/** The threads that read all workloads of a node. Each workload stays on one thread. */
export class Dataplane {
	readonly #options: DataplaneOptions
	readonly #handlers: DataplaneHandlers
	readonly #workers: EngineWorker[]
	/** The worker of each. */
	readonly #workloads = new Map<string, EngineWorker>()
	readonly #rings = new Map<number, Ring>()
	/** Rings that are meant to be there, by workload. */
	readonly #meant = new Map<string, Set<Ring>>()
	readonly #waiting = new Map<string, Set<Waiting>>()
	/** Workloads of each worker. */
	readonly #loads = new Map<EngineWorker, number>()
	#documents: PolicyDocuments | undefined
	#portLast = 0
	#retryTimer: NodeJS.Timeout | undefined
	#workersRestarted = 0
	/** Totals of rings that are closed. */
	#closedPackets = 0
	#closedLosses = 0

	constructor(options: DataplaneOptions, handlers: DataplaneHandlers) {
		this.#options = options
		this.#handlers = handlers
		this.#workers = Array.from({ length: options.workers }, (_, index) => this.#startWorker(index))
	}

	/**
	 * Declares a workload and all its interfaces, new or changed: rings are opened and closed as needed. Resolves when
	 * each is open, or was refused: traffic from then on is seen.
	 */
	async setWorkload(workload: TapWorkload): Promise<void> {
		const worker = this.#place(workload)
		if (!worker) return
		const wanted = new Map(workload.interfaces.map((tap) => [keyOf(workload, tap), tap]))
		for (const ring of this.#ringsOf(workload.id)) {
			if (!wanted.delete(ring.key)) this.#removeRing(ring)
			else this.#renew(ring, workload)
		}
		for (const [key, tap] of wanted) this.#addRing(key, tap, { worker, workload })
		await this.#settled(workload.id)
	}

	removeWorkload(id: string): void {
		const worker = this.#workloads.get(id)
		if (worker) this.#loads.set(worker, (this.#loads.get(worker) ?? 1) - 1)
		this.#workloads.delete(id)
		for (const ring of this.#ringsOf(id)) this.#removeRing(ring)
		this.#wakeSettled(id)
	}

	/** Puts documents in force on every thread, or on none; returns why not. One call at a time. */
	async applyPolicy(documents: PolicyDocuments): Promise<string | undefined> {
		if (this.#workers.length === 0) return refusal(documents)
		const why = await this.#applyToWorkers(documents)
		if (why === undefined) this.#documents = documents
		else if (this.#documents) await this.#applyToWorkers(this.#documents)
		return why
	}

	/** Totals since the start: the engines', the rings', and losses of each workload that had any. */
	counters(): Record<string, number> {
		const total: Record<string, number> = {}
		const add = (name: string, value: number) => {
			total[name] = (total[name] ?? 0) + value
		}
		for (const worker of this.#workers) {
			for (const [name, value] of Object.entries(worker.counters())) add(name, value)
		}
		add('ringPackets', this.#closedPackets)
		add('ringLosses', this.#closedLosses)
		add('workersRestarted', this.#workersRestarted)
		for (const { packets, losses, workload } of this.#rings.values()) {
			add('ringPackets', packets)
			add('ringLosses', losses)
			if (losses > 0) add(`ringLosses.${workload.id}`.slice(0, 64), losses)
		}
		return total
	}

	/** Ends all sessions and threads; everything they knew has been handed to `events` when this resolves. */
	async stop(): Promise<void> {
		clearTimeout(this.#retryTimer)
		await Promise.all(this.#workers.map((worker) => worker.stop()))
	}

	#settled(id: string): Promise<void> {
		return new Promise((resolve) => {
			const its = this.#waiting.get(id) ?? new Set()
			this.#waiting.set(id, its)
			const timer = setTimeout(() => {
				its.delete(waiting)
				if (its.size === 0) this.#waiting.delete(id)
				resolve()
			}, SETTLE_MS_MAX)
			const waiting = { resolve, timer }
			its.add(waiting)
			this.#wakeSettled(id)
		})
	}

	/** Costs what the workload has: with thousands of them, all rings are not gone through for each. */
	#wakeSettled(id: string): void {
		if (this.#ringsOf(id).some(({ isOpen, why }) => !isOpen && why === '')) return
		for (const { timer, resolve } of this.#waiting.get(id) ?? []) {
			clearTimeout(timer)
			resolve()
		}
		this.#waiting.delete(id)
	}

	async #applyToWorkers(documents: PolicyDocuments): Promise<string | undefined> {
		const answers = await Promise.all(this.#workers.map((worker) => worker.applyPolicy(documents)))
		return answers.find((why) => why !== undefined)
	}

	#startWorker(index: number): EngineWorker {
		const { workerUrl: url, engine } = this.#options
		return new EngineWorker(
			{ url, engine },
			{
				events: (events, shiftUs) => this.#handlers.events(events, shiftUs),
				counted: (rings) => {
					for (const totals of rings) this.#count(totals)
				},
				ringOpened: (port) => this.#opened(port),
				ringFailed: (port, why, isLasting) => this.#failed(port, why, isLasting),
				ringClosed: (totals) => this.#closed(totals),
				crashed: (why) => this.#crashed(index, why),
			},
		)
	}

	/** The workload's worker: for a new one, that with the fewest. */
	#place({ id }: TapWorkload): EngineWorker | undefined {
		const placed = this.#workloads.get(id)
		if (placed) return placed
		const load = (worker: EngineWorker) => this.#loads.get(worker) ?? 0
		const [first, ...others] = this.#workers
		if (!first) return undefined
		const worker = others.reduce((best, one) => (load(one) < load(best) ? one : best), first)
		this.#loads.set(worker, load(worker) + 1)
		this.#workloads.set(id, worker)
		return worker
	}

	/** Rings of a workload that are meant to be there. */
	#ringsOf(id: string): Ring[] {
		return [...(this.#meant.get(id) ?? [])]
	}

	/** The ring stays; what else is known of its workload may be news. */
	#renew(ring: Ring, workload: TapWorkload): void {
		ring.workload = workload
		const { ownAddresses } = workload
		if (String(ownAddresses) === String(ring.order.ownAddresses)) return
		ring.order = { ...ring.order, ownAddresses }
		ring.worker.setOwnAddresses(ring.order)
	}

	#addRing(key: string, tap: TapInterface, { worker, workload }: Placed): void {
		this.#portLast++
		const order: RingOrder = {
			port: this.#portLast,
			workload: workload.id,
			namespace: workload.namespace,
			interfaceName: tap.name,
			mac: tap.mac,
			ownAddresses: workload.ownAddresses,
			blocks: this.#options.ringBlocks,
		}
		const state = { isOpen: false, isLeaving: false, isRefused: false, packets: 0, losses: 0 }
		const ring: Ring = { key, order, worker, workload, why: '', ...state }
		this.#rings.set(order.port, ring)
		const meant = this.#meant.get(workload.id) ?? new Set()
		this.#meant.set(workload.id, meant.add(ring))
		worker.addRing(order)
	}

	#removeRing(ring: Ring): void {
		ring.isLeaving = true
		const { id } = ring.workload
		const meant = this.#meant.get(id)
		meant?.delete(ring)
		if (meant?.size === 0) this.#meant.delete(id)
		const isTaken = ring.worker.removeRing(ring.order.port)
		// A ring that never opened has no end to wait for.
		if (!isTaken || ring.why !== '') this.#rings.delete(ring.order.port)
	}

	#opened(port: number): void {
		const ring = this.#rings.get(port)
		if (!ring) return
		ring.isOpen = true
		ring.why = ''
		this.#wakeSettled(ring.workload.id)
	}

	#failed(port: number, why: string, isLasting: boolean): void {
		const ring = this.#rings.get(port)
		if (!ring) return
		if (ring.isLeaving) {
			this.#rings.delete(port)
			return
		}
		ring.isOpen = false
		ring.isRefused = isLasting
		if (why !== ring.why) {
			const message = `${nameOf(ring)} is not captured: ${why}`
			this.#handlers.notice({ name: 'tap-failed', severity: 'medium', message, count: 1 })
		}
		ring.why = why
		this.#wakeSettled(ring.workload.id)
		this.#retryTimer ??= setTimeout(() => this.#retry(), RETRY_MS)
	}

	#retry(): void {
		this.#retryTimer = undefined
		for (const ring of this.#rings.values()) {
			if (!ring.isOpen && !ring.isRefused && ring.why !== '') ring.worker.addRing(ring.order)
		}
	}

	#closed(totals: RingCounters): void {
		this.#count(totals)
		const ring = this.#rings.get(totals.port)
		if (!ring) return
		this.#closedPackets += ring.packets
		this.#closedLosses += ring.losses
		ring.packets = 0
		ring.losses = 0
		ring.isOpen = false
		if (ring.isLeaving) this.#rings.delete(totals.port)
	}

	#count({ port, packets, losses }: RingCounters): void {
		const ring = this.#rings.get(port)
		if (!ring) return
		const lost = losses - ring.losses
		ring.packets = packets
		ring.losses = losses
		if (lost <= 0) return
		const message = `${nameOf(ring)}: the ring was full, packets were not inspected`
		this.#handlers.notice({ name: 'ring-losses', severity: 'medium', message, count: lost })
	}

	#crashed(index: number, why: string): void {
		this.#workersRestarted++
		const message = `worker ${index} is started again, its sessions are lost: ${why}`
		const notice = { name: 'worker-restarted', severity: 'high', count: 1 } as const
		this.#handlers.notice({ ...notice, message: message.slice(0, 1000) })
		for (const ring of this.#rings.values()) {
			if (ring.worker !== this.#workers[index]) continue
			this.#closed({ port: ring.order.port, packets: ring.packets, losses: ring.losses })
		}
	}
}

/** Somebody who wants to know that all rings of a workload are settled. */
interface Waiting {
	readonly resolve: () => void
	readonly timer: NodeJS.Timeout
}

interface Placed {
	readonly worker: EngineWorker
	readonly workload: TapWorkload
}

interface Ring {
	readonly key: string
	readonly worker: EngineWorker
	workload: TapWorkload
	order: RingOrder
	isOpen: boolean
	/** On its way out: the worker reads it to the end. */
	isLeaving: boolean
	/** It will never open. */
	isRefused: boolean
	/** Why it is not open; empty while nobody knows. */
	why: string
	/** Of the open ring. */
	packets: number
	losses: number
}

function refusal(documents: PolicyDocuments): string | undefined {
	try {
		compilePolicy(documents)
		return undefined
	} catch (error) {
		return error instanceof Error ? error.message : String(error)
	}
}

function keyOf({ namespace }: TapWorkload, { name, index, mac }: TapInterface): string {
	return `${namespace} ${name} ${index} ${mac}`
}

function nameOf({ order, workload }: Ring): string {
	return `interface ${order.interfaceName} of workload ${workload.name ?? workload.id}`
}
