import type { Mode } from '@ringfence/shared/contract/policy'
import { PEER_UNKNOWN } from '@ringfence/shared/contract/reasons'
import type { Decision, PolicyAction } from './policy.ts'
import type { Rule } from './rule-index.ts'

/** Packets pass until the application has a name, or recognition ends without one. */
export const PENDING = decision('pending', 'application not yet known')

/** No document has ever come: nothing may be blocked, and what is seen is learned. */
export const NO_POLICY_DECISION = decision('learn', 'no policy yet')

/** What a rule means in each mode. Deny in discover is neither blocked nor learned. */
const ON_DENY: Readonly<Record<Mode, PolicyAction>> = {
	discover: 'open',
	monitor: 'violate',
	protect: 'deny',
}

/** What holds where no rule matches. */
const ON_NO_RULE: Readonly<Record<Mode, PolicyAction>> = {
	discover: 'learn',
	monitor: 'violate',
	protect: 'deny',
}

/**
 * The same while the address map does not name one of the ends yet, which is inside the fleet: the controller learns from it
 * once it can name both; there is no alert; in protect it is dropped until the map answers.
 */
const ON_UNKNOWN_END: Readonly<Record<Mode, PolicyAction>> = {
	discover: 'learn',
	monitor: 'open',
	protect: 'deny',
}

/** Whom the address map names. */
export interface KnownEnds {
	readonly isWorkloadKnown: boolean
	readonly isPeerKnown: boolean
}

/** The answer where no rule matches. */
export function defaultDecision(mode: Mode, { isWorkloadKnown, isPeerKnown }: KnownEnds): Decision {
	if (!isWorkloadKnown) return UNKNOWN_WORKLOAD[mode]
	return (isPeerKnown ? NO_RULE : UNKNOWN_PEER)[mode]
}

/** The shared answers of one policy's rules, made when first needed. */
export class RuleDecisions {
	readonly #byRank: Readonly<Record<Mode, Map<number, Decision>>> = {
		discover: new Map(),
		monitor: new Map(),
		protect: new Map(),
	}

	of(rule: Rule, mode: Mode): Decision {
		const made = this.#byRank[mode].get(rule.rank)
		if (made) return made
		const answer = rule.isAllow
			? decision('allow', `rule ${rule.id}`, rule.id)
			: decision(ON_DENY[mode], `deny rule ${rule.id} (${mode})`, rule.id)
		this.#byRank[mode].set(rule.rank, answer)
		return answer
	}
}

const NO_RULE = byMode((mode) => decision(ON_NO_RULE[mode], `no rule (${mode})`))
const UNKNOWN_PEER = byMode((mode) => decision(ON_UNKNOWN_END[mode], PEER_UNKNOWN))
const UNKNOWN_WORKLOAD = byMode((mode) => decision(ON_UNKNOWN_END[mode], 'workload not yet known'))

function byMode(make: (mode: Mode) => Decision): Readonly<Record<Mode, Decision>> {
	return { discover: make('discover'), monitor: make('monitor'), protect: make('protect') }
}

function decision(action: PolicyAction, why: string, rule?: string): Decision {
	return Object.freeze({ action, rule, why })
}
