import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { POLLERR, POLLFD_BYTES, POLLIN, poll, read } from '../capture/libc.ts'
import { LinkTypeError, openTapRing, type TapRing } from '../capture/tap-ring.ts'
import { createEngine } from '../engine/create-engine.ts'
import type { Engine, EngineEvent } from '../engine/engine.ts'
import { compilePolicy, NO_POLICY } from '../policy/compile.ts'
import type { CompiledPolicy } from '../policy/policy.ts'
import { EngineClock } from './engine-clock.ts'
import type { Order, Report, RingOrder, WorkerStart } from './messages.ts'

/** Frames read from one ring before the others and the orders have their turn. */
const FRAMES_A_TURN = 4096
/** Turns that a ring is read at its end: more than a full ring holds, and an end all the same. */
const LAST_TURNS = 64
const REPORT_INTERVAL_US = 1_000_000
const COUNTERS_INTERVAL_US = 5_000_000
/** Events of one message; as many gathered are posted ahead of time. */
const PENDING_MAX = 2000
/** Messages under way to a main thread that is behind; beyond, events stay in the engine, which bounds and counts them. */
const UNREAD_MAX = 64
const WAIT_MS_MAX = 1000

/**
 * One thread's work: reads rings into its engine, and posts what the engine tells. Never yields to the event loop:
 * orders are fetched, and `poll` waits for frames and for the descriptor that announces orders.
 */
export class EngineLoop {
	readonly #port: MessagePort
	readonly #wakeFd: number
	readonly #unread: Int32Array
	readonly #engine: Engine
	readonly #clock = new EngineClock()
	readonly #rings = new Map<number, TapRing>()
	readonly #wakeCount = new Uint8Array(8)
	#policy: CompiledPolicy = NO_POLICY
	#pollSet = new Int16Array(0)
	#pending: EngineEvent[] = []
	#isUrgent = false
	#reportAtUs = 0
	#countersAtUs = 0
	#isStopped = false

	constructor(port: MessagePort, { wakeFd, unread, engine }: WorkerStart) {
		this.#port = port
		this.#wakeFd = wakeFd
		this.#unread = new Int32Array(unread)
		this.#engine = createEngine(engine)
		this.#watchRings()
	}

