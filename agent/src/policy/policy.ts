import type { ApplicationName } from '@ringfence/shared/contract/application'

/** Which end of a session the inspected workload is. */
export type Side = 'client' | 'server'

/** One look-up. A record that the engine reuses: nothing may keep it. */
export interface PolicyQuery {
	/** Workload at whose port the packet was seen. */
	workload: string
	side: Side
	/** The other end's address, as four words of `shared/net/address`. */
	peer0: number
	peer1: number
	peer2: number
	peer3: number
	/** IP protocol number (IANA): 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6. */
	protocol: number
	/** Server port; the type for ICMP and ICMPv6; 0 for protocols with neither. */
	port: number
	/** `'pending'`: recognition goes on; undefined: it ended without a name. */
	application: ApplicationName | 'pending' | undefined
}

/**
 * - `allow`: a rule allows it. - `learn`: no rule, the workload's group is in discover.
 * - `violate`: no rule or a deny rule, in monitor. - `deny`: the same in protect.
 * - `pending`: the application decides, and some rule could still allow. - `open`: policy does not apply (see `why`).
 */
export type PolicyAction = 'allow' | 'learn' | 'violate' | 'deny' | 'pending' | 'open'

/** Answers are shared and frozen: look-ups allocate nothing. */
export interface Decision {
	readonly action: PolicyAction
	/** Rule that decided; undefined when the mode's default did. */
	readonly rule: string | undefined
	/** For people: `rule 12`, `no rule (monitor)`, `link-local`. */
	readonly why: string
}

/** Rules as look-ups. Immutable: a change makes a new one with a higher generation. */
export interface CompiledPolicy {
	readonly generation: number
	lookup(query: Readonly<PolicyQuery>): Decision
	/** Workload id behind an address, when the address map knows one. */
	peerWorkload(query: Readonly<PolicyQuery>): string | undefined
}
