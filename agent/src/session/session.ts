import { SESSION_STATE, type SessionState } from './timeouts.ts'
import { Wing } from './wing.ts'

/** One tracked flow. Records are used again for later sessions; `owner` is what the caller keeps with each. */
export class Session<Owner> {
	readonly index: number
	readonly owner: Owner
	isOpen = false
	/** Id of the port where its packets are seen. */
	port = 0
	protocol = 0
	isV6 = false
	/** Whether the client is the lower end of the key. */
	isClientLow = true
	state: SessionState = SESSION_STATE.other
	/** The server sent something other than a refusal. */
	isAnswered = false
	/** TCP whose beginning was not seen. */
	isMidstream = false
	readonly client = new Wing(true)
	readonly server = new Wing(false)
	/** A SYN came on an established session: the old one ends if the other side accepts it. */
	hasNewSyn = false
	newSyn = 0

	constructor(index: number, owner: Owner) {
		this.index = index
		this.owner = owner
	}
}