	/** Returns after a `stop` order. Rings are closed however it ends. */
	run(): void {
		try {
			while (!this.#isStopped) this.#turn()
			this.#finish()
		} finally {
			for (const port of [...this.#rings.keys()]) this.#closeRing(port)
		}
	}

	#turn(): void {
		this.#takeOrders()
		if (this.#isStopped) return
		const nowUs = this.#now()
		let isBusy = false
		for (const ring of this.#rings.values()) isBusy = this.#drain(ring) || isBusy
		if ((this.#engine.nextTimeoutUs() ?? Number.POSITIVE_INFINITY) <= nowUs) {
			this.#engine.handleTimeout(nowUs)
		}
		this.#report(nowUs)
		if (!isBusy) this.#wait(nowUs)
	}

	/** Reads one ring's frames; true when there may be more. */
	#drain(ring: TapRing): boolean {
		const engine = this.#engine
		const clock = this.#clock
		for (let i = 0; i < FRAMES_A_TURN; i++) {
			if (!ring.next()) return false
			engine.inspect(ring.frame, clock.ofFrame(ring.timeUs))
		}
		return true
	}

	#wait(nowUs: number): void {
		const dueUs = Math.min(
			this.#engine.nextTimeoutUs() ?? Number.POSITIVE_INFINITY,
			this.#reportAtUs,
		)
		const waitMs = Math.min(Math.max(Math.ceil((dueUs - nowUs) / 1000), 0), WAIT_MS_MAX)
		if (poll(new Uint8Array(this.#pollSet.buffer), this.#rings.size + 1, waitMs) === 0) return
		if (this.#revents(0) !== 0) read(this.#wakeFd, this.#wakeCount)
		let index = 0
		for (const ring of this.#rings.values()) {
			index++
			if ((this.#revents(index) & POLLERR) !== 0) ring.clearError()
		}
	}

	#revents(index: number): number {
		return this.#pollSet[(index * POLLFD_BYTES) / 2 + 3] ?? 0
	}

	/** Makes the list that `poll` takes: the wake descriptor, then the rings in their order. */
	#watchRings(): void {
		const fds = [this.#wakeFd, ...[...this.#rings.values()].map(({ fd }) => fd)]
		// struct pollfd: 0 fd(int)  4 events(short)  6 revents(short)
		const list = new Int16Array((fds.length * POLLFD_BYTES) / 2)
		const words = new Int32Array(list.buffer)
		for (const [index, fd] of fds.entries()) {
			words[(index * POLLFD_BYTES) / 4] = fd
			list[(index * POLLFD_BYTES) / 2 + 2] = POLLIN
		}
		this.#pollSet = list
	}

	#takeOrders(): void {
		for (;;) {
			const received: { message: Order } | undefined = receiveMessageOnPort(this.#port)
			if (!received) return
			this.#obey(received.message)
		}
	}

	#obey(order: Order): void {
		switch (order.kind) {
			case 'add-ring':
				this.#addRing(order.ring)
				return
			case 'remove-ring':
				this.#removeRing(order.port)
				return
			case 'own-addresses':
				this.#engine.setOwnAddresses(order.port, order.addresses, this.#now())
				return
			case 'policy':
				this.#applyPolicy(order)
				return
			case 'stop':
				this.#isStopped = true
				return
		}
	}

	#addRing(order: RingOrder): void {
		const { port } = order
		try {
			const ring = this.#openRing(order)
			this.#rings.set(port, ring)
			const { fd, mapping } = ring
			this.#post({ kind: 'ring-open', port, handle: { fd, mapping } })
			this.#watchRings()
		} catch (error) {
			const isLasting = error instanceof LinkTypeError
			this.#post({ kind: 'ring-failed', port, why: messageOf(error), isLasting })
		}
	}

	/** A ring without its engine port would be read for nothing, and never closed. */
	#openRing(order: RingOrder): TapRing {
		const { port, workload, mac, ownAddresses } = order
		const ring = openTapRing(order)
		try {
			this.#engine.openPort({ id: port, workload, mac, ownAddresses })
			return ring
		} catch (error) {
			ring.close()
			throw error
		}
	}

	#removeRing(port: number): void {
		const ring = this.#rings.get(port)
		if (!ring) return
		this.#drainToEnd(ring)
		this.#engine.closePort(port, this.#now())
		this.#closeRing(port)
		this.#watchRings()
	}

	/** Reads what came until this moment: under load a ring is never empty. */
	#drainToEnd(ring: TapRing): void {
		this.#now()
		const untilUs = Date.now() * 1000
		for (let i = 0; i < LAST_TURNS && this.#drain(ring) && ring.timeUs <= untilUs; i++);
	}

	#closeRing(port: number): void {
		const ring = this.#rings.get(port)
		if (!ring) return
		this.#rings.delete(port)
		ring.close()
		const totals = { port, packets: ring.packets, losses: ring.losses() }
		this.#post({ kind: 'ring-closed', totals })
	}

	#applyPolicy({ sequence, documents }: Order & { kind: 'policy' }): void {
		try {
			this.#policy = compilePolicy(documents, this.#policy)
		} catch (error) {
			this.#post({ kind: 'policy-done', sequence, why: messageOf(error) })
			return
		}
		this.#engine.applyPolicy(this.#policy, this.#now())
		this.#post({ kind: 'policy-done', sequence, why: undefined })
	}

	/** Violations and threats leave at once, the rest once a second. */
	#report(nowUs: number): void {
		if (this.#pending.length < PENDING_MAX) this.#takeEvents()
		const isDue = nowUs >= this.#reportAtUs
		if (isDue || this.#isUrgent || this.#pending.length >= PENDING_MAX) this.#postEvents(UNREAD_MAX)
		if (isDue) this.#reportAtUs = nowUs + REPORT_INTERVAL_US
		if (nowUs < this.#countersAtUs) return
		this.#countersAtUs = nowUs + COUNTERS_INTERVAL_US
		this.#postCounters()
	}

	#takeEvents(): boolean {
		const events = this.#engine.takeEvents()
		for (const event of events) {
			this.#pending.push(event)
			if (event.kind === 'violation' || event.kind === 'threat') this.#isUrgent = true
		}
		return events.length > 0
	}

	/** In pieces, so that no message holds the main thread up. */
	#postEvents(unreadMax: number): void {
		const { shiftUs } = this.#clock
		let posted = 0
		while (posted < this.#pending.length && Atomics.load(this.#unread, 0) < unreadMax) {
			const events = this.#pending.slice(posted, posted + PENDING_MAX)
			posted += events.length
			Atomics.add(this.#unread, 0, 1)
			this.#post({ kind: 'events', events, shiftUs })
		}
		this.#pending = this.#pending.slice(posted)
		this.#isUrgent &&= this.#pending.length > 0
	}

	#postCounters(): void {
		const rings = [...this.#rings].map(([port, ring]) => {
			return { port, packets: ring.packets, losses: ring.losses() }
		})
		const engine = { ...this.#engine.counters() }
		this.#post({ kind: 'counters', engine, sessionsOpen: this.#engine.sessionsOpen(), rings })
	}

	#finish(): void {
		for (const ring of this.#rings.values()) this.#drainToEnd(ring)
		this.#engine.flush(this.#now(), true)
		while (this.#takeEvents());
		this.#postEvents(Number.POSITIVE_INFINITY)
		this.#postCounters()
	}

	#now(): number {
		return this.#clock.read(Date.now() * 1000, performance.now() * 1000)
	}

	#post(report: Report): void {
		this.#port.postMessage(report)
	}
}

function messageOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error)
}
