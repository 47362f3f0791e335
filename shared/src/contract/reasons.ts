/** Reasons that one side gives and the other acts on; all others are for people only. */

/** `why` of a session with an address inside the fleet's networks that the agent's address map does not name. */
export const PEER_UNKNOWN = 'peer not yet known'
