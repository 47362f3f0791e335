import type { Workload } from '@ringfence/shared/contract/workload'
import type { Dataplane } from '../dataplane/dataplane.ts'
import type { RuntimeEvent, WorkloadFacts } from '../runtime/driver.ts'

/** How long a workload that is gone is still known: the last events of its sessions are under way. */
const REMEMBER_MS = 30_000

/** Workloads between runtime, data plane and uplink: one is reported once its packets are seen, so that none come before it. */
export class Workloads {
	readonly #dataplane: Dataplane
	readonly #report: (workloads: readonly Workload[]) => void
	/** Those that are there, and those whose rings are settled. */
	readonly #present = new Map<string, WorkloadFacts>()
	readonly #watched = new Set<string>()
	readonly #addresses = new Map<string, ReadonlySet<string>>()

	constructor(dataplane: Dataplane, report: (workloads: readonly Workload[]) => void) {
		this.#dataplane = dataplane
		this.#report = report
	}

	take(event: Exclude<RuntimeEvent, { kind: 'problem' }>): void {
		const { facts } = event
		if (event.kind === 'workload-gone') this.#remove(facts)
		else this.#set(facts)
	}

	/** Tells all of them again. */
	report(): void {
		const watched = [...this.#present.values()].filter(({ workload }) =>
			this.#watched.has(workload.id),
		)
		this.#report(watched.map(({ workload }) => workload))
	}

	/** Whether the address is one of the workload's. */
	hasAddress(id: string, address: string): boolean {
		return this.#addresses.get(id)?.has(address) ?? false
	}

	#set(facts: WorkloadFacts): void {
		const { workload, namespace, interfaces, ownAddresses } = facts
		const { id, name } = workload
		this.#present.set(workload.id, facts)
		const addresses = workload.interfaces.flatMap((its) => its.addresses)
		this.#addresses.set(workload.id, new Set(addresses.map((text) => text.split('/')[0] ?? '')))
		const tap = { id, name, namespace, interfaces, ownAddresses }
		void this.#dataplane.setWorkload(tap).then(() => {
			if (!this.#present.has(workload.id)) return
			this.#watched.add(workload.id)
			this.report()
		})
	}

	#remove({ workload: { id } }: WorkloadFacts): void {
		this.#present.delete(id)
		this.#watched.delete(id)
		this.#dataplane.removeWorkload(id)
		setTimeout(() => {
			if (!this.#present.has(id)) this.#addresses.delete(id)
		}, REMEMBER_MS).unref()
		this.report()
	}
}
