import type { EngineCounters, EngineEvent, EngineOptions } from '../engine/engine.ts'
import type { PolicyDocuments } from '../policy/compile.ts'

/** One interface of a workload, as a worker is told to read it. */
export interface RingOrder {
	/** Engine port; unique in the process. */
	readonly port: number
	readonly workload: string
	/** Namespace file. */
	readonly namespace: string
	readonly interfaceName: string
	readonly mac: string
	/** As of `EnginePort`. */
	readonly ownAddresses: readonly string[] | undefined
	/** Size of the ring in blocks of 512 KiB. */
	readonly blocks: number
}

/** Main thread to worker. */
export type Order =
	| { readonly kind: 'add-ring'; readonly ring: RingOrder }
	| { readonly kind: 'remove-ring'; readonly port: number }
	| {
			readonly kind: 'own-addresses'
			readonly port: number
			readonly addresses: RingOrder['ownAddresses']
	  }
	| { readonly kind: 'policy'; readonly sequence: number; readonly documents: PolicyDocuments }
	/** Ends every session, reports all there is, and ends the thread. */
	| { readonly kind: 'stop' }

/** What the main thread must give back to the kernel if the worker cannot. */
export interface RingHandle {
	readonly fd: number
	readonly mapping: { readonly address: bigint; readonly bytes: number }
}

/** Totals of one ring since it was opened. */
export interface RingCounters {
	readonly port: number
	readonly packets: number
	readonly losses: number
}

/** Worker to main thread. */
export type Report =
	/** Times of the events are engine time: `shiftUs` ahead of the wall clock. */
	| { readonly kind: 'events'; readonly events: readonly EngineEvent[]; readonly shiftUs: number }
	| {
			readonly kind: 'counters'
			readonly engine: EngineCounters
			readonly sessionsOpen: number
			readonly rings: readonly RingCounters[]
	  }
	| { readonly kind: 'ring-open'; readonly port: number; readonly handle: RingHandle }
	/** `isLasting`: another attempt fails the same way. */
	| {
			readonly kind: 'ring-failed'
			readonly port: number
			readonly why: string
			readonly isLasting: boolean
	  }
	| { readonly kind: 'ring-closed'; readonly totals: RingCounters }
	/** `why` is set when the documents were refused; the policy before them stays in force. */
	| {
			readonly kind: 'policy-done'
			readonly sequence: number
			readonly why: string | undefined
	  }

/** What a worker is started with. */
export interface WorkerStart {
	/** An `eventfd` that is written to whenever an order is posted. */
	readonly wakeFd: number
	/** One `Int32`: batches of events posted and not yet taken by the main thread. */
	readonly unread: SharedArrayBuffer
	readonly engine: EngineOptions
}
