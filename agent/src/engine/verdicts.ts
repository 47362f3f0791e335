import type { Decision, PolicyAction } from '../policy/policy.ts'
import type { Verdict } from './engine.ts'

const open = (why: string): Decision => Object.freeze({ action: 'open', rule: undefined, why })

/** Decisions where policy is not asked. */
export const NO_WORKLOAD = open('no workload')
export const LOCAL = open('local')
export const FORWARDED = open('forwarded')

/** Verdicts that need no session. */
export const UNDECIDED = verdict('pass', 'not decided')
export const NOT_IP = verdict('pass', 'not ip')
export const FRAGMENT = verdict('pass', 'fragment')
export const RELATED = verdict('pass', 'error about a session')
export const PASSING = verdict('pass', 'for somebody else')
export const PORT_NOT_OPEN = verdict('pass', 'port not open')

const ACTIONS: Readonly<Record<PolicyAction, Verdict['action']>> = {
	allow: 'pass',
	learn: 'pass',
	open: 'pass',
	violate: 'pass',
	pending: 'pending',
	deny: 'drop',
}

/** Verdicts by decision and by reason: one frozen record each, however many packets get it. */
export class Verdicts {
	readonly #byDecision = new Map<Decision, Verdict>()
	readonly #malformed = new Map<string, Verdict>()

	of(decision: Decision): Verdict {
		const known = this.#byDecision.get(decision)
		if (known) return known
		const made = verdict(ACTIONS[decision.action], decision.why)
		this.#byDecision.set(decision, made)
		return made
	}

	/** The reasons are the decoder's, a handful. */
	malformed(why: string): Verdict {
		const known = this.#malformed.get(why)
		if (known) return known
		const made = verdict('drop', `malformed: ${why}`)
		this.#malformed.set(why, made)
		return made
	}

	/** Forgets decisions: another policy makes others. */
	clear(): void {
		this.#byDecision.clear()
	}
}

function verdict(action: Verdict['action'], why: string): Verdict {
	return Object.freeze({ action, why })
}
