import type { ApplicationName } from '@ringfence/shared/contract/application'
import { NO_POLICY } from '../policy/compile.ts'
import type { CompiledPolicy, Decision, PolicyQuery, Side } from '../policy/policy.ts'
import type { SessionStore } from '../session/session-store.ts'
import type { Flow, Inspection } from './inspection.ts'
import { FORWARDED, LOCAL, NO_WORKLOAD } from './verdicts.ts'

/** Puts the policy's question about a session. */
export class PolicyAsker {
	readonly #store: SessionStore<Inspection>
	readonly #peer = new Int32Array(4)
	#policy: CompiledPolicy = NO_POLICY
	/** How many policies came: sessions decided under an earlier one are asked about again. */
	epoch = 0

	readonly #query: PolicyQuery = {
		workload: '',
		side: 'client',
		peer0: 0,
		peer1: 0,
		peer2: 0,
		peer3: 0,
		protocol: 0,
		port: 0,
		application: undefined,
	}

	constructor(store: SessionStore<Inspection>) {
		this.#store = store
	}

	apply(policy: CompiledPolicy): void {
		this.#policy = policy
		this.epoch++
	}

	/** What the policy in force says. */
	ask(flow: Flow): Decision {
		const { owner } = flow
		if (owner.isLocal) return LOCAL
		if (owner.isForwarded) return FORWARDED
		if (!owner.isAtWorkload) this.#findWorkload(flow)
		if (owner.workload === undefined) return NO_WORKLOAD
		return this.#policy.lookup(this.#queryOf(flow, owner.workload))
	}

	/** Workload behind the session's other end. */
	peerWorkload(flow: Flow): string | undefined {
		const { workload } = flow.owner
		return workload === undefined
			? undefined
			: this.#policy.peerWorkload(this.#queryOf(flow, workload))
	}

	/** Address of the session's other end: the words of `shared/net/address`, signed. A record that is filled again. */
	peerAddress(flow: Flow): Int32Array {
		if (flow.owner.side === 'client') this.#store.readServerAddress(flow, this.#peer)
		else this.#store.readClientAddress(flow, this.#peer)
		return this.#peer
	}

	/**
	 * A port without a workload (a capture file) shows both ends' sessions: the server's workload is asked for its
	 * ingress, else the client's for its egress. Whom the address map does not know has no policy.
	 */
	#findWorkload(flow: Flow): void {
		const { owner } = flow
		owner.workload = undefined
		if (this.#policy === NO_POLICY) return
		const server = this.#workloadFacing(flow, 'client')
		owner.workload = server ?? this.#workloadFacing(flow, 'server')
		owner.side = server === undefined ? 'client' : 'server'
	}

	/** Workload behind the end that is the peer of `side`. */
	#workloadFacing(flow: Flow, side: Side): string | undefined {
		flow.owner.side = side
		return this.#policy.peerWorkload(this.#queryOf(flow, ''))
	}

	#queryOf(flow: Flow, workload: string): PolicyQuery {
		const query = this.#query
		const peer = this.peerAddress(flow)
		query.workload = workload
		query.side = flow.owner.side
		query.peer0 = (peer[0] ?? 0) >>> 0
		query.peer1 = (peer[1] ?? 0) >>> 0
		query.peer2 = (peer[2] ?? 0) >>> 0
		query.peer3 = (peer[3] ?? 0) >>> 0
		query.protocol = flow.protocol
		query.port = this.#store.serverPort(flow)
		query.application = applicationOf(flow)
		return query
	}
}

/** A session whose start was not seen may lack a name for that reason alone: it stays pending, and is never held against it. */
function applicationOf({ owner, isMidstream }: Flow): ApplicationName | 'pending' | undefined {
	if (owner.application !== undefined) return owner.application
	return owner.isFinal && !isMidstream ? undefined : 'pending'
}
