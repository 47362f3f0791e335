import type { Workload } from '@ringfence/shared/contract/workload'

/** An interface inside a workload. */
interface WorkloadInterface {
	readonly name: string
	/** Of the workload's namespace; another one when the interface is made anew. */
	readonly index: number
	readonly mac: string
}

/** A workload, and how to reach it. */
export interface WorkloadFacts {
	readonly workload: Workload
	/** Namespace file to `setns` to. */
	readonly namespace: string
	/** Where its packets are seen, each once: interfaces up or down, without those that stand upon others. */
	readonly interfaces: readonly WorkloadInterface[]
	/** All addresses of the namespace if it forwards packets of others; undefined if it does not. */
	readonly ownAddresses: readonly string[] | undefined
}

export type RuntimeEvent =
	| { readonly kind: 'workload-up'; readonly facts: WorkloadFacts }
	/** Labels, interfaces or addresses are others; the id is the same. */
	| { readonly kind: 'workload-changed'; readonly facts: WorkloadFacts }
	| { readonly kind: 'workload-gone'; readonly facts: WorkloadFacts }
	/** Something that a person must put right; told once until it changes. */
	| { readonly kind: 'problem'; readonly name: string; readonly message: string }

/** Finds the workloads of one runtime and follows them. Tells events from the first look on, until stopped. */
export interface RuntimeDriver {
	/** Those that are there. */
	workloads(): readonly WorkloadFacts[]
	stop(): void
}
