/** Documents that do not make a policy. The one in force stays; `message` goes back to the controller. */
export class PolicyRejected extends Error {
	readonly code = 'POLICY_REJECTED'
}
