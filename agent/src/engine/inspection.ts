import type { ApplicationName } from '@ringfence/shared/contract/application'
import type { Detection } from '../dpi/detection.ts'
import type { Decision, Side } from '../policy/policy.ts'
import type { Session } from '../session/session.ts'
import type { Verdict } from './engine.ts'
import { NO_WORKLOAD, UNDECIDED } from './verdicts.ts'

/** What the engine keeps with a session beside its tracking. */
export class Inspection {
	/** The port is the workload's. */
	isAtWorkload = false
	/** The port's; of a port without one, whom the address map names for an end of the session. */
	workload: string | undefined = undefined
	side: Side = 'client'
	/** Link-local, multicast and the like: counted, never judged. */
	isLocal = false
	/** Neither end is the workload's: it only passes the packets on. */
	isForwarded = false
	/** While recognition takes bytes; undefined for protocols without applications. */
	detection: Detection | undefined = undefined
	application: ApplicationName | undefined = undefined
	/** What recognition found beside the name: `Facts` of `dpi/parser.ts`. */
	host: string | undefined = undefined
	detail: string | undefined = undefined
	/** Recognition has ended, or there is none. */
	isFinal = true
	decision: Decision = NO_WORKLOAD
	verdict: Verdict = UNDECIDED
	/** The policy that `decision` comes from, as the engine counts policies. */
	epoch = 0
	/** A violation event was raised. */
	isRaised = false
	/** Conversations are reported. */
	isReported = false
	/** The record stands in the list of those with something to report; stays true when another session takes the record. */
	isListed = false
	/** A conversation counts this session. */
	isCounted = false
	/** Names the conversation that the session's increments go to; undefined when that may have changed. */
	key: string | undefined = undefined
	isKeyFinal = false
}

/** A session as the engine sees it. */
export type Flow = Session<Inspection>

/** Makes the record ready for a session that starts. */
export function resetInspection(inspection: Inspection): void {
	inspection.isLocal = false
	inspection.isForwarded = false
	inspection.application = undefined
	inspection.host = undefined
	inspection.detail = undefined
	inspection.isFinal = true
	inspection.decision = NO_WORKLOAD
	inspection.verdict = UNDECIDED
	inspection.isRaised = false
	inspection.isReported = false
	inspection.isCounted = false
	inspection.key = undefined
}
